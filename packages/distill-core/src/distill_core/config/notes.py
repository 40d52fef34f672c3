"""What a person should know of a run that is right before it trains: settings without effect, and effects that are easily missed.

A note refuses nothing. What a plugin's own settings mean, the plugin says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from distill_core.config.cadence import updates_of
from distill_core.config.checks import family_of
from distill_core.config.overrides import undone
from distill_core.config.recomputation import recomputation_of
from distill_core.config.sampled import completed
from distill_core.config.schema import LIBRARIES
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.plugins.loading import load_target
from distill_core.plugins.lora import chosen_layers
from distill_core.plugins.timesteps import shifted

if TYPE_CHECKING:
    from distill_core.config.resolve import ResolvedRun
    from distill_core.config.sampled import ComparedRow, Validation
    from distill_core.config.schema import Ema
    from distill_core.plugins.specs import ModelFacts, RoleNotes
    from distill_core.protocols.validator import ValidationRequest

LEFT_OF_THE_START = 0.1
"""The share of a role's first weights in its average at the end of the run from which on that is worth a note."""


def notes_of(run: ResolvedRun) -> Iterator[str]:
    """All notes, in no order of weight."""
    yield from undone(run.loaded.overrides)
    yield from _of_sparsity(run)
    yield from _of_recomputation(run)
    yield from _of_compilation(run)
    yield from _of_ranks(run)
    yield from _of_copies(run)
    yield from _of_shifts(run)
    yield from _of_experts(run)
    yield from _of_averages(run)
    yield from _of_autoencoders(run)
    try:
        with plugin_border(f"the notes of method {run.method.name!r}"):
            yield from run.method_options.without_effect("method_config")
            yield from run.method_options.left_out(run.config.training.max_train_steps)
            yield from run.method.notes(run.method_options)
            yield from _of_guidance(run)
            request = sampling_of(run)
        with plugin_border("the notes of the model"):
            yield from _of_families(run, request)
    except RefusedError as refusal:
        yield refusal.reason


def sampling_of(run: ResolvedRun) -> ValidationRequest | None:
    """How the method's result will be sampled, as far as its spec tells before it is built."""
    shift = run.facts[run.lead].flow_shift
    return run.method.sampling(run.method_options, lambda timestep: shifted(timestep, 1.0 if shift is None else shift))


def _of_sparsity(run: ResolvedRun) -> Iterator[str]:
    sparse = "vsa" in run.demands.kinds
    if run.config.training.VSA_sparsity and not sparse:
        yield "training.VSA_sparsity has no effect: the method asks for no vsa attention (method_config.attn_kind)"
    if sparse and not run.config.training.VSA_sparsity:
        yield "training.VSA_sparsity is 0: vsa attention will leave nothing out"


def _of_recomputation(run: ResolvedRun) -> Iterator[str]:
    """A spacing of what is not done."""
    none = [name for name in run.config.roles if recomputation_of(run.config, name) is None]
    for name in none:
        if run.config.roles[name].recompute_every is not None:
            yield f"roles.{name}.recompute_every has no effect: nothing of the role is recomputed (roles.{name}.recompute)"
    if run.config.training.recompute_every > 1 and len(none) == len(run.config.roles):
        yield "training.recompute_every has no effect: nothing is recomputed (training.enable_gradient_checkpointing_type)"


def _of_compilation(run: ResolvedRun) -> Iterator[str]:
    """What its first steps take."""
    names = [name for name, need in run.needs.items() if need.is_model and run.config.compiles(name)]
    if names:
        yield f"blocks of {', '.join(names)} are compiled when they are first called: no step ends for a minute, or for several"


def _of_ranks(run: ResolvedRun) -> Iterator[str]:
    """LoRAs of a higher rank than any of their layers has, where the family can tell those before they are loaded."""
    for name, facts in run.facts.items():
        settings, support = run.config.roles[name].lora, run.models[family_of(run.config, name)].lora
        layers = None if settings is None else support.layers(facts)
        if settings is None or layers is None:
            continue
        chosen = chosen_layers(support, settings.targets, layers)
        assert not isinstance(chosen, str), "a run whose targets mean no layer is refused"
        highest = max(min(layers[layer]) for layer in chosen)
        if settings.rank > highest:
            yield (
                f"roles.{name}.lora.rank: no layer of this LoRA is of a higher rank than {highest}; {settings.rank} costs more and reaches "
                "no more"
            )


def _of_copies(run: ResolvedRun) -> Iterator[str]:
    """Weights that several roles leave alone and could share, but for how they say that they are held."""
    sets: dict[object, dict[object, list[str]]] = {}
    for name, need in run.needs.items():
        if not need.is_model or need.follows is not None:
            continue
        role = run.config.roles[name]
        if role.lora is not None or not need.trainable:
            held = (role.placement, role.weights if role.weights in LIBRARIES else None)
            same = sets.setdefault((family_of(run.config, name), role.path, role.checkpoint), {})
            same.setdefault(held, []).append(name)
    for same in sets.values():
        if len(same) > 1:
            users = ", and once for ".join(", ".join(names) for names in same.values())
            yield f"one set of weights is held once for {users}: their placement or weights differ; say the same of all, and they share it"


