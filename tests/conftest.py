"""One thread per test process: two threads under contention are ten times slower, and may deadlock after a fork."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"

import pytest
from hypothesis import settings

settings.register_profile("distill", deadline=None)  # two busy cores: a slow example is no failure
settings.load_profile("distill")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
