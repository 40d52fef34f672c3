"""A batch, or a data set, that so many processes cannot share by its rows: refused before a weight is loaded, with numbers that go."""

from __future__ import annotations

from distill_core.config.schema import RunConfig
from distill_core.errors import ConfigError, DataError, Problem


def refuse_uneven(config: RunConfig, processes: int) -> None:
    """Raise ConfigError for a batch that so many processes, or groups of those that share clips, cannot share equally."""
    batch, parts = config.training.train_batch_size, config.training.gradient_accumulation_steps
    shares = max(1, processes // config.distributed.context)
    if batch % shares == 0:
        return
    who = (
        f"{processes} processes"
        if shares == processes
        else f"{shares} groups of {config.distributed.context} processes"
    )
    message = f"{who} cannot share a batch of {batch} equally"
    if (batch * parts) % shares == 0:
        remedy = (
            f"training.train_batch_size={shares} training.gradient_accumulation_steps={batch * parts // shares}"
            " is as many samples a step"
        )
    else:
        remedy = f"set it to a multiple of {shares}"
    raise ConfigError([Problem("training.train_batch_size", f"{message}; {remedy}")])


def refuse_idle_processes(rows: int, batch: int, processes: int, context: int) -> None:
    """Raise DataError for fewer rows than there are processes, or groups of ``context`` that share clips."""
    groups = processes // context
    if rows >= groups:
        return
    who = f"{groups} processes" if context == 1 else f"{groups} groups of {context} processes"
    most = context * max(number for number in range(1, rows + 1) if batch % number == 0)
    raise DataError(f"{rows} rows are too few for {who}; start {most}, which share a batch of {batch} equally")
