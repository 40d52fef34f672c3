"""Passes of which two processes have half of the tokens each, by gloo: predictions and gradients are those of one process."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from tests.core.ranked import launched
from tests.wan.conftest import CPU, MakeModel
from tests.wan.test_wan_lora import lora_on
from tests.wan.test_wan_pictures import picture
from tests.wan.test_wan_recompute import KINDS
from torch import Tensor, nn

from distill_core.config.recomputation import Recomputation
from distill_core.errors import ConfigError, PluginError
from distill_core.protocols import Ask, ModelRequest, Prompt
from distill_core.ranks.joined import joined
from distill_core.ranks.layout import Layout
from distill_core.ranks.peers import Peers, PlayedPeers
from distill_core.ranks.place import Place
from distill_core.stopping import Stopping
from distill_core.training.recompute import WHOLE
from distill_core.training.roles import RoleHandle
from distill_model_wan.config import WanOptions
from distill_model_wan.folder import WanFolder, inspect
from distill_model_wan.model import WanModel
from distill_model_wan.testing import Variant, make_tiny_pipeline

T_B = torch.tensor([950.0, 300.0], dtype=torch.float64)
T_BT = torch.tensor([[950.0, 500.0, 20.0], [300.0, 700.0, 0.0]], dtype=torch.float64)
TWO = 2
CAPTIONS = ("a cat", "a blue dog")


@dataclass
class Case:
    """Roles on one model, and a batch for them."""

    model: WanModel
    student: RoleHandle
    other: RoleHandle
    noisy: Tensor
    prompts: tuple[Prompt, ...]

    def gradients(
        self,
        timestep: Tensor,
        ask: Ask,
        peers: Peers | None,
        *,
        passes: int = 1,
        recompute: Recomputation | None = WHOLE,
    ) -> dict[str, Tensor]:
        """A prediction and its features, by so many passes one on another, and their gradients; another role predicts before backward."""
        self.student.recomputation = recompute
        for role in (self.student, self.other):
            role.peers = peers
            role.own.zero_grad()
        text = self.model.adapter.encode_condition(self.prompts)
        noisy = self.noisy.clone().requires_grad_()
        predicted, loss = noisy, torch.zeros(())
        for _ in range(passes):
            prediction = self.student.predict(predicted, timestep, text, ask, input_gradients=True)
            predicted = prediction.velocity.sin()
            for each in (prediction.velocity, *prediction.features):
                loss = loss + each.square().mean()
        self.other.predict_velocity(self.noisy, timestep, text)
        loss.backward()
        assert noisy.grad is not None
        trained = self.student.trained_parameters() if self.student.trainable else {}
        found = {name: each.grad.clone() for name, each in trained.items() if each.grad is not None}
        assert found.keys() == trained.keys()
        return {**found, "input": noisy.grad, "predicted": predicted.detach(), "loss": loss.detach()}


Gradients = Callable[[Peers | None], dict[str, Tensor]]
CHEAP = ("recompute: full", "two passes, one on another", "shown a first and a last frame")
SHOWN: tuple[Variant, ...] = ("i2v", "i2v-a14b", "ti2v-i2v")


class Cases:
    """What is tried, by name."""

    def __init__(self, make_model: MakeModel, folders: Mapping[Variant, WanFolder], root: Path) -> None:
        self.make_model = make_model
        self.folders = folders
        self.root = root

    def case(self, variant: Variant = "t2v", dtype: torch.dtype = torch.float32, *, train: str = "all") -> Case:
        """``train``: all weights of one role, a LoRA beside another one's, or nothing."""
        return self._case(self.make_model(variant, dtype), train)

    def shown(self, variant: Variant) -> Case:
        """One that is shown pictures, others to each sample."""
        facts = inspect(str(make_tiny_pipeline(self.root / variant, variant)))
        return self._case(WanModel(facts, WanOptions(), CPU, torch.float32), "all")

    def _case(self, model: WanModel, train: str) -> Case:
        facts = model.facts
        request = ModelRequest(facts, train == "all", torch.float32, gradient_checkpointing=True, shared=True)
        base = nn.ModuleDict(model.load_modules(request))
        loras = [lora_on(dict(base.items()), name) if train == "lora" else None for name in ("student", "other")]
        student, other = (
            RoleHandle("a role", base, model.adapter, trainable=train != "nothing", lora=lora) for lora in loras
        )
        channels = facts.latent_space.channels
        noisy = torch.randn(2, 3, channels, 4, 4, generator=torch.Generator().manual_seed(1))
        size = 4 * facts.latent_space.spatial_stride
        shown = (
            {name: picture(size, size, 2 * row + last) for last, name in enumerate(facts.pictures)} for row in (0, 1)
        )
        prompts = tuple(Prompt(caption, **each) for caption, each in zip(CAPTIONS, shown, strict=True))
        return Case(model, student, other, noisy, prompts)

    def cheap(self) -> dict[str, Gradients]:
        """Each makes the gradients of one setting."""
        case, seen = self.case(), Ask(features=(0, 1))
        settings = (
            partial(case.gradients, T_B, seen),
            partial(case.gradients, T_B, Ask(), passes=2),
            partial(self.shown("flf2v").gradients, T_B, Ask()),
        )
        return dict(zip(CHEAP, settings, strict=True))

    def others(self) -> dict[str, Gradients]:
        """The same for the rest."""
        plain, seen = self.case(), Ask(features=(0, 1))
        return {
            **{
                f"recompute: {name}": partial(plain.gradients, T_B, seen, recompute=said)
                for name, said in KINDS.items()
            },
            "a timestep of each frame": partial(self.case("ti2v").gradients, T_BT, Ask()),
            "two experts": partial(self.case("a14b").gradients, T_B, Ask()),
            "LoRAs on one base": partial(self.case(train="lora").gradients, T_B, Ask()),
            "a frozen role, to its input": partial(self.case(train="nothing").gradients, T_B, Ask(features=(1,))),
            "bf16": partial(self.case(dtype=torch.bfloat16).gradients, T_B, Ask()),
            **{
                f"shown a first frame: {variant}": partial(self.shown(variant).gradients, T_B, Ask())
                for variant in SHOWN
            },
        }


