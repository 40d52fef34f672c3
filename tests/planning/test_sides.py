"""A plan of two experts in parts: each GPU computes with both where GPUs need different ones, and with one where they cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.planning.test_plan_measured import ROLES, folders, index, run_yaml

from distill_core.planning.sides import HearingRanks
from distill_core.planning.subject import subject_of
from distill_core.planning.trial import play
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.weightless import weightless
from distill_core.ranks.layout import Layout
from distill_core.ranks.played import PlayedRanks

__all__ = ["folders", "index"]

ROLES.setdefault("phased-dmd", ROLES["dmd2"])


def test_what_one_process_says_of_all_samples_is_what_the_first_of_several_hears() -> None:
    all_of_them = HearingRanks()
    assert not all_of_them.alone
    for flags in ([True, False], [True], [True, True]):
        assert all_of_them.anywhere(flags) == flags
    first = PlayedRanks(Layout(1, 2), all_of_them.heard)
    assert [first.anywhere(each) for each in ([True, False], [False], [False, True])] == all_of_them.heard
    assert PlayedRanks(Layout(1, 2)).anywhere([False, False]) == [True, True]


def products(folders: Path, index: PluginIndex, method: str, gpus: int) -> dict[str, int]:
    """Of each phase of a step on so many GPUs, a sample each, weights in parts."""
    said = ("training.max_train_steps=1", f"training.train_batch_size={gpus}")
    with weightless():
        subject = subject_of(run_yaml(folders, method, "a14b"), said, index, on_card=False, ranks=gpus)
        trial = play(subject, print)
    phases = (phase for each in trial.played if each.share for phase in each.phases)
    return {phase.name: phase.work.flops for phase in phases if phase.work.flops}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "loss", "alone", "passes"),
    [("finetune", "loss", 1, 2), ("phased-dmd", "critic_loss_high", 2, 2), ("dmd2", "critic_loss", 4, 5)],
)
def test_a_pass_takes_both_experts_where_each_sample_draws_its_timestep(
    folders: Path, index: PluginIndex, method: str, loss: str, alone: int, passes: int
) -> None:
    """All samples of a rollout share its timesteps, and those of a phase of Phased DMD their side; DMD2's critic is trained at any."""
    one, two = (products(folders, index, method, gpus) for gpus in (1, 2))
    forward = one[f"{loss}: forward"] // alone
    assert two[f"{loss}: forward"] == passes * forward
    assert (two[f"{loss}: backward"] == 2 * one[f"{loss}: backward"]) is (method != "phased-dmd")
