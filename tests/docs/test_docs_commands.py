"""The commands of README.md and docs/quickstart.md, run as they stand, in order; long trainings are cut short."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.commands.conftest import REPOSITORY, Command, distill  # noqa: F401  the fixture

PROMPT = "$ uv run "
PAGES = ["README.md", "docs/quickstart.md"]


def commands(page: str) -> list[list[str]]:
    """The words of every `$ uv run …` of a page's console blocks."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    lines = [
        line.removeprefix("$ python3 -m pip install uv && ").removeprefix("$ ")
        for block in blocks
        for line in block.splitlines()
    ]
    return [shlex.split(line)[2:] for line in lines if line.startswith("uv run ")]


def cut_short(words: list[str]) -> list[str]:
    """The same command with fewer training steps and, where it compares, fewer clips."""
    if words[0] != "run" or "--dry-run" in words:
        return words
    fewer = ["comparison.max_prompts=3", "comparison.clips_per_prompt=1"] if "dmd2" in words[1] else []
    return [*words, "training.max_train_steps=4", "validation.interval=4", "checkpoint.interval=4", *fewer]


@pytest.mark.xdist_group("docs")
def test_the_quickstart_works_as_it_is_written(
    distill: Command,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(
        REPOSITORY / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("work", "__pycache__")
    )
    monkeypatch.chdir(tmp_path)
    done = commands("docs/quickstart.md")
    assert len(done) >= 8
    for program, *words in done:
        if program == "python":
            subprocess.run([sys.executable, *words], check=True, timeout=300)
            continue
        assert program == "distill"
        result = distill(*cut_short(words))
        assert result.code == 0, (words, result.err)
    assert len(list((tmp_path / "runs" / "clips").glob("*.mp4"))) == 2


def test_readme_names_the_two_commands() -> None:
    assert commands("README.md") == [["distill", "run", "examples/shapes/dmd2.yaml"], ["pytest"]]


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("packages/*/README.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page}: {target}"
