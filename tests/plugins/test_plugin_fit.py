"""Which method works with which model, and why not."""

from __future__ import annotations

from typing import Literal

from distill_core.plugins import Demands, MethodSpec, ModelSpec, Options, RoleNeed
from distill_core.plugins.fit import fit, matrix, meanings, shared_spaces


class TurboOptions(Options):
    """One option that decides the attention."""

    attn_kind: str = "dense"


class OpenOptions(Options):
    """An option that a run.yaml must give."""

    attn_kind: str


def model(name: str, operations: set[str], **more: tuple[str, ...]) -> ModelSpec:
    """A model that offers ``operations``."""
    return ModelSpec(name, "", Options, "a:b", "c:D", frozenset(operations), **more)


def method(options: type[Options] = TurboOptions, **roles: set[str]) -> MethodSpec:
    """A method whose demands are its option's attention."""
    needs = {name: RoleNeed(True, frozenset(operations)) for name, operations in roles.items()}
    return MethodSpec(
        "turbo", "", options, "a:B", needs, lambda chosen: Demands(attention={"pupil": (chosen.attn_kind,)})
    )


def test_a_model_that_offers_every_operation_works() -> None:
    answer = fit(method(pupil={"predict"}), model("ltx", {"predict", "flow_shift"}))
    assert answer.works
    assert answer.verdict == "ok"


def test_each_role_says_what_it_misses() -> None:
    answer = fit(method(pupil={"predict", "flow_shift"}, judge={"unconditional"}), model("ltx", {"predict"}))
    assert not answer.works
    assert answer.verdict == (
        "no: pupil needs flow_shift, which ltx does not offer; judge needs unconditional, which ltx does not offer"
    )


def test_attention_that_a_model_has_not_is_a_reason() -> None:
    answer = fit(method(), model("ltx", set(), attention=("sparse", "local")))
    assert answer.verdict == "no: asks for dense attention, ltx has sparse, local"


class ExactOptions(Options):
    """A choice that decides what is asked of the model, and others that do not."""

    sampler: Literal["ode", "sde"] = "ode"
    derivative: Literal["jvp", "differences"] = "jvp"


def test_a_choice_under_which_a_model_works_is_told() -> None:
    exact, plain = ({"pupil": RoleNeed(True, frozenset(names))} for names in (("predict", "along"), ("predict",)))
    spec = MethodSpec(
        "turbo", "", ExactOptions, "a:B", exact, lambda own: Demands(roles=exact if own.derivative == "jvp" else plain)
    )
    answer = fit(spec, model("ltx", {"predict"}))
    assert answer.verdict == "ok with derivative: differences"
    assert not answer.works  # as it is by default
    assert not meanings([answer])
    assert fit(spec, model("wan", {"predict", "along"})).verdict == "ok"
    assert fit(spec, model("sd3", set())).verdict == "no: pupil needs along, predict, which sd3 does not offer"


def test_options_without_defaults_leave_the_attention_open() -> None:
    answer = fit(method(OpenOptions), model("ltx", set()))
    assert answer.works
    assert answer.verdict == "ok (what it asks depends on options that have no default)"


def test_demands_that_raise_are_a_reason_and_no_crash() -> None:
    broken = MethodSpec("turbo", "", TurboOptions, "a:B", {}, lambda _: Demands(attention={"pupil": [][0]}))
    assert fit(broken, model("ltx", set())).verdict == "no: its demands raised IndexError: list index out of range"


def test_the_matrix_has_every_pair_by_name() -> None:
    pairs = matrix([method()], [model("b", set()), model("a", set())])
    assert [(pair.method, pair.model) for pair in pairs] == [("turbo", "a"), ("turbo", "b")]


def test_what_is_lacking_is_said_in_words() -> None:
    lacking = [
        fit(method(pupil={"until"}, judge={"flow_shift"}), model("a", set())),
        fit(method(judge={"until", "stream"}), model("b", {"until"})),
    ]
    assert meanings(lacking) == {
        "until": "a second time: mean velocity, flow maps",
        "stream": "a memory of the frames before",
    }
    assert not meanings([fit(method(pupil={"until"}), model("a", {"until"}))])


def test_families_of_one_latent_space_are_listed_together() -> None:
    families = [
        model("b", set(), latent_spaces=("one", "two")),
        model("a", set(), latent_spaces=("one",)),
        model("c", set()),
    ]
    assert shared_spaces(families) == {"one": ("a", "b"), "two": ("b",)}
