"""Rules for what a method answers by the step alone: who steps, what followers keep, what is validated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from distill_core.errors import DistillError
from distill_core.flow.grids import denoising_grid
from distill_core.protocols.method import Follows
from distill_core.protocols.validator import ValidationRequest
from distill_core.testing.findings import Findings
from distill_core.testing.methods.bench import Bench, ToyRun

AnswerT = TypeVar("AnswerT")


def check_cadence(bench: Bench, findings: Findings) -> Mapping[int, tuple[str, ...]]:
    """Who steps at the end of every step, by a method that is asked in order and one that is asked backwards; the spec says the same."""
    order, cadence = range(1, bench.steps + 1), "cadence"
    run = bench.run()
    due = _pure(run, bench.run(), order, "roles_to_step", lambda each, step: each.method.roles_to_step(step), findings)
    for step, names in due.items():
        if bench.spec.roles_to_step is not None:
            told = bench.spec.roles_to_step(bench.options, step)
            findings.expect(
                set(told) == set(names),
                cadence,
                f"step {step}: the spec's roles_to_step says {tuple(told)!r}, the method's {names!r}; let both call one function of the "
                "options",
            )
    stepped = {name for names in due.values() for name in names}
    for name in run.method.trained:
        if name not in stepped:
            findings.note(
                f"{name!r} is trained and does not step in the first {bench.steps} steps; check with options, or with `steps`, that show it"
            )
    return due


def check_keeps(bench: Bench, findings: Findings) -> None:
    """What followers keep is a pure function of the step, and they move at all."""
    run, other = bench.run(), bench.run()
    if not run.method.followers and not any(need.drawn_to for need in bench.needs.values()):
        method = run.method.method
        kept_steps = range(1, bench.steps + 1)
        findings.expect(
            not (isinstance(method, Follows) and any(method.keeps(step) for step in kept_steps)),
            "keeps",
            "keeps(step) names roles, and no role of its spec follows another; say RoleNeed(trainable=False, follows=...) or leave it out",
        )
        return
    kept = _pure(
        run, other, range(1, bench.steps + 1), "keeps", lambda each, step: dict(each.method.keeps(step)), findings
    )
    for name in run.method.followers:
        if all(shares.get(name, 1.0) == 1.0 for shares in kept.values()):
            findings.note(
                f"follower {name!r} does not move in the first {bench.steps} steps; check with options, or with `steps`, that show it"
            )


def check_validation(bench: Bench, findings: Findings) -> None:
    """What is validated is a pure function of the step, and its role can be sampled so."""
    run = bench.run()
    requests = _pure(
        run,
        bench.run(),
        range(bench.steps + 1),
        "validation",
        lambda each, step: each.method.validation(step),
        findings,
    )
    for step, request in requests.items():
        if request is not None:
            _check_request(bench, request, step, findings)
    told = bench.spec.sampling(bench.options, lambda timestep: timestep)  # the toy's flow shift is 1
    findings.expect(
        told is None or told == requests[bench.steps],
        "validation",
        f"the spec's sampling says {told!r}, the method's validation {requests[bench.steps]!r}; let both call one function of the options",
    )
    models = [name for name in run.method.trained if bench.needs[name].module is None]
    if models and all(request is None for request in requests.values()):
        findings.note(
            f"validation gives None, though {', '.join(models)} is trained: nothing is sampled, and an export says the family's own "
            "many steps; return a ValidationRequest"
        )


def _check_request(bench: Bench, request: ValidationRequest, step: int, findings: Findings) -> None:
    rule, what, need = "validation", f"validation({step})", bench.needs[request.role]
    if not need.is_model:
        findings.fault(
            rule, f"{what} samples {request.role!r}, which is a module of the method's own; name a role that is a model"
        )
        return
    lacking = sorted(({"predict"} | request.parts) - need.operations)
    findings.expect(
        not lacking,
        rule,
        f"{what} samples {request.role!r} with {', '.join(lacking)}, which its need does not declare; add it to the role's operations",
    )
    attention = bench.demands.attention_of(need.follows or request.role)
    findings.expect(
        request.attn_kind in attention,
        rule,
        f"{what} samples {request.role!r} with {request.attn_kind!r} attention, its demands say {', '.join(attention)}; make them agree",
    )
    if request.timesteps is not None:
        try:
            denoising_grid(request.timesteps)
        except DistillError as error:
            findings.fault(rule, f"{what}: {error}")


def _pure(
    run: ToyRun,
    other: ToyRun,
    steps: range,
    name: str,
    ask: Callable[[ToyRun, int], AnswerT],
    findings: Findings,
) -> Mapping[int, AnswerT]:
    """Answers by step, of a method that is asked in order; another one is asked backwards, and both are asked twice."""
    answers = {step: ask(run, step) for step in steps}
    backwards = {step: ask(other, step) for step in reversed(steps)}
    for step, answer in answers.items():
        for again in (backwards[step], ask(run, step)):
            findings.expect(
                answer == again,
                "cadence" if name == "roles_to_step" else name,
                f"{name}({step}) answers {answer!r}, and {again!r} when it is asked again in another order; a resumed run asks in another "
                "order: make it a function of `step` and the options alone",
            )
    return answers
