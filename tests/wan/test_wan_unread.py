"""Frozen Wan transformers in fewer bits are read block by block: neither the host nor a device ever holds one whole."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file
from tests.planning.test_plan_measured import BF16, allocations, run_yaml
from tests.wan.conftest import encoded
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from distill_core.config.resolve import ResolvedRun, examine
from distill_core.errors import ModelFolderError, PluginError
from distill_core.plugins.discovery import discover
from distill_core.protocols import ModelRequest
from distill_core.protocols.adapter import Adapter
from distill_core.protocols.model import ModelPlugin
from distill_core.running.preparation import Placement
from distill_core.running.roles import build_models
from distill_core.running.weights import Weights, byte_count
from distill_core.training.quantized import held_tensors
from distill_core.training.roles import RoleHandle
from distill_core.training.transfers import HostTransfers
from distill_core.training.unread import Unread
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.foreign_loading import deferred_tensors
from distill_diffusers.unread_part import unread_part
from distill_model_wan.testing import make_tiny_pipeline

CPU = torch.device("cpu")
PLACE = Placement(CPU, torch.bfloat16)
BLOCKS = 8


class Codes(nn.Linear):
    """A layer in 8 bits, as a library would have it: a number for each weight and a scale for each row."""

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.dtype = layer.in_features, layer.out_features, layer.weight.dtype
        scale = layer.weight.float().abs().amax(1, keepdim=True) / 127
        self.weight = nn.Parameter((layer.weight / scale).round().to(torch.int8), requires_grad=False)
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.register_parameter("bias", layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        return functional.linear(x, self.weight.to(self.dtype) * self.scale.to(self.dtype), self.bias)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of torchao, which is an extra."""

    def converter(_: str) -> Callable[[nn.Module, str, nn.Linear], None]:
        return lambda parent, name, layer: parent.add_module(name, Codes(layer))

    monkeypatch.setattr("distill_core.training.quantized._converter", converter)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a larger Wan."""
    return write_larger(tmp_path_factory.mktemp("wan"))


def write_larger(folder: Path) -> Path:
    """A pipeline whose transformer is stored in float32 and is more than its surroundings."""
    made = make_tiny_pipeline(folder / "t2v", "t2v")
    config: dict[str, Any] = {**WanTransformer3DModel.load_config(made / "transformer")}
    larger = {"num_layers": BLOCKS, "num_attention_heads": 4, "attention_head_dim": 32, "ffn_dim": 512}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        WanTransformer3DModel.from_config({**config, **larger}).save_pretrained(made / "transformer")
    return folder


def resolved(folder: Path, *overrides: str) -> ResolvedRun:
    """A run whose teacher is held in 8 bits."""
    path = run_yaml(folder, "dmd2", "t2v")
    return examine(path, (BF16, "roles.teacher.weights=int8", *overrides), discover()).resolved()


@dataclass
class Whole:
    """A family that leaves nothing unread."""

    model: ModelPlugin

    @property
    def adapter(self) -> Adapter:
        """The same."""
        return self.model.adapter

    def load_modules(self, request: ModelRequest) -> Mapping[str, nn.Module]:
        """All at once."""
        return self.model.load_modules(replace(request, later=None))


def loaded(run: ResolvedRun, *, whole: bool) -> tuple[nn.ModuleDict, str, int]:
    """The teacher's modules, what was said of them, and the most bytes that were alive."""
    models: dict[str, Any] = dict(build_models(run, PLACE))
    said: list[str] = []
    text = encoded(models["wan"].adapter, ["a cat"])
    noisy = torch.randn(1, 2, 16, 4, 4, generator=torch.Generator().manual_seed(0))

    def probe(_: str, container: nn.ModuleDict) -> Tensor:
        """One prediction."""
        role = RoleHandle("probe", container, models["wan"].adapter, trainable=False)
        return role.predict_velocity(noisy, torch.tensor([500.0], dtype=torch.float64), text)

    if whole:
        models["wan"] = Whole(models["wan"])
    weights = Weights(run, models, PLACE, said.append, HostTransfers(CPU), probe)
    gc.collect()  # what other tests left is not to be freed meanwhile, which would be taken off
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        container = weights.of("teacher")
    mapped = weights_of(Path(run.config.roles["teacher"].path or "").parent).stat().st_size
    sizes = (size for size in allocations(profiled) if abs(size) != mapped)  # a file that is mapped is no memory
    return container, said[-1], max(accumulate(sizes))


@pytest.mark.usefixtures("library")
def test_a_model_read_block_by_block_is_the_one_that_was_loaded_whole_and_is_never_there_whole(folder: Path) -> None:
    compare(folder)


def compare(folder: Path) -> None:
    """A teacher read block by block with one that was loaded whole."""
    run = resolved(folder)
    (there, told, most), (here, said, peak) = (loaded(run, whole=whole) for whole in (True, False))
    theirs, ours = plain(there), plain(here)
    assert len(theirs) == len(ours) > 10 * BLOCKS
    assert all(a.dtype is b.dtype and a.equal(b) for a, b in zip(theirs, ours, strict=True))
    assert not any(parameter.requires_grad for parameter in here.parameters())
    assert said == told
    assert f"{10 * BLOCKS} layers" in said
    assert 0 < float(said.partition("differ by ")[2].partition("%")[0]) < 5
    half = 2 * sum(tensor.numel() for tensor in load_file(weights_of(folder)).values())
    room = 3 * half // BLOCKS  # a block as it is stored, in float32, and as it computes
    assert most > half
    assert peak < byte_count(here) + room < half


def plain(container: nn.ModuleDict) -> list[Tensor]:
    """All that is held, in order."""
    return [part for tensor in container.state_dict().values() for part in held_tensors(tensor)]


def weights_of(folder: Path) -> Path:
    """The transformer's file."""
    return folder / "t2v" / "transformer" / "diffusion_pytorch_model.safetensors"


@pytest.mark.usefixtures("library")
def test_blocks_that_no_prediction_calls_are_read_too(folder: Path) -> None:
    run = resolved(folder)
    weights = Weights(run, build_models(run, PLACE), PLACE, lambda _: None, HostTransfers(CPU))
    container = weights.of("teacher")
    assert sum(isinstance(layer, Codes) for layer in container.modules()) == 10 * BLOCKS
    assert not any(parameter.is_meta for parameter in container.parameters())


def test_weights_that_the_class_has_and_the_folder_lacks_are_named(folder: Path) -> None:
    facts = resolved(folder).facts["teacher"]
    assert isinstance(facts, DiffusersFacts)
    stored, called = facts.folder.stored("transformer"), facts.folder.called("transformer")
    found = deferred_tensors(stored, called)
    assert found is not None
    lacking = {name: each for name, each in found.items() if name != "blocks.0.ffn.net.2.bias"}
    with pytest.raises(ModelFolderError, match=r"lacks blocks\.0\.ffn\.net\.2\.bias, which the installed Wan"):
        unread_part(stored, called, lacking, WanTransformer3DModel, torch.bfloat16, Unread().add)


def test_a_family_whose_reader_leaves_weights_out_is_told_so() -> None:
    block = nn.Linear(64, 64, device="meta")
    model = nn.ModuleDict({"blocks": nn.ModuleList([block])})
    unread = Unread()
    unread.add(block, lambda: None)
    with (
        pytest.raises(PluginError, match="without the weights of weight: what was to read a block's"),
        unread.read_in_turn({model: ["blocks.0"]}, "int8", CPU),
    ):
        pass