@pytest.mark.parametrize("settings", ["cheap", pytest.param("others", marks=pytest.mark.slow)])
def test_two_processes_with_half_of_the_tokens_each_have_the_gradients_of_one(
    make_model: MakeModel, folders: Mapping[Variant, WanFolder], tmp_path: Path, settings: str
) -> None:
    made = Cases(make_model, folders, tmp_path)
    cases = made.cheap() if settings == "cheap" else made.others()
    alone = {name: gradients(None) for name, gradients in cases.items()}

    def work(rank: int) -> None:
        """Gradients as the means over the processes, as a step takes them."""
        torch.set_num_threads(1)
        with (
            Stopping() as stopping,
            joined(Place.of(os.environ), os.environ, stopping, Layout(TWO, 1, TWO), timeout=60, gpu=False) as ranks,
        ):
            shared = {name: gradients(ranks.peers) for name, gradients in cases.items()}
            for found in shared.values():
                for tensor in found.values():
                    ranks.sum_(tensor)
                    tensor /= TWO
        if rank == 0:
            torch.save(shared, tmp_path / "found.pt")

    for ended in launched(TWO, work, tmp_path).ended():
        assert ended.status == 0, ended.err
    together = torch.load(tmp_path / "found.pt")
    for name, gradients in alone.items():
        allowed = 0.05 if name == "bf16" else 2e-5
        for key, gradient in gradients.items():
            apart = (together[name][key] - gradient).abs().max() / gradient.abs().max()
            assert apart < allowed, f"{name}: {key}: {apart}"


@pytest.mark.parametrize(
    ("height", "ask", "error", "said"),
    [
        (2, Ask(), ConfigError, "2 processes cannot share the 3 tokens of a clip equally"),
        (4, Ask("vsa", 0.5), PluginError, "asks vsa attention where processes share the tokens of a clip"),
        (4, Ask(along=(torch.zeros(()),)), PluginError, "asks along where processes share the tokens of a clip"),
        (4, Ask(blocks=1), PluginError, "asks blocks where processes share the tokens of a clip"),
    ],
)
def test_what_shared_passes_cannot_answer_is_refused(
    make_model: MakeModel,
    folders: Mapping[Variant, WanFolder],
    height: int,
    ask: Ask,
    error: type[Exception],
    said: str,
) -> None:
    model, facts = make_model(), folders["t2v"]
    request = ModelRequest(
        facts, False, torch.float32, attention=("dense", "vsa"), operations=frozenset({"blocks"}), shared=True
    )
    role = RoleHandle("student", model.load_modules(request), model.adapter, trainable=False, peers=PlayedPeers(0, TWO))
    noisy, text = torch.zeros(1, 3, 16, height, 2), model.adapter.encode_condition([Prompt("a cat")])
    with pytest.raises(error, match=said):
        role.predict(noisy, T_B[:1], text, ask)
