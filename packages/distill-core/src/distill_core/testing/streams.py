"""The global random streams, so that a kit can see whether somebody drew from one."""

from __future__ import annotations

import random

import numpy as np
import torch


def random_streams() -> dict[str, object]:
    """The states of the global random streams, comparable, by the name of each."""
    kind, keys, position, *_ = np.random.get_state(legacy=True)
    return {
        "torch's global stream": torch.get_rng_state().numpy().tobytes(),
        "Python's random": random.getstate(),
        "numpy's global stream": (kind, np.asarray(keys).tobytes(), position),
    }
