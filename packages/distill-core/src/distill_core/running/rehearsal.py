"""A run that leaves early, to show what it does: as ``distill run`` makes it but for its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from distill_core.config.resolve import open_run
from distill_core.plugins.index import PluginIndex
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train
from distill_core.terminal import console


def rehearse(path: Path, until: int, overrides: Sequence[str], index: PluginIndex) -> None:
    """Train up to and with the step ``until``, which is saved. Raises DistillError for what the user can put right."""
    prepared = replace(prepare(open_run(path, overrides, index)), until=until)
    directory = RunDirectory(Path(prepared.run.config.output_dir))
    train(prepared, directory, [row.as_json() for row in index.rows], console())
