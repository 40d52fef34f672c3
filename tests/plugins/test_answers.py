"""distill_core.plugins.answers: an answer of another type than a spec's function declares is refused where it is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from distill_core.errors import ModelFolderError, PluginError
from distill_core.plugins.answers import completed_options, demands_of, facts_of, ill_typed, settled_facts
from distill_core.plugins.border import words_of
from distill_core.plugins.fit import fit
from distill_core.plugins.specs import Demands, MethodSpec, ModelFacts, Options, RoleNeed
from distill_core.protocols import ValidationRequest
from distill_core.testing.toy_spec import TOY, inspect, write_toy_model

STUDENT = RoleNeed(True, frozenset({"predict"}))


def method(demands: Any) -> MethodSpec:
    """A method whose demands under any options are these."""
    return MethodSpec("turbo", "", Options, "a:B", {"student": STUDENT}, lambda _: demands)


def demanding(**fields: Any) -> Demands:
    return Demands(**fields)


@pytest.mark.parametrize(
    ("demands", "message"),
    [
        (None, "a Demands is wanted, not None"),
        (demanding(roles=("student",)), r"Demands\.roles cannot be \('student',\): "),
        (demanding(attention={"student": "vsa"}), r"Demands\.attention cannot be \{'student': 'vsa'\}: "),
        (demanding(least_frames="many"), r"Demands\.least_frames cannot be 'many': "),
        (demanding(latents=1), r"Demands\.latents cannot be 1: "),  # which equals the default
        (demanding(attention=[]), r"Demands\.attention cannot be \[\]: "),
        (Demands(roles={"student": RoleNeed(True, frozenset({"fetures"}))}), "no operation 'fetures'; did you mean"),
        (Demands(roles={"old": RoleNeed(False, follows="student")}), "follows 'student', which is no role"),
    ],
)
def test_demands_that_are_none_are_refused_and_take_no_command_down(demands: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        demands_of(method(demands), Options())
    assert fit(method(demands), TOY).verdict.startswith("no: its demands raised ")


class Even(BaseModel):
    """A number that pydantic checks in words of ours."""

    number: int

    @field_validator("number")
    @classmethod
    def _even(cls, number: int) -> int:
        if number % 2:
            raise ValueError(f"{number} is odd")
        return number


@pytest.mark.parametrize(("number", "words"), [(3, "3 is odd"), ("x", "Input should be a valid integer")])
def test_what_a_check_raises_is_told_without_pydantics_words_before_it(number: object, words: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        Even.model_validate({"number": number}, strict=True)
    assert words_of(refusal.value.errors()[0]) == words


def test_sound_demands_are_given_as_they_are() -> None:
    demands = Demands(roles={"student": STUDENT}, attention={"student": ("dense", "vsa")}, least_frames=2)
    assert demands_of(method(demands), Options()) is demands


def test_a_request_of_a_sampler_that_there_is_not_is_ill_typed() -> None:
    assert ill_typed(ValidationRequest("student", timesteps=(1000, 500.0)), ValidationRequest) is None
    other: Any = "euler"
    fault = ill_typed(ValidationRequest("student", sampler=other), ValidationRequest)
    assert fault == "ValidationRequest.sampler cannot be 'euler': Input should be 'ode' or 'sde'"


def nothing(path: str) -> None:
    """A look that forgets its answer."""


def positions_in_a_list(path: str) -> ModelFacts:
    positions: Any = [64, 64, 64]
    return replace(inspect(path), max_positions=positions)


def raises(*_: object) -> Any:
    raise KeyError("vae")


@pytest.mark.parametrize(
    ("look", "message"),
    [
        ("nothing", "raised TypeError: a ModelFacts is wanted, not None"),
        ("positions_in_a_list", r"raised TypeError: ModelFacts\.max_positions cannot be \[64, 64, 64\]"),
        ("raises", "raised KeyError: 'vae'; DISTILL_TRACEBACK=1 shows where"),
    ],
)
def test_a_look_at_a_folder_that_gives_no_facts_names_its_family(tmp_path: Path, look: str, message: str) -> None:
    family = replace(TOY, inspect=f"test_answers:{look}")
    folder = write_toy_model(tmp_path)
    with pytest.raises(PluginError, match=f"model 'toy': looking at {folder} {message}"):
        facts_of(family, str(folder))


def test_a_folder_that_a_family_refuses_stays_refused_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="is no toy model"):
        facts_of(TOY, str(tmp_path))


def test_settling_and_completing_answer_facts_and_options(tmp_path: Path) -> None:
    facts, options = facts_of(TOY, str(write_toy_model(tmp_path))), TOY.options()
    assert settled_facts(TOY, facts, options) is facts
    assert completed_options(TOY, facts, options) is options
    with pytest.raises(PluginError, match=r"model 'toy': settling what a folder says .* raised KeyError: 'vae'"):
        settled_facts(replace(TOY, settle=raises), facts, options)
    with pytest.raises(
        PluginError, match="model 'toy': completing its options raised TypeError: ToyOptions are wanted"
    ):
        completed_options(replace(TOY, complete=lambda _, __: None), facts, options)
