"""Commands without an option start before the command line is built: they do and say what they do with one."""

from __future__ import annotations

import pytest

from distill_core.cli import main

RECIPE = "examples/shapes/dmd2.yaml"


def _said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return (left.value.code, *capsys.readouterr())


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "none.yaml"],
        ["run", "examples"],
        ["run", RECIPE, "no override"],
        ["run", RECIPE, "trainin.seed=1", "training.max_train_steps=x"],
    ],
    ids=" ".join,
)
def test_a_run_without_an_option_says_what_it_says_with_one(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plain = _said(arguments, capsys)
    assert plain[0] == 2
    assert plain == _said([*arguments, "--nproc-per-node", "1"], capsys)


@pytest.mark.parametrize("command", ["run", "config check", "plugins list"])
def test_help_is_the_command_lines(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = _said([*command.split(), "--help"], capsys)
    assert code == 0
    assert f"Usage: distill {command}" in said


@pytest.mark.parametrize("command", ["run", "config check"])
def test_a_command_without_its_file_is_refused_by_the_command_line(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, said = _said(command.split(), capsys)
    assert code == 2
    assert "RUN.yaml" in said
