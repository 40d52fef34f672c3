"""Which family a folder is of, where several are installed: it need not be said, unless it is open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distill_core.cli.family import chosen_family, chosen_model
from distill_core.errors import ForeignPipelineError, ModelFolderError, PluginError, UnsupportedMemberError
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.recognition import recognised
from distill_core.plugins.specs import ModelFacts, ModelSpec
from distill_core.testing.toy_spec import TOY, write_toy_model

REFUSES = replace(TOY, name="refuses", inspect="test_recognition:refuse")
SENDS_ON = replace(TOY, name="sends-on", inspect="test_recognition:send_on")
FAILS = replace(TOY, name="fails", inspect="test_recognition:fail")


def refuse(path: str) -> ModelFacts:
    raise ModelFolderError(f"{path} is none of mine")


def know(path: str) -> ModelFacts:
    raise UnsupportedMemberError(f"{path} is a toy car")


def send_on(path: str) -> ModelFacts:
    raise ForeignPipelineError(
        f"{path} is a pipeline of class Toys. Mine are cars", f"{path} is a pipeline of class Toys"
    )


def fail(path: str) -> ModelFacts:
    raise KeyError("config")


@pytest.fixture
def toy(tmp_path: Path) -> str:
    return str(write_toy_model(tmp_path / "toy"))


def test_the_family_that_takes_a_folder_is_its_family(toy: str) -> None:
    index = PluginIndex.of(models=[REFUSES, TOY])
    assert chosen_family(index, None, toy) is TOY
    ((spec, facts),) = recognised(toy, index, "is of no family")
    assert (spec, facts.summary) == (TOY, "toy, 2 channels")


def test_a_family_whose_look_fails_keeps_no_other_from_its_folder(toy: str) -> None:
    assert chosen_family(PluginIndex.of(models=[FAILS, TOY]), None, toy) is TOY


def test_of_a_folder_that_none_takes_each_familys_word_is_given(tmp_path: Path) -> None:
    index = PluginIndex.of(models=[REFUSES, replace(REFUSES, name="alike"), FAILS, TOY])
    with pytest.raises(ModelFolderError) as refusal:
        chosen_family(index, None, str(tmp_path))
    said = str(refusal.value)
    assert f"{tmp_path} is no pipeline of an installed family (refuses, alike: {tmp_path} is none of mine; " in said
    assert "fails: model 'fails': looking at " in said
    assert "raised KeyError: 'config'" in said
    assert "toy: " in said


def test_of_a_folder_that_one_family_knows_by_name_that_word_alone_is_given(tmp_path: Path) -> None:
    index = PluginIndex.of(models=[REFUSES, replace(REFUSES, name="knows", inspect="test_recognition:know"), FAILS])
    with pytest.raises(ModelFolderError, match=rf"installed family \(knows: {tmp_path} is a toy car\)$"):
        chosen_family(index, None, str(tmp_path))


def said_of(path: Path, *families: ModelSpec) -> str:
    """What is said of a folder that none of the families takes."""
    with pytest.raises(ModelFolderError) as refusal:
        chosen_family(PluginIndex.of(models=families), None, str(path))
    return str(refusal.value)


def test_of_a_folder_that_is_nobodys_it_is_said_once_what_it_is(tmp_path: Path) -> None:
    said = said_of(tmp_path, SENDS_ON, replace(SENDS_ON, name="alike"))
    assert said == (
        f"{tmp_path} is no pipeline of an installed family: {tmp_path} is a pipeline of class Toys; installed are sends-on, alike, and "
        "`distill plugins show NAME` says what each takes"
    )


def test_of_a_folder_that_all_refuse_alike_their_word_is_said_once(tmp_path: Path) -> None:
    said = said_of(tmp_path, REFUSES, replace(REFUSES, name="alike"))
    assert said == f"{tmp_path} is no pipeline of an installed family: {tmp_path} is none of mine"


def test_of_a_folder_that_one_family_finds_at_fault_those_are_silent_that_it_is_nothing_to(tmp_path: Path) -> None:
    said = said_of(tmp_path, SENDS_ON, replace(SENDS_ON, name="alike"), REFUSES)
    assert said == f"{tmp_path} is no pipeline of an installed family (refuses: {tmp_path} is none of mine)"


def test_a_family_whose_look_fails_silences_no_other(tmp_path: Path) -> None:
    said = said_of(tmp_path, SENDS_ON, replace(SENDS_ON, name="alike"), FAILS)
    assert f"(sends-on, alike: {tmp_path} is a pipeline of class Toys; fails: " in said
    assert "raised KeyError: 'config'" in said


def test_a_folder_that_two_take_leaves_the_choice_open(toy: str) -> None:
    with pytest.raises(PluginError, match="say which with --family: other, toy"):
        chosen_family(PluginIndex.of(models=[TOY, replace(TOY, name="other"), REFUSES]), None, toy)


def test_a_folder_of_another_family_than_the_one_that_is_named_is_refused_with_its_own(toy: str) -> None:
    index = PluginIndex.of(models=[SENDS_ON, TOY])
    remedy = r"is a pipeline of class Toys. Mine are cars; toy would take it: leave out --family, or say --family toy$"
    with pytest.raises(ModelFolderError, match=remedy):
        chosen_model(index, "sends-on", toy)
    assert chosen_model(index, None, toy).spec is TOY
    with pytest.raises(ModelFolderError, match=r"is a pipeline of class Toys\. Mine are cars$"):
        chosen_model(PluginIndex.of(models=[SENDS_ON]), "sends-on", toy)
