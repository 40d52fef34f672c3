"""Families that break the contract in their sampler or their export; otherwise they are the toy family."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tests.testing.faulty_models import Family

from distill_core.errors import ModelFolderError
from distill_core.protocols import SampledVideo
from distill_core.testing.toy import ToySampler


class LeavesEvalMode(ToySampler):
    def sample(self, role: Any, request: Any, latent_shape: Any) -> Iterator[SampledVideo]:
        for module in role.modules.values():
            module.eval()
        yield from super().sample(role, request, latent_shape)


class OneSeedForAll(ToySampler):
    def sample(self, role: Any, request: Any, latent_shape: Any) -> Iterator[SampledVideo]:
        for video, seed in zip(
            super().sample(role, replace(request, seeds=(0,) * len(request.seeds)), latent_shape),
            request.seeds * len(request.prompts),
            strict=True,
        ):
            yield replace(video, seed=seed)


class OneGenerator(ToySampler):
    """What a video shows depends on how many went before."""

    def sample(self, role: Any, request: Any, latent_shape: Any) -> Iterator[SampledVideo]:
        for count, video in enumerate(super().sample(role, request, latent_shape)):
            yield replace(video, frames=video.frames.roll(count, dims=1))


class NoGradForTheCaller(ToySampler):
    def sample(self, role: Any, request: Any, latent_shape: Any) -> Iterator[SampledVideo]:
        with torch.no_grad():
            yield from list(super().sample(role, request, latent_shape))


class Uphill(ToySampler):
    def sample(self, role: Any, request: Any, latent_shape: Any) -> Iterator[SampledVideo]:
        falling = None if request.timesteps is None else tuple(sorted(request.timesteps, reverse=True))
        return super().sample(role, replace(request, timesteps=falling), latent_shape)


class ExportsInPlace(Family):
    """Casts the role itself."""

    def export(self, modules: Any, base: Any, sampling: Any, latent_shape: Any, output: Path, dtype: Any) -> None:
        super().export(modules, base, sampling, latent_shape, output, dtype)
        with torch.no_grad():
            for parameter in modules["denoiser"].parameters():
                parameter.mul_(0.5)


class ForgetsHow(Family):
    """An export that does not say how it is sampled."""

    def export(self, modules: Any, base: Any, sampling: Any, latent_shape: Any, output: Path, dtype: Any) -> None:
        super().export(modules, base, sampling, latent_shape, output, dtype)
        content = json.loads((output / "toy.json").read_text())
        (output / "toy.json").write_text(json.dumps({key: content[key] for key in ("seed", "channels")}))


class ExportsTheBase(Family):
    """The weights that training began with."""

    def export(self, modules: Any, base: Any, sampling: Any, latent_shape: Any, output: Path, dtype: Any) -> None:
        super().export(modules, base, sampling, latent_shape, output, dtype)
        (output / "denoiser.pt").unlink()


class RaisesAnything(Family):
    def export(self, modules: Any, base: Any, sampling: Any, latent_shape: Any, output: Path, dtype: Any) -> None:
        raise NotImplementedError("not yet")


class RefusesLate(Family):
    """Refuses, and leaves half an export."""

    def export(self, modules: Any, base: Any, sampling: Any, latent_shape: Any, output: Path, dtype: Any) -> None:
        super().export(modules, base, sampling, latent_shape, output, dtype)
        raise ModelFolderError("no pipeline samples so")


def __getattr__(name: str) -> type[Family]:
    """``NameOfASamplerFamily``: the toy family with that sampler."""
    if not name.endswith("Family"):
        raise AttributeError(name)
    return type(name, (Family,), {"sampler_type": globals()[name.removesuffix("Family")]})
