"""``distill verify PATH``: every byte against its record. ``distill verify-resume RUN.yaml``: whether the run goes on exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill_core.terminal import answer, notes, remark


def verify(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="A run directory, a checkpoint's folder, or a data set.", show_default=False
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Read every byte, and name what is not what was written. Exit status 1 if there is anything.

    Of a run: its records, its checkpoints, and the weights, data and versions that it rests on.
    """
    import json
    from dataclasses import asdict

    from distill_core.cli.waiting import waiting
    from distill_core.plugins.discovery import discover

    index = discover()
    with waiting("importing torch") as say:
        from distill_core.finished.verify import verify as verified

        found = []
        for one in verified(path, index, say):
            found.append(one)
            if not as_json:
                note = f" ({one.remark})" if one.remark else ""
                answer(f"{one.name}: {'as it was written' if one.fault is None else one.fault}{note}")
    faults = sum(one.fault is not None for one in found)
    if as_json:
        answer(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False))
    else:
        remark(f"{len(found)} compared: {f'{faults} not what was written' if faults else 'all as it was written'}")
    if faults:
        raise typer.Exit(1)


def verify_resume(
    path: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The run to try.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Keys of the YAML to override.", show_default=False)
    ] = None,
    steps: Annotated[int, typer.Option("--steps", metavar="K", min=1, help="Steps before and after the stop.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Train K steps, stop, go on for K more; and 2 K steps at once. Exit status 1 unless both end bitwise alike.

    The run's own directory is left alone: a folder beside it is made and removed. Takes 4 K steps and three starts.
    """
    import json
    from dataclasses import asdict

    from distill_core.cli.waiting import waiting

    with waiting("importing torch") as say:
        from distill_core.config.overrides import undone
        from distill_core.finished import verify_resume as work

        verdict = work.verify_resume(path, steps, overrides or [], say)
    notes(undone(overrides or []))
    if as_json:
        answer(json.dumps(asdict(verdict), indent=2, ensure_ascii=False))
    elif verdict.difference is None:
        told = f"{verdict.tensors} tensors and the position in the data are equal to the bit"
        answer(f"{path}: {steps} steps, a resume and {steps} more against {2 * steps}: {told}")
    else:
        answer(f"{path}: differs {verdict.difference}")
        remark(verdict.cause)
    if verdict.difference is not None:
        raise typer.Exit(1)


def rehearse(path: Path, until: int, overrides: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Train up to a step and leave: a part of verify-resume."""
    from distill_core.plugins.discovery import discover
    from distill_core.running import rehearsal

    rehearsal.rehearse(path, until, overrides or [], discover())