def _of_shifts(run: ResolvedRun) -> Iterator[str]:
    """Roles whose folders record another flow shift than the one that the run settled on."""
    used = run.facts[run.lead].flow_shift
    others = {role: fact.flow_shift for role, fact in run.facts.items() if fact.flow_shift not in (None, used)}
    if others:
        listed = ", ".join(f"{role} {shift:g}" for role, shift in others.items())
        yield (
            f"the run's flow shift is {used:g}, which the folder of {run.lead} records; others record {listed}; "
            "pipeline_config.flow_shift says which is meant"
        )


def _of_experts(run: ResolvedRun) -> Iterator[str]:
    """A guidance of a second expert, where no role has one."""
    rows = {} if run.config.comparison is None else run.config.comparison.rows
    given: dict[str, Validation | ComparedRow] = {"validation": run.config.validation}
    given |= {f"comparison.rows.{name}": row for name, row in rows.items()}
    if all(facts.boundary is None for facts in run.facts.values()):
        for section, settings in given.items():
            if settings.low_noise_guidance_scale is not None:
                yield f"{section}.low_noise_guidance_scale has no effect: no role has a second expert"


def _of_guidance(run: ResolvedRun) -> Iterator[str]:
    """Roles that the method guides although guidance is an input of their model, and passes of guidance where it does not guide."""
    for role, scale in run.method.guidance(run.method_options).items():
        if scale == 1.0 and role in run.config.roles and run.config.roles[role].guidance_passes is not None:
            yield f"roles.{role}.guidance_passes has no effect: method_config guides {role} by a scale of 1"
        if scale != 1.0 and role in run.facts and run.facts[role].embedded_guidance:
            yield (
                f"{role} is guided twice: guidance is an input of its model (pipeline_config), and method {run.method.name!r} guides it by "
                f"{scale:g} besides; a scale of 1 in method_config guides it once"
            )


def _of_autoencoders(run: ResolvedRun) -> Iterator[str]:
    """Roles whose latents have the statistics of the first one's, and are made by other weights; as far as those are on this disk."""
    first = run.facts[run.lead]
    for role, facts in run.facts.items():
        if _autoencoder(facts) == _autoencoder(first) or not (facts.autoencoder and first.autoencoder):
            continue
        own, other = _weights_of(_autoencoder(facts)), _weights_of(_autoencoder(first))
        if own and other and own != other:
            yield (
                f"{role} and {run.lead} have autoencoders of equal statistics and other weights ({_autoencoder(facts)}, "
                f"{_autoencoder(first)}): their latents are of one space only as far as those agree"
            )


def _autoencoder(facts: ModelFacts) -> Path:
    return facts.path / facts.autoencoder


def _weights_of(folder: Path) -> set[str]:
    """The content of the files that are no descriptions."""
    return {_hash_of(file) for file in folder.glob("*") if file.is_file() and file.suffix != ".json"}


def _hash_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _of_averages(run: ResolvedRun) -> Iterator[str]:
    for name, role in run.config.roles.items():
        if role.ema is not None and role.trainable and run.method.roles_to_step is not None:
            yield from _of_average(run, name, role.ema)


def _of_average(run: ResolvedRun, role: str, ema: Ema) -> Iterator[str]:
    """An average that is hardly anything but the first weights: validation and export would take those for the trained ones."""
    assert run.method.roles_to_step is not None
    cadence, last = partial(run.method.roles_to_step, run.method_options), run.config.training.max_train_steps
    averaged = updates_of(cadence, last)[role] - updates_of(cadence, min(ema.start_step, last))[role]
    kept = ema.decay**averaged
    if averaged and kept > LEFT_OF_THE_START:
        yield (
            f"at the end, the average of {role} still holds {kept:.0%} of the weights that it starts from (decay^updates: "
            f"{ema.decay:g}^{averaged}), and validation and export take the average; roles.{role}.ema.decay: "
            f"{0.01 ** (1 / averaged):.4g} would leave 1%"
        )


def _of_families(run: ResolvedRun, request: ValidationRequest | None) -> Iterator[str]:
    """What the families say of the trained roles under the sampling that the run trains for."""
    for role, facts in run.facts.items():
        if run.config.roles[role].trainable:
            family = family_of(run.config, role)
            own = (
                completed(request, run.config.validation, (), run.config.training.VSA_sparsity)
                if request is not None and role == request.role
                else None
            )
            if run.models[family].notes:
                noted: RoleNotes = load_target(run.models[family].notes, f"model {family!r}")
                yield from noted(facts, run.model_options[family], own)
