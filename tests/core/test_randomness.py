"""Keyed randomness: the key decides, and nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill_core.randomness import key_bits, key_fraction
from distill_core.training.draws import KeyedDraw, seed_global

CPU = torch.device("cpu")


def draw(step: int = 1, micro_step: int = 0, rows: tuple[int, ...] = (0, 1, 2), seed: int = 0) -> KeyedDraw:
    return KeyedDraw(seed, step, micro_step, rows, CPU)


def test_asking_twice_gives_the_same_numbers() -> None:
    assert torch.equal(draw().normal("n", (4,)), draw().normal("n", (4,)))
    assert torch.equal(draw().uniform("u"), draw().uniform("u"))


@pytest.mark.parametrize(
    "other",
    [draw(step=2), draw(micro_step=1), draw(seed=1), draw().within("inner")],
    ids=["step", "micro", "seed", "within"],
)
def test_every_part_of_the_key_matters(other: KeyedDraw) -> None:
    assert not torch.equal(draw().normal("n", (4,)), other.normal("n", (4,)))
    assert not torch.equal(draw().uniform("u"), other.uniform("u"))
    assert not torch.equal(draw().normal("n", (4,)), draw().normal("other", (4,)))


def test_a_rank_draws_what_one_process_would_have_drawn_for_its_rows() -> None:
    whole = draw(rows=(0, 1, 2, 3))
    ranks = [draw(rows=(0, 1)), draw(rows=(2, 3))]
    for ask in (
        lambda d: d.normal("n", (2, 3)),
        lambda d: d.uniform("u", 2, 5),
        lambda d: d.choice("c", (1.0, 2.0, 3.0)),
        lambda d: d.bernoulli("b", 0.5),
    ):
        assert torch.equal(ask(whole), torch.cat([ask(rank) for rank in ranks]))


def test_shared_index_does_not_depend_on_the_rows() -> None:
    assert draw(rows=(0,)).shared_index("exit", 1000) == draw(rows=(5, 6)).shared_index("exit", 1000)


def test_the_global_random_state_is_left_alone_and_has_no_say() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first = draw().normal("n", (8,))
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(99)
    assert torch.equal(first, draw().normal("n", (8,)))


def test_draws_have_the_moments_that_they_should() -> None:
    many = draw(rows=tuple(range(20_000)))
    uniform = many.uniform("u", -1, 3)
    assert uniform.mean().item() == pytest.approx(1.0, abs=0.03)
    assert uniform.std().item() == pytest.approx(4 / 12**0.5, abs=0.03)
    normal = draw(rows=tuple(range(64))).normal("n", (1000,))
    assert normal.mean().item() == pytest.approx(0.0, abs=0.02)
    assert normal.std().item() == pytest.approx(1.0, abs=0.02)
    assert many.bernoulli("b", 0.2).float().mean().item() == pytest.approx(0.2, abs=0.01)
    counts = torch.bincount(many.choice("c", (0.0, 1.0, 2.0, 3.0)).long())
    assert counts.min().item() > 4700


def test_normal_noise_of_two_samples_is_uncorrelated() -> None:
    noise = draw(rows=(0, 1)).normal("n", (20_000,))
    assert abs(torch.corrcoef(noise)[0, 1].item()) < 0.03


@given(st.integers(), st.text(max_size=5))
def test_fraction_is_in_the_unit_interval(number: int, text: str) -> None:
    assert 0.0 <= key_fraction(number, text) < 1.0
    assert 0 <= key_bits(number, text) < 2**63


def test_seeding_the_global_streams_gives_what_torch_gives() -> None:
    seed = key_bits(3, 7, 1, "global")
    torch.manual_seed(seed)
    expected = torch.rand(4)
    seed_global(CPU, seed)
    assert torch.equal(torch.rand(4), expected)
