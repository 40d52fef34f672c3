"""One thread per test process: two threads under contention are ten times slower, and may deadlock after a fork.

Processes that tests start find the bytecode of torch and its kin, whatever the environment says: without it each compiles them anew,
which takes longer than most tests.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path

if "PYTHONPYCACHEPREFIX" not in os.environ:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "bytecode")
    sys.pycache_prefix, sys.dont_write_bytecode = os.environ["PYTHONPYCACHEPREFIX"], False
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"

import pytest
from hypothesis import settings

settings.register_profile("distill", deadline=None)  # two busy cores: a slow example is no failure
settings.load_profile("distill")


# A shell that starts the tests in the background, or nohup, has them ignore signals, and ``distill`` leaves what is ignored ignored.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """What was imported so far is kept from the garbage collector, which would look at a million objects each time."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Python ends as it would have."""
    gc.unfreeze()
