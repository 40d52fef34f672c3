"""What processes that share the tokens of a clip cannot serve: refused by name before a weight is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import gcd, prod

from distill_core.config import checks
from distill_core.config.resolve import Findings, ResolvedRun
from distill_core.data.reading.latents import LatentShape
from distill_core.errors import ConfigError, Problem
from distill_core.plugins.specs import RoleNeed
from distill_core.ranks.layout import Layout

KEY = "distributed.context"
_ALONE = f"set {KEY}=1"


def refuse_shared_clips(run: ResolvedRun | Findings, layout: Layout) -> None:
    """Raise ConfigError for families, and for parts and kinds of predictions, that are not to be had of a clip's tokens in parts."""
    if layout.context == 1:
        return
    problems = [Problem(KEY, f"{fault}; {_ALONE}") for fault in _faults(run)]
    for name, role in run.config.roles.items():
        if run.config.compiles(name):
            fault = f"blocks that share a clip's tokens are not compiled; {_ALONE}, or leave this out"
            problems.append(Problem("training.compile" if role.compile is None else f"roles.{name}.compile", fault))
        if role.lora is not None and role.lora.dropout:
            fault = f"processes that share a clip's tokens would drop the same of each part; set it to 0, or {KEY}=1"
            problems.append(Problem(f"roles.{name}.lora.dropout", fault))
    problems += [] if problems else _uneven_heads(run, layout)
    if problems:
        raise ConfigError(problems)


def _faults(run: ResolvedRun | Findings) -> Iterator[str]:
    needs: dict[str, RoleNeed] = {} if run.method is None else dict(run.method.needs(run.demands))
    for name in run.facts:
        family = checks.family_of(run.config, name)
        if family not in run.models:
            continue
        model, said = run.models[family], f"model {family!r}"
        if not model.shared:
            yield f"{said} (role {name!r}) cannot share the tokens of a clip among processes"
            continue
        lacking = sorted(needs[name].operations - model.shared) if name in needs else []
        if lacking:
            yield f"role {name!r} is asked for {', '.join(lacking)}, which {said} does not have where processes share a clip's tokens"
        attention = () if run.demands is None else run.demands.attention_of(name)
        others = [kind for kind in attention if kind != "dense"]
        if others:
            yield f"role {name!r} is asked for {', '.join(others)} attention, and processes that share a clip's tokens attend densely"


def _uneven_heads(run: ResolvedRun | Findings, layout: Layout) -> list[Problem]:
    heads = {name: facts.heads for name, facts in run.facts.items()}
    uneven = [f"role {name!r} has {count}" for name, count in heads.items() if not count or count % layout.context]
    if not uneven:
        return []
    said = f"{layout.context} processes cannot share attention heads equally: {', '.join(uneven)}"
    return [Problem(KEY, f"{said}; set it to {_divisors(layout, heads.values())}")]


def refuse_uneven_tokens(
    run: ResolvedRun | Findings, sampled: LatentShape, shapes: Iterable[LatentShape], layout: Layout
) -> None:
    """Raise ConfigError for samples, [T, C, H, W], whose tokens cannot be shared equally, and for those of a comparison, which are as
    large as ``sampled`` and may be longer."""
    counts = {
        prod(size // patch for size, patch in zip((frames, height, width), facts.patch, strict=True)): (
            frames,
            height,
            width,
        )
        for facts in run.facts.values()
        for frames, _, height, width in (*shapes, *_compared(run, sampled))
    }
    uneven = [
        f"latents [T, H, W] = {list(shape)} have {count}" for count, shape in counts.items() if count % layout.context
    ]
    if uneven:
        said = f"{layout.context} processes cannot share tokens equally: {', '.join(uneven)}"
        heads = (facts.heads for facts in run.facts.values())
        remedy = f"set it to {_divisors(layout, (*counts, *heads))}, or cut clips to another size (data.num_frames, num_height, num_width)"
        raise ConfigError([Problem(KEY, f"{said}; {remedy}")])


def _compared(run: ResolvedRun | Findings, sampled: LatentShape) -> Iterator[LatentShape]:
    """The shapes of the comparison's rows that say how long their clips are; what is no length is refused elsewhere."""
    lead = next(iter(run.facts.values()), None)
    if run.config.comparison is None or lead is None:
        return
    for row in run.config.comparison.rows.values():
        frames = None if row.num_frames is None else lead.latent_space.latent_frames(row.num_frames)
        if frames is not None:
            yield (frames, *sampled[1:])


def _divisors(layout: Layout, counts: Iterable[int]) -> str:
    """What every count, and the number of processes, can be divided by."""
    common = gcd(layout.replicate * layout.shard, *counts)
    return " or ".join(str(each) for each in range(1, common + 1) if common % each == 0)
