"""What must hold between the roles of a run.yaml, what the method needs of them, and the models they are. Pure: each check returns its
problems. Names of roles, operations and kinds of attention are data here; none has a meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from distill_core.config.checks import family_of
from distill_core.config.document import Document, KeyPath
from distill_core.config.schema import LIBRARIES, Optimization, RunConfig
from distill_core.config.suggest import closest
from distill_core.errors import Problem
from distill_core.plugins.specs import Demands, MethodSpec, ModelFacts, ModelSpec, Options, RoleNeed

MIXED = "unconditional_where"
"""The operation of a family by which both sides of guidance take one pass."""
Needs = Mapping[str, RoleNeed]
"""The method's roles under the run's options."""


def roles(method: MethodSpec, needs: Needs, document: Document) -> Iterator[Problem]:
    """Roles that the method lacks or does not know, and keys that contradict what it needs; also of a run.yaml with other faults."""
    given = document.data.get("roles")
    if not isinstance(given, Mapping):
        return  # the schema has said so
    missing = [name for name, need in needs.items() if not (need.optional or need.sourceless) and name not in given]
    for name, role in given.items():
        if name not in needs:
            meant = None if name in method.roles else closest(name, [known for known in needs if known not in given])
            missing = [other for other in missing if other != meant]
            yield document.problem(("roles", name), _unknown(method, needs, name, meant))
        elif isinstance(role, Mapping):
            yield from _contradictions(method, name, needs[name], role, document)
    for name in missing:
        flag = str(needs[name].trainable).lower()
        message = (
            f"method {method.name!r} needs this role; add `{name}: {{path: ..., trainable: {flag}}}` under `roles`"
        )
        yield document.problem(("roles", name), message)


def _unknown(method: MethodSpec, needs: Needs, name: str, meant: str | None) -> str:
    if name in method.roles:
        others = ", ".join(needs)
        return f"method {method.name!r} has this role under other method_config alone; under yours it works with {others}; remove it"
    remedy = "; remove it" if meant is None else f"; did you mean `{meant}`?"
    return f"method {method.name!r} has no role {name!r}, it works with {', '.join(needs)}{remedy}"


def _contradictions(
    method: MethodSpec, name: str, need: RoleNeed, role: Mapping[str, Any], document: Document
) -> Iterator[Problem]:
    trainable = role.get("trainable", True)
    if isinstance(trainable, bool) and trainable != need.trainable:
        wants = "trains this role" if need.trainable else "keeps this role frozen"
        message = f"method {method.name!r} {wants}; set trainable: {str(need.trainable).lower()}"
        yield document.problem(("roles", name, "trainable"), message)
    if not need.sourceless:
        if role.get("path") is None and role.get("base") is None:
            message = "this role is a model: give it `path`, a pipeline folder or a hub id, `organisation/name`"
            yield document.problem(("roles", name, "path"), message)
        return
    kind = "is a module of the method's own" if need.module is not None else f"follows role {need.follows!r}"
    kind = "is the run's rewards" if need.rewards else kind
    of_models = ("path", "family", "weights", "checkpoint", "base", "lora", "fixed_loras", "placement")
    for key in (
        *of_models,
        *(() if need.follows is not None else ("recompute", "recompute_every", "compile", "attention")),
    ):
        if role.get(key) not in (None, "auto", "device", (), []):
            message = f"this role of method {method.name!r} {kind} and has no {key}; remove it"
            yield document.problem(("roles", name, key), message)


def optimized(method: MethodSpec, needs: Needs, document: Document) -> Iterator[Problem]:
    """Keys of an optimizer, or of an EMA, at roles that the method keeps frozen; also of a run.yaml with other faults."""
    given = document.data.get("roles")
    for name, role in given.items() if isinstance(given, Mapping) else ():
        if name not in needs or needs[name].trainable or not isinstance(role, Mapping):
            continue
        for key in (*Optimization.model_fields, "ema"):
            if role.get(key) is not None:
                message = f"method {method.name!r} keeps this role frozen, so nothing is optimized; remove {key}"
                yield document.problem(("roles", name, key), message)


def masters(needs: Needs, document: Document) -> Iterator[Problem]:
    """Trained roles whose weights are to be held in less than fp32: small updates would be lost in rounding, without a word."""
    given = document.data.get("roles")
    for name, role in given.items() if isinstance(given, Mapping) else ():
        trained = name in needs and needs[name].trainable
        if not trained or not isinstance(role, Mapping) or role.get("lora") is not None:
            continue
        held = role.get("weights")
        if held in LIBRARIES:
            message = f"{held} weights cannot be trained; give the role `lora: {{}}`, which is trained on them, or leave this out"
            yield document.problem(("roles", name, "weights"), message)
        elif held == "bf16":
            message = (
                "a trained role keeps its weights in fp32: in bf16 an update below 1/512 of a weight rounds to nothing, as most are at a "
                "learning rate of 1e-6; leave this out (training.precision: bf16 makes the forward passes bf16)"
            )
            yield document.problem(("roles", name, "weights"), message)


def placements(needs: Needs, document: Document) -> Iterator[Problem]:
    """Weights that are to live in host memory, and cannot: trained ones, and those in fewer bits; also of a run.yaml with other faults."""
    given = document.data.get("roles")
    for name, role in given.items() if isinstance(given, Mapping) else ():
        if name not in needs or not isinstance(role, Mapping) or role.get("placement") not in ("cpu", "stream"):
            continue
        if needs[name].trainable and role.get("lora") is None:
            message = "weights that are trained stay on the device; give the role `lora: {}`, or leave this out"
            yield document.problem(("roles", name, "placement"), message)
        elif role.get("weights") in LIBRARIES:
            message = f"{role.get('weights')} weights stay on the device; choose bf16 weights, or leave this out"
            yield document.problem(("roles", name, "placement"), message)


def guidance_passes(
    method: MethodSpec, needs: Needs, config: RunConfig, models: Mapping[str, ModelSpec], document: Document
) -> Iterator[Problem]:
    """Passes of guidance at roles that the method does not guide, and one pass of a family that cannot mix the two sides."""
    for name, role in config.roles.items():
        if role.guidance_passes is None or name not in needs:
            continue
        family = family_of(config, name)
        message = None
        if "unconditional" not in needs[name].operations:
            message = f"method {method.name!r} does not guide this role; remove it"
        elif role.guidance_passes == 1 and family in models and MIXED not in models[family].operations:
            message = f"model {family!r} offers no {MIXED}, so its two sides take two passes; remove it"
        if message is not None:
            yield document.problem(("roles", name, "guidance_passes"), message)


def operations(
    method: MethodSpec, needs: Needs, config: RunConfig, models: Mapping[str, ModelSpec], document: Document
) -> Iterator[Problem]:
    """Operations that the method calls on a role and the role's family does not offer."""
    for name, need in needs.items():
        source = name if need.follows is None else need.follows
        if not need.is_model or source not in config.roles or (family := family_of(config, source)) not in models:
            continue
        missing = sorted(need.operations - models[family].operations)
        if missing:
            own = config.roles[source].family is not None
            key: KeyPath = ("roles", source, "family") if own else ("recipe", "family")
            message = f"method {method.name!r} asks {', '.join(missing)} of role {name!r}, which model {family!r} does not offer"
            yield document.problem(key, f"{message}; `distill plugins matrix` shows what works with what")


