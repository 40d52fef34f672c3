"""What a run will sample, refused before it trains where it cannot be sampled: the method's own requests, and the comparison's rows."""

from __future__ import annotations

from distill_core.comparison.compare import LatentShape, request_of, shape_of
from distill_core.config.checks import family_of
from distill_core.config.resolve import ResolvedRun
from distill_core.config.sampled import ComparedRow
from distill_core.errors import ConfigError, MethodError, Problem
from distill_core.protocols.method import Method
from distill_core.protocols.validator import ValidationRequest
from distill_core.sampling.requests import misfit


def refuse_misfits(run: ResolvedRun, method: Method, latent_shape: LatentShape) -> None:
    """Raise MethodError for a request of the method's, ConfigError for rows of the comparison, that their roles cannot be sampled by.

    ``latent_shape``: [T, C, H, W] that the run samples at. The method is asked for its first validation and for its last.
    """
    last = run.config.training.max_train_steps
    interval = run.config.validation.interval
    own = method.validation(last)
    first = last if interval is None else min(interval, last)
    for step, request in ((first, method.validation(first)), (last, own)):
        fault = None if request is None else _misfit(run, request)
        if fault is not None:
            raise MethodError(f"method {run.method.name!r}, asked what to validate at step {step}: {fault}")
    rows = {} if run.config.comparison is None else run.config.comparison.rows
    faults = {name: _row_misfit(run, row, request_of(row, own), latent_shape) for name, row in rows.items()}
    problems = [Problem(f"comparison.rows.{name}", fault) for name, fault in faults.items() if fault is not None]
    if problems:
        raise ConfigError(problems)


def _row_misfit(
    run: ResolvedRun, row: ComparedRow, request: ValidationRequest, latent_shape: LatentShape
) -> str | None:
    fault = _misfit(run, request)
    if fault is not None or row.num_frames is None:
        return fault
    need = run.needs[request.role]
    facts = run.facts[request.role if need.follows is None else need.follows]
    try:
        T, C, H, W = shape_of(row, latent_shape, facts.latent_space)
    except ConfigError as error:
        return f"num_frames: {error.problems[0].message}"
    fault = facts.misfit((C, T, H, W))
    return None if fault is None else f"its clips of {row.num_frames} frames do not fit the model: {fault}"


def _misfit(run: ResolvedRun, request: ValidationRequest) -> str | None:
    need = run.needs[request.role]
    if not need.is_model:
        return (
            f"role {request.role!r} is a module of the method's own, which makes no videos; name a role that is a model"
        )
    source = request.role if need.follows is None else need.follows
    operations = need.operations | run.needs[source].operations
    return misfit(request, run.models[family_of(run.config, source)], operations, run.facts[source].lacks)
