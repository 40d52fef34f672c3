"""Rules for what makes a method's columns before it trains: all of them, of their shapes, the same again, each row by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from distill_core.plugins.loading import load_target
from distill_core.protocols.method import ColumnMaker
from distill_core.testing.findings import Findings
from distill_core.testing.methods.asks import ROWS
from distill_core.testing.methods.bench import Bench
from distill_core.testing.methods.watched_role import watched
from distill_core.testing.toy_parts import CPU, LATENT_SHAPE
from distill_core.training.draws import KeyedDraw

RULE = "made columns"


def check_making(bench: Bench, findings: Findings) -> None:
    """Make the columns of a few rows, if the method makes any, again, and of one row alone."""
    columns = {column.name: column for column in bench.demands.made_columns}
    if not columns:
        return
    if not bench.spec.makes or not bench.demands.makers:
        findings.fault(
            RULE,
            f"{', '.join(columns)} has made_with, and nobody makes it: name the maker in MethodSpec.makes and its roles in Demands.makers",
        )
        return
    with findings.border(RULE):
        made = _made(bench, ROWS)
        _expect_shapes(bench, made, findings)
        again, (first, *_) = _made(bench, ROWS), ROWS
        alone = _made(bench, (first,))
        for name in made.keys() & columns.keys():
            findings.expect(
                torch.equal(made[name], again[name]),
                RULE,
                f"{name} is another when it is made again; draw its noise by `draw`",
            )
            findings.expect(
                torch.allclose(made[name][:1], alone[name], rtol=1e-3, atol=1e-4),
                RULE,
                f"{name} of a row is another in another batch; what is stored for a row follows from that row alone",
            )


def _made(bench: Bench, rows: Sequence[int]) -> Mapping[str, Tensor]:
    run = bench.run()
    roles = watched(run.roles, bench.needs, bench.demands)
    maker: ColumnMaker = load_target(bench.spec.makes)(
        {name: roles[name] for name in bench.demands.makers}, bench.options
    )
    batch = run.batches.prepare([bench.rows[row] for row in rows], LATENT_SHAPE)
    with torch.no_grad():
        return dict(maker.make(batch, KeyedDraw(0, 0, 0, tuple(rows), CPU)))


def _expect_shapes(bench: Bench, made: Mapping[str, Tensor], findings: Findings) -> None:
    columns = {column.name: column for column in bench.demands.made_columns}
    frames, channels, height, width = LATENT_SHAPE
    findings.expect(
        made.keys() == columns.keys(),
        RULE,
        f"its maker gives {', '.join(made) or 'nothing'}, and the columns with made_with are {', '.join(columns)}; make them agree",
    )
    for name, tensor in made.items():
        if name in columns:
            fault = columns[name].misshape(tensor.shape[1:], (channels, frames, height, width))
            findings.expect(
                len(tensor) == len(ROWS) and fault is None, RULE, f"{name} {fault or 'is not one of each row'}"
            )
