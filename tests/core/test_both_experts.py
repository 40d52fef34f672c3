"""Two experts in parts on one of several ranks: which of them it calls, what it answers, and what gradients come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill_core.errors import PluginError
from distill_core.protocols import Ask
from distill_core.protocols.condition import Condition
from distill_core.protocols.prediction import Prediction
from distill_core.ranks.ranks import Ranks
from distill_core.testing.toy import ToyText
from distill_core.training.roles import RoleHandle

BOUNDARY = 875.0
HIGH, LOW = [900.0, 950.0], [100.0, 874.0]


class Others(Ranks):
    """Two ranks, the other of which needs what it is said to."""

    def __init__(self, *needed: bool) -> None:
        self.size = 2
        self.needed = needed

    def anywhere(self, flags: Sequence[bool]) -> list[bool]:
        """What is needed here or there."""
        return [here or there for here, there in zip(flags, self.needed, strict=True)]


class TwoExperts:
    """A family of two experts, each a number that is multiplied; it remembers at which timesteps each was called."""

    def __init__(self) -> None:
        self.calls: dict[str, list[float]] = {"high": [], "low": []}

    def boundary(self, _: Mapping[str, nn.Module]) -> float:
        """Where they meet."""
        return BOUNDARY

    def predict(
        self, modules: Mapping[str, nn.Module], noisy: Tensor, timestep: Tensor, condition: Condition, ask: Ask
    ) -> Prediction:
        """Each sample by its expert."""
        assert len(noisy) == len(timestep) == len(condition)
        high = timestep.view(len(timestep), -1)[:, 0] >= BOUNDARY
        velocity = torch.empty_like(noisy)
        for name, mask in (("high", high), ("low", ~high)):
            if mask.any():
                self.calls[name] += timestep[mask].flatten().tolist()
                velocity = velocity.masked_scatter(mask.view(-1, 1, 1, 1, 1), modules[name](noisy[mask]))
        return Prediction(velocity, tuple(2.0 * velocity for _ in ask.features))


class Scale(nn.Module):
    """Multiplies by a weight."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value))

    def forward(self, x: Tensor) -> Tensor:
        """The product."""
        return self.weight * x


def asked(timesteps: list[float], among: Ranks, ask: Ask | None = None) -> tuple[RoleHandle, TwoExperts, Prediction]:
    adapter: Any = TwoExperts()
    role = RoleHandle("student", {"high": Scale(2.0), "low": Scale(3.0)}, adapter, trainable=True)
    role.among = among
    times = torch.tensor(timesteps, dtype=torch.float64)
    noisy = torch.randn(len(times), 1, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    text = ToyText(torch.ones(len(times), 4))
    return role, adapter, role.predict(noisy, times, text, Ask(features=(0,)) if ask is None else ask)


@pytest.mark.parametrize(("timesteps", "name", "added"), [(HIGH, "low", 437.5), (LOW, "high", 937.5)])
def test_an_expert_that_another_rank_needs_is_called_too_and_changes_nothing(
    timesteps: list[float], name: str, added: float
) -> None:
    alone, _, theirs = asked(timesteps, Ranks())
    role, adapter, ours = asked(timesteps, Others(True, True))
    assert adapter.calls[name] == [added]
    assert ours.velocity.equal(theirs.velocity)
    assert ours.features[0].equal(theirs.features[0])
    for each, prediction in ((alone, theirs), (role, ours)):
        (prediction.velocity.square().sum() + prediction.features[0].sum()).backward()
        assert (each.trained_parameters()[f"{name}.weight"].grad is None) == (each is alone)
    gradients = {key: parameter.grad for key, parameter in role.trained_parameters().items()}
    assert gradients[f"{name}.weight"] == 0.0
    other = "high.weight" if name == "low" else "low.weight"
    assert gradients[other] == alone.trained_parameters()[other].grad != 0.0


def test_an_expert_that_no_rank_needs_is_not_called() -> None:
    _, adapter, _ = asked(HIGH, Others(True, False))
    assert adapter.calls == {"high": HIGH, "low": []}
    _, adapter, _ = asked([*HIGH, *LOW], Others(True, True))
    assert adapter.calls == {"high": HIGH, "low": LOW}


def test_what_a_sample_cannot_be_added_to_is_refused() -> None:
    with pytest.raises(
        PluginError, match=r"asks stream of two experts whose weights lie in parts.*distributed\.shard=1"
    ):
        asked(HIGH, Others(True, True), Ask(store=True))


def test_second_times_and_clean_frames_come_with_the_sample() -> None:
    frames = torch.zeros(2, 1, 1, 2, 2)
    until = torch.tensor([10.0, 20.0], dtype=torch.float64)
    _, adapter, made = asked(HIGH, Others(True, True), Ask(until=until, clean=frames, blocks=1))
    assert adapter.calls["low"] == [437.5]
    assert len(made.velocity) == 2
