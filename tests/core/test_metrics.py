"""Figures between two log intervals."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from distill_core.training import metrics
from distill_core.training.metrics import MetricWindow


def test_means_are_over_each_names_own_count() -> None:
    window = MetricWindow()
    for value in (1.0, 2.0, 6.0):
        window.add("often", torch.tensor(value))
    window.add("seldom", torch.tensor(5.0))
    assert window.means() == {"often": 3.0, "seldom": 5.0}
    assert window.means() == {}


def test_a_tensor_that_is_no_scalar_is_refused() -> None:
    with pytest.raises(ValueError, match="no scalar"):
        MetricWindow().add("loss", torch.zeros(2))


class CountSyncs(TorchDispatchMode):
    """Counts reads of a tensor by the host."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.reads += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_adding_reads_nothing_to_the_host() -> None:
    window = MetricWindow()
    with CountSyncs() as counted:
        for step in range(10):
            window.add("loss", torch.tensor(float(step)))
    assert counted.reads == 0


def test_figures_are_those_of_their_step_whatever_becomes_of_their_tensors() -> None:
    window, weight = MetricWindow(), torch.tensor(1.0)
    for _ in range(3):
        window.add("weight", weight)
        window.seal()
        weight.add_(1.0)
    assert window.means() == {"weight": 2.0}


def test_figures_of_several_dtypes_and_shapes_keep_their_precision() -> None:
    window = MetricWindow()
    window.add("double", torch.tensor(1.0 + 2**-40, dtype=torch.float64))
    window.add("half", torch.tensor([2.5], dtype=torch.bfloat16))
    window.add("whole", torch.tensor(3))
    assert window.means() == {"double": 1.0 + 2**-40, "half": 2.5, "whole": 3.0}


def test_a_window_that_nobody_asks_does_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_KEPT", 4)
    window = MetricWindow()
    for step in range(10):
        window.add("loss", torch.tensor(float(step)))
        window.seal()
        assert len(window._rows) < 4
    assert window.means() == {"loss": 4.5}