def dense_operations(
    needs: Needs,
    demands: Demands,
    options: Options,
    config: RunConfig,
    models: Mapping[str, ModelSpec],
    document: Document,
) -> Iterator[Problem]:
    """Operations that the method asks of a role whose attention is never dense, and that the role's family offers under dense attention
    alone."""
    for name, need in needs.items():
        source = name if need.follows is None else need.follows
        kinds = demands.attention_of(source)
        if source not in config.roles or (family := family_of(config, source)) not in models or "dense" in kinds:
            continue
        torn = sorted(need.operations & models[family].dense_only)
        if torn:
            option = next((key for key, value in options.model_dump().items() if value in kinds), None)
            at: KeyPath = ("recipe", "method") if option is None else ("method_config", option)
            remedy = "choose another method" if option is None else f"set method_config.{option}: dense"
            message = (
                f"role {name!r} is asked for {', '.join(torn)}, which model {family!r} has under dense attention alone"
            )
            yield document.problem(at, f"{message}; {remedy}")


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
    """Roles of another family than the first one's, whose encoders made the data, that cannot encode the rows' captions themselves."""
    known = [(role, models[family_of(config, role)]) for role in roles if family_of(config, role) in models]
    for role, model in known[1:]:
        first, lead = known[0]
        if model.name != lead.name and "encode_condition" not in model.operations:
            message = (
                f"the data are encoded for {lead.name!r}, the model of role {first!r}, and model {model.name!r} offers no "
                f"encode_condition to encode their captions itself; give this role a {lead.name!r} too"
            )
            yield document.problem(("roles", role, "family"), message)


def lacking(
    method: MethodSpec, needs: Needs, config: RunConfig, facts: Mapping[str, ModelFacts], document: Document
) -> Iterator[Problem]:
    """Operations that the method calls on a role, and that the role's family offers but not of this model."""
    for name, need in needs.items():
        source = name if need.follows is None else need.follows
        missing = sorted(need.operations & facts[source].lacks) if source in facts else []
        if missing:
            message = f"method {method.name!r} asks {', '.join(missing)} of role {name!r}, which its model, {facts[source].summary}, lacks"
            yield document.problem(("roles", source, "path"), f"{message}; choose another model, or another method")


def frozen_alone(config: RunConfig, facts: Mapping[str, ModelFacts], document: Document) -> Iterator[Problem]:
    """Roles that train all of the weights of a model that is there to be frozen."""
    for name, mine in facts.items():
        role = config.roles[name]
        if mine.frozen_alone and role.trainable and role.lora is None:
            message = f"{mine.frozen_alone}, and a role that trains all of its weights cannot start from it"
            yield document.problem(("roles", name, "path"), f"{message}; name plain weights, or train a LoRA")


def latent_spaces(config: RunConfig, facts: Mapping[str, ModelFacts], document: Document) -> Iterator[Problem]:
    """Roles whose latents mean something else than those of the first role, or, within a family, whose text does."""
    for role, mine in facts.items():
        first, reference = next(iter(facts.items()))
        differences = [mine.latent_space.difference(reference.latent_space), _pictures(mine, reference)]
        if family_of(config, role) == family_of(config, first):
            differences += _texts(mine, reference)
        found = [difference for difference in differences if difference is not None]
        if found:
            message = (
                f"does not share the space of role {first!r}: {'; '.join(found)}; give all roles models of one space"
            )
            yield document.problem(("roles", role, "path"), message)


def _pictures(mine: ModelFacts, reference: ModelFacts) -> str | None:
    here, there = (
        " and ".join(f"a {name.replace('_', ' ')}" for name in each.pictures) or "no picture"
        for each in (mine, reference)
    )
    return None if here == there else f"it is shown {here}, the other {there}"


def _texts(mine: ModelFacts, reference: ModelFacts) -> Iterator[str]:
    sizes = {
        "features of a text token": (mine.text_width, reference.text_width),
        "text tokens": (mine.text_length, reference.text_length),
    }
    yield from (f"{words} {here} against {there}" for words, (here, there) in sizes.items() if here != there)
