"""What ``distill run`` does, once its arguments are known; they are :mod:`distill_core.cli.run`'s. Raises no error of the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from distill_core import terminal
from distill_core.errors import ConfigError, Problem
from distill_core.ranks.place import ONLY, Place
from distill_core.terminal import answer, document, line, notes, remark
from distill_core.unswept import unswept

if TYPE_CHECKING:
    from rich.console import Console

    from distill_core.config.resolve import ResolvedRun
    from distill_core.plugins.index import PluginIndex
    from distill_core.plugins.specs import RoleNeed
    from distill_core.running.preparation import Prepared
    from distill_core.running.run_directory import RunDirectory
    from distill_core.running.session import Outcome
    from distill_core.stopping import Stopping


def run(
    path: Path, overrides: Sequence[str], *, dry_run: bool = False, resume: str | None = None, processes: int = 1
) -> int:
    """Train what a run.yaml describes, or with ``dry_run`` only check it. Returns the exit status."""
    from distill_core.stopping import Stopping

    with Stopping() as stopping:
        if processes > 1:
            return _launch(path, overrides, dry_run, resume, processes, stopping)
        _run(path, overrides, dry_run, resume, stopping)
    return 0


def check(path: Path, overrides: Sequence[str]) -> None:
    """What ``distill config check`` does: say ok, or raise all that is wrong with a run.yaml."""
    from distill_core.plugins.kept_index import installed

    prepared = checked(path, overrides, installed())
    notes(prepared.notes)
    answer("ok")


def _launch(
    path: Path, overrides: Sequence[str], dry_run: bool, resume: str | None, processes: int, stopping: Stopping
) -> int:
    """Check the run for so many processes, and start them: each is the same command without the option. Returns the exit status."""
    from distill_core.plugins.kept_index import installed
    from distill_core.ranks.launcher import launch

    if Place.of(os.environ).size > 1:
        raise ConfigError(
            [Problem("distributed", "a launcher has started this process already; leave --nproc-per-node out")]
        )
    prepared = checked(path, overrides, installed(), Place(0, processes, processes - 1), resume)
    if dry_run:
        _print_plan(prepared)
        return 0
    named = [] if resume is None else ["--resume", resume]
    return launch(["run", str(path), *overrides, *named], processes, os.environ, stopping)


def _run(path: Path, overrides: Sequence[str], dry_run: bool, resume: str | None, stopping: Stopping) -> None:
    """The same, with the signals heard that ask the process to leave."""
    from distill_core.plugins.kept_index import installed

    process = Place.of(os.environ)
    with _awaited(process) if process.size > 1 and not dry_run else nullcontext():
        index = installed()
        for warning in index.warnings:
            remark(f"warning: {warning}")
        prepared = checked(path, overrides, index, process, resume)
        stopping.check()
    if process.rank == 0:
        notes(prepared.notes)
    if dry_run:
        if process.rank == 0:
            _print_plan(prepared)
        return
    from distill_core.ranks.joined import joined
    from distill_core.ranks.layout import Layout
    from distill_core.running.run_directory import RunDirectory
    from distill_core.running.session import train

    console = terminal.console()
    directory = RunDirectory(Path(prepared.run.config.output_dir))
    spread = prepared.run.config.distributed
    layout = Layout.of(spread.replicate, spread.shard, process.size, spread.context)
    timeout, gpu = prepared.run.config.distributed.timeout, prepared.placement.device.type == "cuda"
    with stopping.held("leaving after this step"):
        with (
            prepared.run.loaded.blamed(),
            joined(process, os.environ, stopping, layout, timeout=timeout, gpu=gpu) as ranks,
        ):
            outcome = train(prepared, directory, [row.as_json() for row in index.rows], console, stopping, ranks)
        if process.rank == 0:
            _print_outcome(outcome, directory, console)


def _awaited(process: Place) -> AbstractContextManager[None]:
    """The other processes of the run hear of a failure inside, and leave."""
    from distill_core.ranks.meeting import Meeting

    return Meeting(process, os.environ).awaited()


def _print_outcome(outcome: Outcome, directory: RunDirectory, console: Console) -> None:
    """How far it trained, and the comparison."""
    summary = outcome.training
    line(console, f"done: step {summary.step} in {summary.seconds:.0f} s; run directory {directory.root}")
    if outcome.comparison is not None:
        from distill_core.cli.table import print_table

        table, page = outcome.comparison
        print_table(table.headers, table.cells)
        line(console, f"the clips play side by side in {page}")


def checked(
    path: Path, overrides: Sequence[str], index: PluginIndex, process: Place = ONLY, resume: str | None = None
) -> Prepared:
    """A run whose plugins, models' folders, data and output_dir have been checked. Raises a DistillError with all that is wrong.

    Torch is imported, and the data are looked at, only for a run.yaml that is right in itself.
    """
    from distill_core.cli.waiting import waiting

    with waiting(f"checking {path}") as say:
        with unswept():
            from distill_core.config.resolve import examine

            found = examine(path, overrides, index)
            found.refuse_known()
        say("importing torch, checking the data")
        from distill_core.running.preparation import prepare_found

        return prepare_found(found, process, resume)


def _print_plan(prepared: Prepared) -> None:
    """The resolved run as YAML on stdout, with what was found as comments, so that the output is a run.yaml itself."""
    from distill_core.config.document import write_yaml
    from distill_core.redaction import redact_mapping

    run = prepared.run
    answer(f"# method {run.method.name}: {run.method.summary}")
    for role, need in run.needs.items():
        answer(f"# {_described(run, role, need)}")
    answer(f"# data: {len(prepared.dataset)} rows, latents [T, C, H, W] = {list(prepared.latent_shape)}")
    answer(f"# device: {prepared.placement.device}, forward passes in {prepared.placement.compute}")
    document(write_yaml(redact_mapping(run.to_mapping())))


def _described(run: ResolvedRun, role: str, need: RoleNeed) -> str:
    """A role in a line: whether and how it is trained, and what it starts from."""
    from distill_core.config.checks import family_of

    settings = run.config.optimization(role)
    state = f"trained, learning_rate {settings.learning_rate:g} ({settings.lr_scheduler})"
    if need.module is not None:
        found = "a module of the method's own"
    elif need.rewards:
        found = f"the rewards {', '.join(run.rewards)}"
    elif need.follows is not None:
        found = f"follows {need.follows}"
    else:
        facts = run.facts[role]
        found = f"{family_of(run.config, role)}, {facts.summary} ({facts.path})"
    return f"{role}: {state if need.trainable else 'frozen'}, {found}"
