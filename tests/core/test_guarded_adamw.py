"""AdamW with lists of its own, against torch's: the bits of weights and state, whatever has a gradient and whatever is broken."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from distill_core.config.schema import Optimization
from distill_core.training.guarded_adamw import Flag, GuardedAdamW

SETTINGS = Optimization(learning_rate=1e-2, weight_decay=0.1, betas=(0.8, 0.95))
STATE = ("step", "exp_avg", "exp_avg_sq")


def weights() -> list[nn.Parameter]:
    """Two kinds of three shapes."""
    torch.manual_seed(0)
    made = [torch.randn(3, 2), torch.randn(()), torch.randn(4).bfloat16(), torch.randn(2, 2).bfloat16()]
    return [nn.Parameter(each) for each in made]


STEP = st.tuples(st.lists(st.booleans(), min_size=4, max_size=4), st.sampled_from((None, False, True)))
"""Which weights have a gradient, and what the flag says; None is no flag."""


@settings(max_examples=30)
@given(st.lists(STEP, max_size=4))
def test_an_update_gives_the_bits_of_torchs_own_step_and_a_broken_one_none(
    steps: list[tuple[list[bool], bool | None]],
) -> None:
    ours, theirs = weights(), weights()
    guarded = GuardedAdamW(ours, SETTINGS)
    plain = torch.optim.AdamW(theirs, weight_decay=0.1, betas=(0.8, 0.95), fused=True)
    for number, (given_to, broken) in enumerate(steps):
        for mine, its, has in zip(ours, theirs, given_to, strict=True):
            gradient = torch.randn_like(mine) if has else None
            mine.grad, its.grad = gradient, gradient
        if not broken:
            plain.param_groups[0]["lr"] = 0.01 * (number + 1)
            plain.step()
        elif ours[0].grad is not None:
            ours[0].grad = ours[0].grad * math.nan
        guarded.update(0.01 * (number + 1), None if broken is None else Flag(torch.tensor(float(broken))))
    for mine, its in zip(ours, theirs, strict=True):
        assert torch.equal(mine, its)
        for name in STATE:
            mine_now, its_now = guarded.state[mine][name], plain.state[its].get(name)
            assert torch.equal(mine_now, torch.zeros_like(mine_now) if its_now is None else its_now), name
