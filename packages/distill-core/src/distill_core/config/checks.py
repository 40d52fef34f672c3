"""What must hold between a run.yaml, the specs of its plugins and the folders of its roles. Pure: each check returns its problems.

Names of roles, operations and kinds of attention are data here; none has a meaning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from distill_core.config.cadence import idleness
from distill_core.config.data_sets import hub_data, listed_data
from distill_core.config.document import Document, KeyPath
from distill_core.config.schema import Data, Optimization, RunConfig
from distill_core.config.suggest import closest
from distill_core.errors import Problem
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.plugins.specs import Demands, LatentSpace, MethodSpec, ModelFacts, ModelSpec, Options


def family_of(config: RunConfig, role: str) -> str:
    """The family of a role: its own, or the recipe's."""
    own = config.roles[role].family
    return config.recipe.family if own is None else own


def roles(method: MethodSpec, document: Document) -> Iterator[Problem]:
    """Roles that the method lacks or does not know, and trainable flags that contradict it; also of a run.yaml with other faults."""
    given = document.data.get("roles")
    if not isinstance(given, Mapping):
        return  # the schema has said so
    missing = [name for name, need in method.roles.items() if not need.optional and name not in given]
    for name, role in given.items():
        trainable = role.get("trainable", True) if isinstance(role, Mapping) else None
        if name not in method.roles:
            meant = closest(name, [known for known in method.roles if known not in given])
            missing = [other for other in missing if other != meant]
            remedy = "; remove it" if meant is None else f"; did you mean `{meant}`?"
            message = f"method {method.name!r} has no role {name!r}, it works with {', '.join(method.roles)}{remedy}"
            yield document.problem(("roles", name), message)
        elif isinstance(trainable, bool) and trainable != method.roles[name].trainable:
            wants = "trains this role" if method.roles[name].trainable else "keeps this role frozen"
            message = f"method {method.name!r} {wants}; set trainable: {str(method.roles[name].trainable).lower()}"
            yield document.problem(("roles", name, "trainable"), message)
    for name in missing:
        flag = str(method.roles[name].trainable).lower()
        message = (
            f"method {method.name!r} needs this role; add `{name}: {{path: ..., trainable: {flag}}}` under `roles`"
        )
        yield document.problem(("roles", name), message)


def optimized(method: MethodSpec, document: Document) -> Iterator[Problem]:
    """Keys of an optimizer, or of an EMA, at roles that the method keeps frozen; also of a run.yaml with other faults."""
    given = document.data.get("roles")
    for name, role in given.items() if isinstance(given, Mapping) else ():
        if name not in method.roles or method.roles[name].trainable or not isinstance(role, Mapping):
            continue
        for key in (*Optimization.model_fields, "ema"):
            if role.get(key) is not None:
                message = f"method {method.name!r} keeps this role frozen, so nothing is optimized; remove {key}"
                yield document.problem(("roles", name, key), message)


def masters(method: MethodSpec, document: Document) -> Iterator[Problem]:
    """Trained roles whose weights are to be held in less than fp32: small updates would be lost in rounding, without a word."""
    given = document.data.get("roles")
    for name, role in given.items() if isinstance(given, Mapping) else ():
        trained = name in method.roles and method.roles[name].trainable
        if trained and isinstance(role, Mapping) and role.get("weights") == "bf16":
            message = (
                "a trained role keeps its weights in fp32: in bf16 an update below 1/512 of a weight rounds to nothing, as most are at a "
                "learning rate of 1e-6; leave this out (training.precision: bf16 makes the forward passes bf16)"
            )
            yield document.problem(("roles", name, "weights"), message)


def idle(method: MethodSpec, options: Options, config: RunConfig, document: Document) -> Iterator[Problem]:
    """Roles that the run would not train, as far as the method tells its cadence before it is built."""
    cadence = method.roles_to_step
    trained = [name for name, need in method.roles.items() if need.trainable and name in config.roles]
    if cadence is None:
        return
    try:
        with plugin_border(f"the cadence of method {method.name!r}"):
            found = [idleness(lambda step: cadence(options, step), name, config) for name in trained]
    except RefusedError as refusal:
        yield replace(document.problem(("method_config",), refusal.reason), cause=refusal.__cause__)
    else:
        yield from (document.problem(*each) for each in found if each is not None)


