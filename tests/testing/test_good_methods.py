"""The kit passes methods that keep the contract, quickly, and says what is worth knowing of them."""

from __future__ import annotations

import random
import time

import pytest
import torch
from tests.testing.good_methods import (
    Adversarial,
    Causal,
    KitOptions,
    Normalised,
    Preferring,
    Regression,
    Target,
    TwoRoles,
    spec_of,
)

from distill_core.plugins.columns import Column
from distill_core.plugins.specs import Demands
from distill_core.testing.contracts import check_method


@pytest.mark.parametrize("method", [Regression, TwoRoles, Target, Adversarial, Causal])
def test_a_method_that_keeps_the_contract_passes(method: type) -> None:
    report = check_method(spec_of(method), KitOptions(), steps=6)
    assert set(report.steps) == {1, 2, 3, 4, 5, 6}


def test_a_method_that_means_to_couple_rows_says_so() -> None:
    report = check_method(spec_of(Normalised), KitOptions(), steps=6, couples_rows=True)
    assert not report.notes


def test_a_column_that_a_method_declares_is_in_its_batches() -> None:
    columns = (
        Column("liked", (), "whether a person liked the clip", "make.py"),
        Column("end", ("C", "T", "H", "W"), "where a teacher ends", "make.py", latent=True),
    )
    check_method(spec_of(Preferring, Regression, demands=lambda _: Demands(columns=columns)), KitOptions(), steps=3)


def test_a_loss_that_leans_on_another_trained_role_is_a_note_for_the_trainer_keeps_the_leak_out() -> None:
    (note,) = check_method(spec_of(Adversarial), KitOptions(), steps=4).notes
    assert "'fool' of student would reach 'head' too: the trainer keeps that out" in note


def test_the_kit_takes_under_three_seconds_of_work() -> None:
    started = time.process_time()
    check_method(spec_of(TwoRoles), KitOptions())
    assert time.process_time() - started < 3.0


def test_the_kit_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state(), random.getstate()
    check_method(spec_of(Regression), KitOptions(), steps=3)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
