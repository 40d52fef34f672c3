"""Toy roles, batches, draws and gradients: what a test of a method's own mathematics is made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from distill_core.plugins.answers import demands_of
from distill_core.plugins.loading import load_target
from distill_core.plugins.specs import MethodSpec, Options, RunSize
from distill_core.protocols.batch import Batch, RowKey
from distill_core.protocols.model import ModelRequest
from distill_core.testing.toy import ToyModel, ToyText
from distill_core.testing.toy_rewards import toy_rewards
from distill_core.testing.toy_spec import TEXT_WIDTH, ToyOptions, inspect, write_toy_model
from distill_core.training.draws import KeyedDraw
from distill_core.training.roles import OWN_MODULE, RoleHandle

FAMILY = "toy"
LATENT_SHAPE = (4, 2, 4, 4)
BATCH = 3
"""Samples of a toy batch, unless another number is asked for."""
CPU = torch.device("cpu")


def toy_roles(spec: MethodSpec, options: Options | None = None) -> dict[str, RoleHandle]:
    """A toy role for each of the method's under these options, or its defaults, each with other weights."""
    options = spec.options() if options is None else options
    needs = spec.needs(demands_of(spec, options))
    roles: dict[str, RoleHandle] = {}
    with TemporaryDirectory() as folder:
        facts = {
            name: inspect(str(write_toy_model(Path(folder) / name, seed=seed)))
            for seed, (name, need) in enumerate(needs.items())
            if not need.sourceless
        }
        lead = next(iter(facts))
        for name, need in needs.items():
            source = lead if not need.is_model else need.follows or name
            model = ToyModel(facts[source], ToyOptions(), CPU, torch.float32)
            if need.module is None and not need.is_model:
                modules: Mapping[str, nn.Module] = {OWN_MODULE: toy_rewards()}
            elif need.module is not None:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(0)
                    modules = {
                        OWN_MODULE: load_target(need.module)(
                            facts, options, *((RunSize(LATENT_SHAPE, BATCH),) if need.sized else ())
                        )
                    }
            else:
                modules = model.load_modules(ModelRequest(facts[source], need.trainable, torch.float32))
            roles[name] = RoleHandle(
                name,
                modules,
                model.adapter,
                trainable=need.trainable,
                family=FAMILY,
                latent_shape=LATENT_SHAPE,
                follows=need.follows,
                drawn_to=need.drawn_to,
            )
    return roles


def toy_batch(size: int = BATCH, *, latents: bool = True) -> Batch:
    """A batch of fixed numbers; with ``latents=False`` captions alone."""
    generator = torch.Generator().manual_seed(1)
    text = ToyText(torch.randn(size, TEXT_WIDTH, generator=generator))
    clean = torch.randn(size, *LATENT_SHAPE, generator=generator) if latents else None
    rows = tuple(RowKey(f"row {index}", f"a caption {index}", 16.0) for index in range(size))
    return Batch(rows, {FAMILY: text}, LATENT_SHAPE, clean)


def toy_draw(step: int, size: int = BATCH) -> KeyedDraw:
    """The randomness of the first micro-step of ``step``."""
    return KeyedDraw(seed=0, step=step, micro_step=0, rows=tuple(range(size)), device=CPU)


def gradients(roles: Mapping[str, RoleHandle]) -> dict[str, Tensor]:
    """The gradient of every role that has one that is not zero, flattened; and forget it."""
    found: dict[str, Tensor] = {}
    for name, role in roles.items():
        flat = [p.grad.flatten() for p in role.container.parameters() if p.grad is not None]
        role.container.zero_grad(set_to_none=True)
        if flat and torch.cat(flat).any():
            found[name] = torch.cat(flat)
    return found
