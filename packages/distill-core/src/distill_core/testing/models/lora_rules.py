"""Rules for LoRAs: layers are known before they are loaded, roles on one set of weights do not see each other, recomputation remembers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill_core.plugins.lora import chosen_layers, matching
from distill_core.testing.models.subject import Subject, Tried
from distill_core.training.lora import LoraWeights, Rank, linear_layers
from distill_core.training.roles import RoleHandle

RULE = "lora"


def check_lora(subject: Subject, tried: Tried) -> None:
    """LoRAs on a role of the folder."""
    with tried.rule(RULE):
        _check_layers(subject, tried)
        _check_roles(subject, tried)


def _check_layers(subject: Subject, tried: Tried) -> None:
    support, loaded = subject.spec.lora, linear_layers(subject.role.modules)
    told = support.layers(subject.facts)
    if told is not None:
        sizes = {name: (layer.out_features, layer.in_features) for name, layer in loaded.items()}
        wrong = [name for name in told if name in sizes and sizes[name] != told[name]]
        tried.expect(
            not wrong,
            RULE,
            f"{', '.join(wrong[:2])} is of another size than LoraSupport.layers tells: (outputs, inputs)",
        )
        anew = set(matching(loaded, support.fresh))
        untold = sorted(set(loaded) - set(told) - anew)
        remedy = (
            "LoraSupport.layers tells all that are there before weights are loaded, `fresh` those that are made anew"
        )
        tried.expect(not untold, RULE, f"{', '.join(untold[:2])} is a linear layer that was not told; {remedy}")
    for name in support.targets:
        chosen = chosen_layers(support, (name,), loaded)
        tried.expect(not isinstance(chosen, str), RULE, f"the set {name!r} means no layer; mend LoraSupport.targets")


def _check_roles(subject: Subject, tried: Tried) -> None:
    gradients = []
    for checkpointing in (False, True):
        base = subject.loaded(subject.model, subject.facts, checkpointing=checkpointing).container
        off = RoleHandle("off", base, subject.model.adapter, trainable=False, family=subject.spec.name)
        one, other = (_wearing(subject, base, name) for name in ("one", "other"))
        tried.expect(
            bool(subject.predicted(role=off).velocity.equal(subject.velocity)),
            RULE,
            "a role without a LoRA predicts otherwise beside roles that have one; load_modules is called once for all of them",
        )
        loss = subject.predicted(role=one).velocity.square().mean()
        subject.predicted(role=other)
        loss.backward()
        tried.expect(
            not any(p.grad is not None for part in (base, other.own) for p in part.parameters()),
            RULE,
            "a gradient reaches weights, or a LoRA, that the prediction did not train",
        )
        gradients.append({name: p.grad for name, p in one.trained_parameters().items() if p.grad is not None})
    kept, again = gradients
    tried.expect(kept.keys() == again.keys(), RULE, "with gradient checkpointing other layers get gradients")
    for name in kept.keys() & again.keys():
        scale = kept[name].abs().max().clamp_min(1e-12)
        what = (
            f"the gradient of {name} with gradient checkpointing, after another role's prediction, and without; recompute by "
            "distill_core.training.recompute"
        )
        tried.expect_close(RULE, what, again[name] / scale, kept[name] / scale, 10.0 * subject.close)


def _wearing(subject: Subject, base: nn.ModuleDict, name: str) -> RoleHandle:
    modules = dict(base.items())
    lora = LoraWeights(modules, dict.fromkeys(linear_layers(modules), Rank(1, 1.0)))
    lora.initialize(0, name, "uniform")
    with torch.no_grad():
        for number, pair in enumerate(lora.pairs.values()):
            drawn: Tensor = pair.lora_B.weight
            drawn.normal_(std=0.05, generator=torch.Generator().manual_seed(number + len(name)))
    return RoleHandle(name, base, subject.model.adapter, trainable=True, family=subject.spec.name, lora=lora)
