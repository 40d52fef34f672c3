"""What must hold between a run.yaml and its method's cadence, its models' sizes and its data. Pure: each check returns its problems."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from distill_core.config.cadence import idleness, updates_of
from distill_core.config.data_sets import hub_data, listed_data
from distill_core.config.document import Document
from distill_core.config.schema import Data, RunConfig
from distill_core.errors import Problem
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.plugins.reward_spec import RewardOptions, RewardSpec
from distill_core.plugins.specs import Demands, LatentSpace, MethodSpec, ModelFacts, Options

if TYPE_CHECKING:
    from distill_core.plugins.index import PluginIndex


def family_of(config: RunConfig, role: str) -> str:
    """The family of a role: its own, or the recipe's."""
    own = config.roles[role].family
    return config.recipe.family if own is None else own


def idle(method: MethodSpec, options: Options, config: RunConfig, document: Document) -> Iterator[Problem]:
    """Roles that the run would not train, as far as the method tells its cadence before it is built."""
    cadence = method.roles_to_step
    trained = [name for name, need in method.roles.items() if need.trainable and name in config.roles]
    if cadence is None:
        return
    try:
        with plugin_border(f"the cadence of method {method.name!r}"):
            told = partial(cadence, options)
            found = list(idleness(told, updates_of(told, config.training.max_train_steps), trained, config))
    except RefusedError as refusal:
        yield replace(document.problem(("method_config",), refusal.reason), cause=refusal.__cause__)
    else:
        yield from (document.problem(*each) for each in found)


def narrow_weights(config: RunConfig, *, compute_is_fp32: bool) -> Iterator[tuple[str, str]]:
    """Keys of weights that are to be held in less than a forward pass computes in, and what to do about it."""
    for name, role in config.roles.items():
        if role.weights == "bf16" and compute_is_fp32:
            message = (
                "weights in bf16 do not fit forward passes in fp32; set training.precision: bf16, or leave this out"
            )
            yield f"roles.{name}.weights", message


def data_sizes(data: Data, facts: Mapping[str, ModelFacts], document: Document) -> Iterator[Problem]:
    """Sizes under ``data`` that contradict each other, or that the models cannot have."""
    if not facts:
        return
    space = next(iter(facts.values())).latent_space
    patches = [math.lcm(*(fact.patch[axis] for fact in facts.values())) for axis in range(3)]
    problems = list(_frame_counts(data, space, patches[0], document))
    for key, pixels, patch in (("num_height", data.num_height, patches[1]), ("num_width", data.num_width, patches[2])):
        unit = space.spatial_stride * patch
        if pixels is not None and pixels % unit:
            message = (
                f"{pixels} pixels do not fit the model: a multiple of {unit} does, e.g. {_nearest(pixels, unit, 0)}"
            )
            problems.append(document.problem(("data", key), message))
    yield from problems if problems else _positions(data, facts, document)


def _frame_counts(data: Data, space: LatentSpace, patch: int, document: Document) -> Iterator[Problem]:
    frames, latents = data.num_frames, data.num_latent_t
    implied = None if frames is None else space.latent_frames(frames)
    if frames is not None and implied is None:
        stride = space.temporal_stride
        message = f"{frames} frames do not fit the model: 1 more than a multiple of {stride} does, e.g. {_nearest(frames, stride, 1)}"
        yield document.problem(("data", "num_frames"), message)
        return
    if implied is not None and latents is not None and implied != latents:
        message = f"{latents} latent frames contradict num_frames: {frames}, which are {implied}; remove one of the two"
        yield document.problem(("data", "num_latent_t"), message)
        return
    count = latents if latents is not None else implied
    if count is not None and count % patch:
        key = "num_latent_t" if latents is not None else "num_frames"
        yield document.problem(
            ("data", key), f"{count} latent frames are not a multiple of the model's patch of {patch} frames"
        )


