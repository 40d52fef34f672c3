"""Every installed method on every family that `distill plugins matrix` says it works with: trained, resumed, exported, at tiny size.

Methods are those that are installed: a new one is tried here without a word. ``uv run pytest -m nightly tests/families/test_matrix.py -s``
prints the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.commands.conftest import Command, Result, distill  # noqa: F401  the fixture
from tests.families.conftest import FRAMES, MORE, Family

from distill_core.config.document import write_yaml
from distill_core.plugins.discovery import discover
from distill_core.plugins.fit import fit
from distill_core.plugins.specs import MethodSpec, RoleNeed

STEPS_OF_A_STUDENT = ("dmd_denoising_steps", "denoising_steps")
"""What methods call the timesteps that their student is sampled at."""
SMALL: Mapping[str, object] = {
    "generator_update_interval": 2,
    "consistency_steps": 0,
    "rollout_move": "ode",
    "block": 1,
    "overlap": 1,
}
"""Options, of the methods that have them, under which two steps of short clips train every role and diffusers can follow the result."""


def roles_of(method: MethodSpec, settings: Mapping[str, object]) -> Mapping[str, RoleNeed]:
    """The roles that a run names, under these options."""
    needs = method.needs(method.demands(method.options.model_validate(settings)))
    return {name: need for name, need in needs.items() if not (need.sourceless or need.optional)}


def settings_of(method: MethodSpec, family: Family) -> dict[str, object]:
    """The options of a run at tiny size: of those that are wanted, each that the method has and takes beside the others."""
    own = family.model().own_steps
    wanted = {**SMALL, **({} if own is None else {name: list(own.grid(4)) for name in STEPS_OF_A_STUDENT})}
    chosen: dict[str, object] = {}
    for name in [name for name in wanted if name in method.options.model_fields]:
        try:
            method.options.model_validate({**chosen, name: wanted[name]})
        except ValidationError:
            continue
        chosen[name] = wanted[name]
    return chosen


def said(result: Result) -> str:
    """What a command that ended well, or refused, has to say; never a traceback."""
    assert result.code in (0, 2, 65, 66, 78), result.err
    assert "Traceback" not in result.err, result.err
    return next((line for line in result.err.splitlines() if line.startswith("error: ")), "")


def outcomes(
    distill: Command,  # noqa: F811
    family: Family,
    data: Path,
    folder: Path,
    methods: Mapping[str, MethodSpec],
) -> Iterator[tuple[str, str]]:
    """Of each method, what became of it: "ok", "no" as the matrix says, or what a command said in refusing it."""
    for name, method in sorted(methods.items()):
        verdict = fit(method, family.spec)
        if not (verdict.works or verdict.under):
            assert verdict.misfits
            yield name, "no"
            continue
        settings = settings_of(method, family)
        if verdict.under:
            option, _, choice = verdict.under.partition(": ")
            settings[option] = choice
        run: dict[str, Any] = {
            "recipe": {"family": family.name, "method": name},
            "roles": {
                role: {"path": str(family.folder), "trainable": need.trainable}
                for role, need in roles_of(method, settings).items()
            },
            "data": {"path": str(data)},
            "method_config": settings,
            "training": {"max_train_steps": 4, "train_batch_size": 2, "device": "cpu"},
            "checkpoint": {"interval": 2},
            "output_dir": str(folder / name),
        }
        path = folder / f"{name}.yaml"
        path.write_text(write_yaml(run), encoding="utf-8")
        commands = (
            ("run", path, "training.max_train_steps=2"),
            ("run", path, "checkpoint.resume=changed"),
            ("export", folder / name, "--output", folder / f"{name}-export"),
        )
        refusals = (f"{command[0]}: {reason}" for command in commands if (reason := said(distill(*command))))
        yield name, next(refusals, "ok")


REFUSED: Mapping[str, str] = {
    "phased-dmd": "expert",
    "tcm": "first_stage",
    "nft": "rewards",
    "reward-gradient": "rewards",
}
"""Methods that want more than a folder: of their refusal, a word."""


@pytest.mark.nightly
@pytest.mark.parametrize("family", [*FRAMES, *MORE], indirect=True)
def test_every_method_that_the_matrix_allows_trains_resumes_and_exports(
    distill: Command,  # noqa: F811
    family: Family,
    data: Path,
    tmp_path: Path,
) -> None:
    found = dict(outcomes(distill, family, data, tmp_path, discover().methods))
    for method, outcome in found.items():
        print(f"{family.name:14}{method:22}{outcome[:160]}")
    wrong = {
        method: outcome
        for method, outcome in found.items()
        if outcome not in ("ok", "no")
        and REFUSED.get(method, "\0") not in outcome
        and not outcome.startswith("export: ")
    }
    assert not wrong
    assert found["finetune"] == found["dmd2"] == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("family", ["ltx"], indirect=True)
def test_what_the_matrix_allows_with_a_choice_trains_with_it(
    distill: Command,  # noqa: F811
    family: Family,
    data: Path,
    tmp_path: Path,
) -> None:
    chosen = {name: method for name, method in discover().methods.items() if name in ("rcm", "scm")}
    assert {fit(method, family.spec).verdict for method in chosen.values()} == {"ok with derivative: differences"}
    found = dict(outcomes(distill, family, data, tmp_path, chosen))
    assert found["scm"] == "ok"
    assert found["rcm"].startswith("export: error: no diffusers scheduler follows the timesteps")  # rCM's own angles
