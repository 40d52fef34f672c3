"""Each family of diffusers pipelines, on a tiny folder of its own that is made once per test process."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from distill_core.cli import main
from distill_core.plugins import ModelSpec
from distill_core.plugins.discovery import discover
from distill_core.plugins.loading import load_target
from distill_core.protocols import ModelRequest
from distill_core.training.roles import RoleHandle
from distill_core.training.sharding import blocks_of
from distill_core.training.unread import Unread
from distill_core.video.samples import write_sample
from distill_diffusers.facts import DiffusersFacts, diffusers_facts
from distill_diffusers.loading import load_part
from distill_diffusers.model import DiffusersModel

CPU = torch.device("cpu")
FRAMES: Mapping[str, tuple[int, int, int]] = {
    "qwenimage": (1, 32, 48),
    "flux": (1, 32, 48),
    "flux2": (1, 32, 48),
    "sd3": (1, 32, 48),
    "sana": (1, 32, 64),
    "hunyuanvideo": (5, 32, 48),
    "hunyuanvideo15": (5, 32, 48),
    "cogvideox": (9, 32, 48),
    "cosmos2": (1, 32, 48),
    "ltx": (9, 32, 64),
}
"""F, H and W of what each family is tried on."""
MORE: Mapping[str, tuple[int, int, int]] = {"wan": (9, 32, 32)}
"""The same of the one that has tests of its own."""
MEMBERS: Mapping[str, tuple[str, str]] = {
    "hunyuanvideo15": ("hunyuanvideo", "v15"),
    "flux2": ("flux", "klein"),
}
"""Families that are in another one's package: which, and as which part of it."""
LENT: Mapping[str, Callable[[], Mapping[str, object]]] = {
    "cosmos2": lambda: {"safety_checker": import_module("distill_model_cosmos2.testing").NoGuardrail()}
}
"""What a pipeline is given when it is loaded, besides its folder."""


@dataclass
class Family:
    """One family and its tiny folder."""

    name: str
    folder: Path
    frames: tuple[int, int, int]
    _models: dict[torch.dtype, DiffusersModel[Any, Any]] = field(default_factory=dict)

    @property
    def package(self) -> str:
        """What of its package's name tells it from others'."""
        return MEMBERS.get(self.name, (self.name, ""))[0]

    @cached_property
    def spec(self) -> ModelSpec:
        return discover().models[self.name]

    @cached_property
    def facts(self) -> DiffusersFacts:
        return self.look(self.folder)

    def look(self, folder: Path) -> DiffusersFacts:
        return diffusers_facts(load_target(self.spec.inspect)(str(folder)))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[T, C, H, W] of its latents."""
        space, (frames, height, width) = self.facts.latent_space, self.frames
        latent_frames = space.latent_frames(frames)
        assert latent_frames is not None
        return latent_frames, space.channels, height // space.spatial_stride, width // space.spatial_stride

    @property
    def pipeline(self) -> Any:
        """Its pipeline's class."""
        return getattr(diffusers, self.facts.folder.kind.pipeline)

    def vanilla(self, folder: Path) -> Any:
        """A folder's pipeline, by nothing but diffusers."""
        return self.pipeline.from_pretrained(folder, **LENT.get(self.name, dict)())

    def model(self, dtype: torch.dtype = torch.float32, **options: object) -> DiffusersModel[Any, Any]:
        """The family at run time, on the CPU; without options it is built once."""
        if dtype in self._models and not options:
            return self._models[dtype]
        made: DiffusersModel[Any, Any] = load_target(self.spec.build)(
            self.facts, self.spec.options.model_validate(options), CPU, dtype
        )
        return made if options else self._models.setdefault(dtype, made)

    def role(self, model: DiffusersModel[Any, Any], *, trainable: bool = True, recompute: bool = False) -> RoleHandle:
        """A role whose weights differ from the folder's, so that an export of the wrong ones is seen."""
        modules = model.load_modules(ModelRequest(self.facts, trainable, torch.float32, recompute))
        role = RoleHandle("student", modules, model.adapter, trainable=trainable)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in role.modules["transformer"].parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        return role


@pytest.fixture(scope="session")
def make_family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Family]:
    """``make_family("flux")``: the family and its folder, made once."""
    made: dict[str, Family] = {}

    def make(name: str) -> Family:
        if name not in made:
            folder = tmp_path_factory.mktemp(name) / "tiny"
            import_module(f"distill_model_{'.'.join(MEMBERS.get(name, (name,)))}.testing").make_tiny_pipeline(folder)
            made[name] = Family(name, folder, {**FRAMES, **MORE}[name])
        return made[name]

    return make


@pytest.fixture(
    scope="session",
    params=[pytest.param(name, marks=pytest.mark.slow) if name in MEMBERS else name for name in FRAMES],
)
def family(request: pytest.FixtureRequest, make_family: Callable[[str], Family]) -> Family:
    """Each family, those that are members of another's package in slow tests. Tests that change its folder copy it first."""
    return make_family(request.param)


def read_in_turn(facts: DiffusersFacts, dtype: torch.dtype) -> dict[str, Tensor]:
    """A transformer's tensors, each block of which was read by itself."""
    unread = Unread()
    module = load_part(facts, "transformer", dtype, later=unread.add)
    blocks = list(blocks_of(module))
    assert blocks
    assert all(block in unread for block in blocks)
    for unit in (*blocks, module):
        unread.arrive(unit, CPU)
    found: dict[str, Tensor] = module.state_dict()
    return found


@pytest.fixture(scope="session")
def data(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four captioned pictures, or clips, encoded by the command."""
    place = tmp_path_factory.mktemp(f"{family.name}-clips")
    lines = []
    for index, caption in enumerate(("a red square", "a green circle moves right", "a cat", "a blue triangle")):
        generator = torch.Generator().manual_seed(index)
        frames = torch.randint(0, 256, (*family.frames, 3), dtype=torch.uint8, generator=generator)
        file = write_sample(place / str(index), frames, 8.0)
        lines.append(json.dumps({"file_name": file.name, "caption": caption}))
    (place / "captions.jsonl").write_text("\n".join(lines))
    folder = place.parent / f"{place.name}-data"
    with pytest.raises(SystemExit) as stop:
        main(["data", "encode", str(place), "--model", str(family.folder), "--output", str(folder)])
    assert not stop.value.code
    return folder
