"""``distill verify PATH``: every byte of a run, a checkpoint or a data set against its record."""

from __future__ import annotations

from typing import Annotated

import typer

from distill_core.terminal import answer, remark


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
