"""Loading and saving without the progress bars and reports of diffusers and transformers: distill shows its own, and its own errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

_LIBRARIES = (diffusers_logging, transformers_logging)


@contextmanager
def quietly() -> Iterator[None]:
    """Inside, neither library draws a bar or logs below an error; afterwards each does as before."""
    noisy = [log for log in _LIBRARIES if log.is_progress_bar_enabled()]
    levels = [(log, log.get_verbosity()) for log in _LIBRARIES]
    for log in noisy:
        log.disable_progress_bar()
    for log in _LIBRARIES:
        log.set_verbosity_error()
    try:
        yield
    finally:
        for log in noisy:
            log.enable_progress_bar()
        for log, level in levels:
            log.set_verbosity(level)