def narrow_weights(config: RunConfig, *, compute_is_fp32: bool) -> Iterator[tuple[str, str]]:
    """Keys of weights that are to be held in less than a forward pass computes in, and what to do about it."""
    for name, role in config.roles.items():
        if role.weights == "bf16" and compute_is_fp32:
            message = (
                "weights in bf16 do not fit forward passes in fp32; set training.precision: bf16, or leave this out"
            )
            yield f"roles.{name}.weights", message


def operations(
    method: MethodSpec, config: RunConfig, models: Mapping[str, ModelSpec], document: Document
) -> Iterator[Problem]:
    """Operations that the method calls on a role and the role's family does not offer."""
    for name, need in method.roles.items():
        if name not in config.roles or (family := family_of(config, name)) not in models:
            continue
        missing = sorted(need.operations - models[family].operations)
        if missing:
            own = config.roles[name].family is not None
            key: KeyPath = ("roles", name, "family") if own else ("recipe", "family")
            message = f"method {method.name!r} asks {', '.join(missing)} of role {name!r}, which model {family!r} does not offer"
            yield document.problem(key, f"{message}; `distill plugins matrix` shows what works with what")


def attention(
    demands: Demands, options: Options, config: RunConfig, models: Mapping[str, ModelSpec], document: Document
) -> Iterator[Problem]:
    """Kinds of attention that the method will ask of a role and the role's family does not have."""
    values = options.model_dump()
    asked = {
        (family, kind): None
        for role in config.roles
        if (family := family_of(config, role)) in models
        for kind in demands.attention_of(role)
        if kind not in models[family].attention
    }
    for family, kind in asked:
        model = models[family]
        message = f"model {model.name!r} has no {kind!r} attention yet (it has: {', '.join(model.attention)})"
        option = next((name for name, value in values.items() if value == kind), None)
        if option is None:
            yield document.problem(("recipe", "family"), f"{message}; choose a model that has it")
        else:
            remedy = f"set method_config.{option}: {model.attention[0]}"
            yield document.problem(("method_config", option), f"{message}; {remedy}")


def conditions(
    roles: Iterable[str], config: RunConfig, models: Mapping[str, ModelSpec], document: Document
) -> Iterator[Problem]:
    """Roles of a family that cannot take the text that batches are prepared with, which is the first role's."""
    known = [(role, models[family_of(config, role)]) for role in roles if family_of(config, role) in models]
    for role, model in known[1:]:
        first, lead = known[0]
        if not model.shares_condition(lead):
            message = (
                f"model {model.name!r} is not conditioned on the text of {lead.name!r}, the model of role {first!r}, and a batch "
                f"is for all roles; give this role a {lead.name!r} too"
            )
            yield document.problem(("roles", role, "family"), message)


def latent_spaces(facts: Mapping[str, ModelFacts], document: Document) -> Iterator[Problem]:
    """Roles whose latents or text mean something else than those of the first role."""
    for role, mine in facts.items():
        first, reference = next(iter(facts.items()))
        differences = [mine.latent_space.difference(reference.latent_space)]
        for name, words in (("text_width", "features of a text token"), ("text_length", "text tokens")):
            here, there = getattr(mine, name), getattr(reference, name)
            differences.append(None if here == there else f"{words} {here} against {there}")
        found = [difference for difference in differences if difference is not None]
        if found:
            message = (
                f"does not share the space of role {first!r}: {'; '.join(found)}; give all roles models of one space"
            )
            yield document.problem(("roles", role, "path"), message)


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
            if size is not None and size // fact.patch[axis] > fact.max_positions:
                message = (
                    f"makes {size // fact.patch[axis]} positions; the model of role {role!r} has {fact.max_positions}"
                )
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
