"""A family whose predictions are passes, at run time: its denoisers are loaded for what they will be asked.

N tokens, H heads, D head width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from distill_core.errors import ModelFolderError
from distill_core.plugins import ModelFacts
from distill_core.protocols import ModelRequest, ValidationRequest
from distill_diffusers.adapter import ConditionT
from distill_diffusers.export_record import RecordedVsa
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.model import DiffusersModel
from distill_diffusers.passes.adapter import PassAdapter
from distill_diffusers.passes.asks import CAUSAL, FRAMEWISE
from distill_diffusers.passes.options import PassOptionsT
from distill_diffusers.passes.self_attention import follow_passes
from distill_diffusers.sparse import CUBE
from distill_diffusers.sparse.engines import Engine, Work, choose_engine
from distill_diffusers.sparse.gates import attach_gates, read_gates


class PassModel(DiffusersModel[PassOptionsT, ConditionT]):
    """A :class:`DiffusersModel` on a :class:`PassAdapter`.

    Attributes:
        blocks: the denoiser's name for the list of its blocks.
    """

    blocks: ClassVar[str] = "blocks"

    adapter: PassAdapter[ConditionT]

    @abstractmethod
    def project(self, attn: Any, hidden_BNW: Tensor, rotary: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys of a self-attention layer, after norm and rotation, and values, [B, N, H, D]."""
        ...

    def load_modules(self, request: ModelRequest) -> Mapping[str, nn.Module]:
        """The folder's denoiser, or both experts, and what computes their sparse attention."""
        framewise, temporal = sorted(request.operations & FRAMEWISE), request.facts.patch[0]
        if framewise and temporal != 1:
            raise ModelFolderError(
                f"{request.facts.path}: its tokens span {temporal} latent frames, and {', '.join(framewise)} tell single frames apart; "
                "choose a model with a temporal patch of 1, or a method that asks for none of it"
            )
        lacking = sorted(request.operations & request.facts.lacks)
        if lacking:
            raise ModelFolderError(
                f"{request.facts.path} is shown pictures beside the whole video, and has no {', '.join(lacking)}; choose a model of text "
                "alone, or a method that asks for none of it"
            )
        modules = super().load_modules(request)
        if "vsa" in request.attention:
            engine = self._engine(next(iter(modules.values())), request)
            self.adapter.passes.engines.update(dict.fromkeys(modules.values(), engine))
        return modules

    def prepare_denoiser(self, denoiser: Any, facts: DiffusersFacts, part: str, request: ModelRequest) -> None:
        """Give a denoiser its gates, its processors and its second time."""
        gates, sparse, causal = read_gates(facts.folder, part), "vsa" in request.attention, request.operations & CAUSAL
        if sparse:
            attach_gates(denoiser, gates, request.weights_dtype, self.blocks)
        elif gates:
            request.tell(
                f"{facts.path}: {part} was trained with video sparse attention; this role attends densely, without its gates"
            )
        if sparse or causal or request.shared:
            follow_passes(denoiser.get_submodule(self.blocks), self.project)
        if causal:
            self.adapter.passes.causal.add(denoiser)
        self.adapter.passes.times.prepare(denoiser, second_time="until" in request.operations)

    def export(
        self,
        modules: Mapping[str, nn.Module],
        base: ModelFacts,
        sampling: ValidationRequest,
        latent_shape: tuple[int, int, int, int],
        output: Path,
        dtype: torch.dtype,
    ) -> None:
        """Write a pipeline folder, as every family does. Raises ModelFolderError for denoisers that have a second time."""
        if any(self.adapter.passes.times.has_second(module) for module in modules.values()):
            raise ModelFolderError(
                f"the role's transformer takes a second time (until), which {self.facts.folder.kind.pipeline} cannot give it, so it has no "
                "export; `distill sample` samples it from the run's directory"
            )
        super().export(modules, base, sampling, latent_shape, output, dtype)

    def recorded_attention(self, request: ValidationRequest) -> RecordedVsa | None:
        """The sparsity and the cubes."""
        if request.attn_kind != "vsa":
            return None
        return RecordedVsa(sparsity=0.0 if request.sparsity is None else request.sparsity, cube=CUBE)

    def _engine(self, denoiser: Any, request: ModelRequest) -> Engine:
        """What computes the sparse attention of a role, told to the log. Raises ConfigError for one that cannot serve."""
        work = Work(self.device, self.compute_dtype, denoiser.config.attention_head_dim)
        engine = choose_engine(self.options.vsa_engine, work)
        request.tell(f"video sparse attention by {engine.summary} (vsa_engine: {engine.name})")
        return engine
