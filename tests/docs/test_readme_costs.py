"""What the methods' READMEs say an update costs, against the forwards and backwards of each role of the toy world."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.docs.said_costs import CASES, Case, Costs
from torch import Tensor, nn

from distill_core.plugins.answers import demands_of
from distill_core.plugins.discovery import discover
from distill_core.plugins.loading import load_target
from distill_core.protocols.method import Method
from distill_core.testing.findings import Findings
from distill_core.testing.methods.bench import Bench

pytestmark = pytest.mark.slow
PACKAGES = Path(__file__).resolve().parents[2] / "packages"
ROWS = [0, 1, 2]
ONCE, AVERAGED = 4, 40
"""Steps that are counted: of a cost that is the same in each, and of one that is drawn."""
NEAR = 0.25
"""How far the mean of so many draws may be from what is said of the average; the counts themselves are whole."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method}: {case.says[:40]}")
def test_an_update_costs_what_the_readme_says(case: Case, tmp_path: Path) -> None:
    readme = PACKAGES / f"distill-method-{case.package}" / "README.md"
    assert case.says in " ".join(readme.read_text(encoding="utf-8").split())
    found = counted(case, tmp_path)
    for loss, roles in case.costs.items():
        assert set(found[loss]) == set(roles), loss
        for role, cost in roles.items():
            near = NEAR * max(1, round(cost[0] / 2)) if case.average else 0.0
            assert found[loss][role] == pytest.approx(cost, abs=near), f"{loss}: {role}"


def test_every_method_is_counted() -> None:
    assert {case.method for case in CASES} == {*discover().methods}


def counted(case: Case, folder: Path) -> Costs:
    """What a step that has a loss costs each role, on average over some."""
    spec = discover().method(case.method)
    options = spec.options.model_validate(dict(case.options))
    needs = spec.needs(demands_of(spec, options))
    steps = AVERAGED if case.average else ONCE
    bench = Bench(spec, options, folder, Findings(case.method), needs, steps, {})
    run = bench.run()
    method: Method = load_target(spec.build)(run.roles, options)
    now: Counter[tuple[str, str]] = Counter()
    for name, role in run.roles.items():
        for module in role.container.modules():
            if type(module).__name__ == "ToyDenoiser":
                module.register_forward_hook(_counting(name, now))
    total: dict[str, Counter[tuple[str, str]]] = {}
    having: Counter[str] = Counter()
    for step in range(1, steps + 1):
        seen = set[str]()
        for loss in method.losses(run.batch(ROWS), run.draw(step, ROWS)):
            loss.value.backward()
            total.setdefault(loss.name, Counter()).update(now)
            now.clear()
            seen.add(loss.name)
        having.update(seen)
    for counts in total.values():
        assert all(counts[role, "with graph"] == counts[role, "back"] for role, _ in counts), "each graph is used once"
    return {
        loss: {
            role: (counts[role, "plain"] / having[loss], counts[role, "with graph"] / having[loss])
            for role in sorted({role for role, _ in counts})
        }
        for loss, counts in total.items()
    }


def _counting(role: str, now: Counter[tuple[str, str]]) -> Any:
    """A hook that counts a forward, and the way back through it."""

    def hook(module: nn.Module, arguments: object, output: tuple[Tensor, Tensor]) -> None:
        """After a forward."""
        graphs = [tensor for tensor in output if tensor.requires_grad]
        now[role, "with graph" if graphs else "plain"] += 1
        if graphs:
            torch.autograd.graph.register_multi_grad_hook(graphs, lambda _: now.update([(role, "back")]), mode="any")

    return hook
