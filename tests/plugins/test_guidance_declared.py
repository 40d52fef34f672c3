"""Every method that guides a role says so: a model that is told a guidance besides is noted before the run."""

from __future__ import annotations

import pytest

from distill_core.plugins.discovery import discover

METHODS = discover().methods
GUIDED = {
    name: spec
    for name, spec in METHODS.items()
    if any(
        field.endswith("guidance_scale") and not field.startswith(("low_noise", "real"))
        for field in spec.options.model_fields
    )
}


@pytest.mark.parametrize("name", GUIDED)
def test_a_method_that_has_a_guidance_says_of_which_role_it_is(name: str) -> None:
    spec = GUIDED[name]
    declared = spec.guidance(spec.options())
    assert declared
    assert set(declared) <= set(spec.roles)
    assert all(scale != 1.0 for scale in declared.values())


@pytest.mark.parametrize(
    ("name", "options", "declared"),
    [
        ("consistency", {"pair": "data"}, {}),
        ("meanflow", {"velocity": "mixed", "guidance_scale": 2.0}, {"student": 2.0}),
        ("meanflow", {"velocity": "data"}, {}),
        ("anyflow", {"velocity": "teacher", "map_guidance_scale": 2.0}, {"teacher": 2.0}),
        ("anyflow-on-policy", {"guidance_scale": 4.0}, {"student": 3.0, "teacher": 4.0}),
        ("self-forcing", {"student_loss": "gan"}, {}),
        ("teacher-forcing", {}, {}),
        ("rcm", {"real_score_guidance_scale": 3.0}, {"teacher": 4.0}),
    ],
)
def test_what_is_guided_follows_from_the_options(
    name: str, options: dict[str, object], declared: dict[str, float]
) -> None:
    spec = METHODS[name]
    assert spec.guidance(spec.options.model_validate(options)) == declared
