"""The average of a role's weights."""

from __future__ import annotations

from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from distill_core.training.averages import WeightAverage
from distill_core.training.guarded_adamw import Flag


def test_average_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([0.0]))
    average = WeightAverage({"w": weight}, decay=0.75)
    for value, expected in ((4.0, 1.0), (5.0, 2.0)):
        weight.data.fill_(value)
        average.update({"w": weight}, step=1)
        assert average.shadow["w"].item() == expected


def test_average_follows_the_weights_up_to_its_start() -> None:
    weight = nn.Parameter(torch.tensor([0.0]))
    average = WeightAverage({"w": weight}, decay=0.5, start_step=2)
    for step, (value, expected) in enumerate(((4.0, 4.0), (8.0, 8.0), (0.0, 4.0)), start=1):
        weight.data.fill_(value)
        average.update({"w": weight}, step)
        assert average.shadow["w"].item() == expected


def test_weights_come_back_bitwise_even_after_an_error() -> None:
    weight = nn.Parameter(torch.randn(5))
    before = weight.detach().clone()
    average = WeightAverage({"w": weight}, decay=0.5)
    average.shadow["w"].add_(1.0)
    try:
        with average.applied({"w": weight}):
            assert torch.equal(weight, before + 1.0)
            raise RuntimeError
    except RuntimeError:
        pass
    assert torch.equal(weight, before)
    assert torch.equal(average.shadow["w"], before + 1.0)


def test_narrow_weights_and_their_average_come_back_bitwise() -> None:
    weight = nn.Parameter(torch.randn(5).bfloat16())
    average = WeightAverage({"w": weight}, decay=0.5)
    average.shadow["w"].add_(0.001)
    before, averaged = weight.detach().clone(), average.shadow["w"].clone()
    with average.applied({"w": weight}):
        assert torch.equal(weight, averaged.bfloat16())
    assert torch.equal(weight, before)
    assert torch.equal(average.shadow["w"], averaged)


class LiveCopies(TorchDispatchMode):
    """The most bytes of copies that lived at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: WeakSet[Tensor] = WeakSet()
        self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.clone.default:
            self.alive.add(result)
            self.most = max(self.most, sum(tensor.nbytes for tensor in self.alive))
        return result


def test_applying_an_average_copies_no_more_than_one_weight_at_a_time() -> None:
    parameters = {f"w{index}": nn.Parameter(torch.randn(100)) for index in range(8)}
    average = WeightAverage(parameters, decay=0.5)
    with LiveCopies() as copies, average.applied(parameters):
        pass
    assert 400 <= copies.most <= 800


def test_average_of_half_precision_weights_is_kept_in_single() -> None:
    weight = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    average = WeightAverage({"w": weight}, decay=0.999)
    weight.data.fill_(2.0)
    average.update({"w": weight}, 1)
    assert average.shadow["w"].dtype == torch.float32
    assert average.shadow["w"][0].item() > 1.0


def test_a_broken_step_leaves_the_average_bitwise() -> None:
    """Zeros of either sign and the smallest and largest numbers too, at the start and up to the step that the average begins at."""
    values = torch.tensor([-0.0, 0.0, 1e-45, -1e-45, 1.7e38, 1.0])
    weight = nn.Parameter(values.clone())
    average = WeightAverage({"w": weight}, decay=0.9, start_step=1)
    for step, broken in ((1, 1.0), (1, 0.0), (2, 1.0), (2, 0.0), (3, 1.0)):
        before = average.shadow["w"].numpy().tobytes()
        weight.data = values.flip(0) if step == 2 else -values
        average.update({"w": weight}, step, Flag(torch.tensor(broken)))
        assert (average.shadow["w"].numpy().tobytes() == before) == bool(broken), (step, broken)


def test_an_average_is_the_same_whether_steps_are_judged_or_not() -> None:
    weight = nn.Parameter(torch.randn(64))
    plain, judged = (WeightAverage({"w": weight}, decay=0.9, start_step=1) for _ in range(2))
    for step in (1, 2, 3):
        weight.data = torch.randn(64)
        plain.update({"w": weight}, step)
        judged.update({"w": weight}, step, Flag(torch.zeros(())))
    assert torch.equal(plain.shadow["w"], judged.shadow["w"])
