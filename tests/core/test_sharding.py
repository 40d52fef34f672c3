"""Weights in parts: a loss trains the roles that it names and no other, under recomputation and accumulation, as with whole weights."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from tests.core.ranked import launched
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from distill_core.ranks.joined import joined
from distill_core.ranks.layout import Layout
from distill_core.ranks.place import Place
from distill_core.stopping import Stopping
from distill_core.training.gradients import untouched
from distill_core.training.parts import sharded
from distill_core.training.sharding import blocks_of, shard


class Net(nn.Module):
    """Two blocks, made again in backward, between two layers; and a scale, which is a scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 5), nn.Linear(5, 3)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(5, 5), nn.Tanh()) for _ in range(2))
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3] to [B, 3], which is a view, as that of a denoiser is that puts patches together."""
        x = self.first(x)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
        out: Tensor = self.last(x) * self.scale
        return out.unflatten(1, (3, 1)).flatten(1)


def nets() -> tuple[Net, Net]:
    torch.manual_seed(0)
    return Net(), Net()


def gradients(student: Net, judge: Net, rows: slice) -> Iterator[Tensor]:
    """Of two roles after two micro-steps: the loss of each goes through the other too."""
    pair = (list(student.parameters()), list(judge.parameters()))
    for batch in torch.linspace(-1, 1, 24).view(2, 4, 3):
        x = batch[rows]
        with torch.no_grad():
            student(x)
        with untouched(pair[1]):
            judge(student(x)).square().mean().backward()
        with untouched(pair[0]):
            judged = judge(student(x))
            judged -= x
            judged.square().mean().backward()
    for parameter in (*pair[0], *pair[1]):
        assert parameter.grad is not None
        yield parameter.grad
        parameter.grad = None
    yield from by_features(student, judge, rows)


def by_features(student: Net, judge: Net, rows: slice) -> Iterator[Tensor]:
    """After two micro-steps whose loss is of what the judge's first block puts out, and not of the judge's output."""
    seen: list[Tensor] = []
    hook = judge.blocks[0].register_forward_hook(lambda _, __, output: seen.append(output))
    used = [*student.parameters(), *judge.first.parameters(), *judge.blocks[0].parameters()]
    for batch in torch.linspace(-1, 1, 24).view(2, 4, 3):
        judge(student(batch[rows]))
        feature, *_ = seen
        feature.square().mean().backward()
        seen.clear()
    hook.remove()
    for parameter in used:
        assert parameter.grad is not None
        yield parameter.grad


def in_parts(result: Path) -> Callable[[int], None]:
    def work(rank: int) -> None:
        """One of two ranks, with two rows of four."""
        place = Place.of(os.environ)
        with (
            Stopping() as stopping,
            joined(place, os.environ, stopping, Layout(1, 2), timeout=60, gpu=False) as ranks,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("error", UserWarning)
            assert ranks.mesh is not None
            pair = nets()
            for net in pair:
                assert len(list(blocks_of(net))) == 2
                shard(net, ranks.mesh)
                assert [name for name, each in net.named_parameters() if not sharded(each)] == ["scale"]
            found = []
            for gradient in gradients(*pair, slice(2 * rank, 2 * rank + 2)):
                if not sharded(gradient):
                    ranks.sum_(gradient)
                    gradient /= 2
                found.append(gradient.full_tensor() if sharded(gradient) else gradient)
            if rank == 0:
                torch.save(found, result)

    return work


def test_gradients_in_parts_are_those_of_whole_weights_and_nothing_leaks(tmp_path: Path) -> None:
    for ended in launched(2, in_parts(tmp_path / "found.pt"), tmp_path).ended():
        assert ended.status == 0, ended.err
    found = torch.load(tmp_path / "found.pt")
    whole = list(gradients(*nets(), slice(0, 4)))
    assert len(found) == len(whole) == 18 + 13
    for ours, theirs in zip(found, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