def _positions(data: Data, facts: Mapping[str, ModelFacts], document: Document) -> Iterator[Problem]:
    """More latent frames, rows or columns than a model has positions for."""
    space = next(iter(facts.values())).latent_space
    frames = data.num_latent_t
    if frames is None and data.num_frames is not None:
        frames = space.latent_frames(data.num_frames)
    latents = {
        "num_frames" if data.num_latent_t is None else "num_latent_t": frames,
        "num_height": None if data.num_height is None else space.latent_size(data.num_height),
        "num_width": None if data.num_width is None else space.latent_size(data.num_width),
    }
    for axis, (key, size) in enumerate(latents.items()):
        for role, fact in facts.items():
            positions = fact.max_positions[axis]
            if size is not None and size // fact.patch[axis] > positions:
                message = f"makes {size // fact.patch[axis]} positions; the model of role {role!r} has {positions}"
                yield document.problem(("data", key), message)
                break


def _nearest(value: int, unit: int, offset: int) -> str:
    """The two nearest values of the form n · unit + offset, n ≥ 1 below and above."""
    below = (value - offset) // unit * unit + offset
    return f"{below + unit}" if below <= 0 else f"{below} or {below + unit}"


def data_path(data: Data, document: Document) -> Iterator[Problem]:
    """Data that are not there; what is in them, and those of the Hub, are checked where they are opened."""
    for listed in listed_data(data):
        if document.says(listed.key) and not Path(listed.path).exists() and hub_data(listed.path) is None:
            yield document.problem(listed.key, f"there is no file or folder {listed.path}")


def compared_roles(config: RunConfig, demands: Demands | None, document: Document) -> Iterator[Problem]:
    """Rows of the comparison that sample a role that the run does not have, or ask it for attention that it will not have."""
    for name, row in () if config.comparison is None else config.comparison.rows.items():
        if row.role not in config.roles:
            message = f"this run has no role {row.role!r}; its roles are {', '.join(config.roles)}"
            yield document.problem(("comparison", "rows", name, "role"), message)
        elif demands is not None and row.attn_kind not in (None, "dense", *demands.attention_of(row.role)):
            message = f"the method asks role {row.role!r} for no {row.attn_kind} attention, so it is loaded without; leave this out"
            yield document.problem(("comparison", "rows", name, "attn_kind"), message)


def misfits(
    method: MethodSpec, options: Options, facts: Mapping[str, ModelFacts], document: Document
) -> Iterator[Problem]:
    """Options of the method that the models contradict, as the method says."""
    try:
        with plugin_border(f"what method {method.name!r} says of the models"):
            found = [(key, message) for key, message in method.misfits(options, facts)]
    except RefusedError as refusal:
        yield replace(document.problem(("method_config",), refusal.reason), cause=refusal.__cause__)
    else:
        yield from (document.problem(("method_config", key), message) for key, message in found)


def rewards(
    method: MethodSpec,
    demands: Demands,
    chosen: Mapping[str, RewardSpec],
    weighed: Mapping[str, RewardOptions],
    index: PluginIndex,
    document: Document,
) -> Iterator[Problem]:
    """Rewards that the method does not take, that it lacks, whose gradient it needs and they do not give, or that weigh nothing."""
    if demands.rewards == "none":
        if document.data.get("rewards"):
            remedy = "; remove it"
            if any(need.rewards for need in method.roles.values()):
                remedy = f" under these options; `distill plugins show {method.name}` says which do, or remove it"
            yield document.problem(("rewards",), f"method {method.name!r} raises no rewards{remedy}")
        return
    able = [name for name, spec in index.rewards.items() if spec.differentiable or demands.rewards == "any"]
    which = f"those installed that it can: {', '.join(able)}" if able else "none that it can is installed"
    if not document.data.get("rewards"):
        example = able[0] if able else "NAME"
        message = f"method {method.name!r} raises rewards under its options; add e.g. `rewards: {{{example}: {{}}}}` ({which})"
        yield document.problem(("rewards",), message)
    for name, spec in chosen.items():
        if demands.rewards == "differentiable" and not spec.differentiable:
            message = f"method {method.name!r} needs a gradient to the pixels, which this reward does not give; take another ({which})"
            yield document.problem(("rewards", name), message)
    if weighed and not any(options.weight for options in weighed.values()):
        yield document.problem(
            ("rewards",), "every reward weighs 0, which leaves nothing to raise; give one a weight above 0"
        )
