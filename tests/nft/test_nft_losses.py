"""DiffusionNFT's losses against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill_method_nft.config import NftOptions
from distill_method_nft.losses import distance, goodness, implied, nft_loss

HALF = torch.tensor([500.0], dtype=torch.float64)


def sample(*values: float, grad: bool = False) -> Tensor:
    return torch.tensor(values).view(1, 1, 1, 1, -1).requires_grad_(grad)


def test_a_reward_counts_as_far_as_it_is_above_its_group() -> None:
    # 101 clips, one of which stands 10 deviations out: 5 is the cut. Of two alike, one on either side of the mean by one deviation.
    far = torch.zeros(101, 1)
    far[0] = 1.0
    assert goodness(far, 5.0)[0].item() == pytest.approx(1.0, abs=1e-3)
    two = goodness(torch.tensor([[1.0], [3.0]]), 5.0).flatten().tolist()
    assert two == pytest.approx([0.4, 0.6], abs=1e-3)


@pytest.mark.parametrize(("advantage", "good"), [(5.0, 1.0), (2.5, 0.75), (0.0, 0.5), (-5.0, 0.0), (-9.0, 0.0)])
def test_the_mapping_of_advantages(advantage: float, good: float) -> None:
    # A group of ± spread around a reward whose advantage is asked for would need many clips: with deviation 1 + 1e-4 by construction.
    group = torch.cat([torch.tensor([advantage * (1 + 1e-4)]), _rest(advantage * (1 + 1e-4))])[:, None]
    assert goodness(group.double(), 5.0)[0].item() == pytest.approx(good, abs=1e-3)


def _rest(first: float, size: int = 200) -> Tensor:
    """Numbers that give a group mean 0 and deviation 1 with ``first``."""
    mean = -first / size
    variance = (size + 1 - first**2) / size - mean**2
    turn = torch.tensor([1.0, -1.0]).repeat(size // 2)
    return mean + turn * variance**0.5


def test_a_group_whose_rewards_are_all_alike_says_nothing() -> None:
    assert goodness(torch.full((4, 2), 0.7), 5.0).tolist() == [[0.5, 0.5]] * 4


def test_captions_are_held_against_their_own_group_alone() -> None:
    rewards = torch.tensor([[1.0, 100.0], [3.0, 300.0]])
    torch.testing.assert_close(goodness(rewards, 5.0)[:, 0], goodness(rewards[:, :1], 5.0)[:, 0])


def test_the_implied_policies_by_hand() -> None:
    plus, minus = implied(sample(3.0), sample(1.0), 0.1)
    assert (plus.item(), minus.item()) == pytest.approx((1.2, 0.8))


def test_a_student_that_is_still_the_old_policy_has_both_branches_alike() -> None:
    plus, minus = implied(sample(1.5), sample(1.5), 0.1)
    torch.testing.assert_close(plus, minus)
    at = [distance(sample(0.3), each, HALF, sample(-0.2)) for each in (plus, minus)]
    values = [nft_loss(torch.tensor([good]), *at, 0.1, 5.0).item() for good in (0.0, 0.5, 1.0)]
    assert values == pytest.approx([values[0]] * 3)


def test_the_distance_by_hand() -> None:
    # x̂0 = 1 - .5 · (1, -1) = (.5, 1.5), errors (.5, 1.5): (.25 + 2.25) / 2 over 1.
    assert distance(sample(1.0, 1.0), sample(1.0, -1.0), HALF, sample(0.0, 0.0)).item() == pytest.approx(1.25)


@pytest.mark.parametrize(("good", "nearer"), [(1.0, True), (0.0, False)])
def test_good_clips_pull_and_bad_ones_push(good: float, nearer: bool) -> None:
    noisy, clip, old = sample(1.0), sample(0.0), sample(1.0)
    velocity = sample(1.0, grad=True)
    plus, minus = implied(velocity, old, 0.1)
    at = [distance(noisy, each, HALF, clip) for each in (plus, minus)]
    nft_loss(torch.tensor([good]), *at, 0.1, 5.0).backward()
    assert velocity.grad is not None
    stepped = velocity.detach() - 0.01 * velocity.grad
    before, after = (abs((noisy - 0.5 * each - clip).item()) for each in (velocity, stepped))
    assert (after < before) == nearer


def test_the_old_policy_follows_slower_and_slower() -> None:
    options = NftOptions()
    assert [options.keeps(step) for step in (1, 100, 500, 9000)] == pytest.approx([0.001, 0.1, 0.5, 0.5])
