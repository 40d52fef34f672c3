"""One pass of one denoiser, as an ask wants it: what is asked for becomes what the layers are told, and is taken off them again.

B batch, T latent frames, C channels, H W latent rows and columns; tokens [N] are those of frame after frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import ClassVar
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

from distill_core import flow
from distill_core.errors import ConfigError, PluginError, Problem, StreamError
from distill_core.flow.derivative import derivative_along
from distill_core.protocols import Ask, Condition
from distill_core.ranks.peers import Peers, sharers
from distill_diffusers.causal.attend import CausalCall
from distill_diffusers.causal.sight import Arrangement, sight_of
from distill_diffusers.causal.streams import Past, Recorder, Segment, frames_of
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.features import Layers, on_grid
from distill_diffusers.passes.asks import CAUSAL, DENSE_ONLY
from distill_diffusers.passes.self_attention import SelfCall, self_call
from distill_diffusers.passes.shared_clip import TokensPath
from distill_diffusers.passes.time_embedding import Times
from distill_diffusers.precision import forward_precision
from distill_diffusers.sparse.attend import SparseCall
from distill_diffusers.sparse.engines import Engine


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of one pass; the fields are those of :class:`distill_core.protocols.Prediction`, but for the stream.

    Attributes:
        segment: the keys and values of the pass's own frames, where a stream is wanted.
    """

    velocity: Tensor
    features: tuple[Tensor, ...] = ()
    derivative: Tensor | None = None
    segment: Segment | None = None


class Passes(ABC):
    """Passes of the denoisers of one run. A family says how one is called, and where the positions of its tokens come from.

    Attributes:
        layers: where a denoiser's layers are.
        times: where it embeds its timestep.
        tokens: where its tokens begin and end; None where processes do not share the tokens of a clip.
        engines: of each denoiser that has gates for it, what computes its sparse attention.
        causal: the denoisers whose self-attention was loaded for causal predictions.
    """

    layers: ClassVar[Layers]
    times: ClassVar[Times]
    tokens: ClassVar[TokensPath | None] = None

    def __init__(self, facts: DiffusersFacts, device: torch.device, compute_dtype: torch.dtype) -> None:
        self.facts = facts
        self.device = device
        self.compute_dtype = compute_dtype
        self.engines: WeakKeyDictionary[nn.Module, Engine] = WeakKeyDictionary()
        self.causal: WeakSet[nn.Module] = WeakSet()

    # What a family says

    @abstractmethod
    def velocity(
        self, denoiser: nn.Module, noisy_BTCHW: Tensor, timestep: Tensor, until: Tensor | None, condition: Condition
    ) -> Tensor:
        """v ≈ ε - x0, [B, T, C, H, W], by the denoiser's call within :meth:`precision`; of [B] or [B, T] timesteps."""
        ...

    @abstractmethod
    def rotary(self, denoiser: nn.Module, video_BCTHW: Tensor) -> tuple[Tensor, ...]:
        """The positions of the tokens of latents of that shape, [1, N, …] each, as the family's self-attention takes them."""
        ...

    # What every family does

    def precision(self) -> torch.autocast:
        """Inside, a denoiser computes in the run's dtype; what it is given is made outside."""
        return forward_precision(self.device, self.compute_dtype)

    def grid(self, shape_BTCHW: Sequence[int]) -> tuple[int, int, int]:
        """Tokens along time, height and width."""
        _, frames, _, rows, columns = shape_BTCHW
        temporal, vertical, horizontal = self.facts.patch
        return frames // temporal, rows // vertical, columns // horizontal

    def run(
        self, denoiser: nn.Module, noisy_BTCHW: Tensor, timestep: Tensor, condition: Condition, ask: Ask, past: Past
    ) -> Outcome:
        """The velocity, and whatever else is asked for. Raises a DistillError for what the denoiser was not loaded for."""
        self._refuse(denoiser, ask)
        derivative = None
        if ask.along is not None:
            derivative = self._derivative(denoiser, noisy_BTCHW, timestep, condition, ask, past)
        outcome = self._forward(denoiser, noisy_BTCHW, timestep, condition, ask, past)
        return outcome if derivative is None else replace(outcome, derivative=derivative)

    def _derivative(
        self, denoiser: nn.Module, noisy_BTCHW: Tensor, timestep: Tensor, condition: Condition, ask: Ask, past: Past
    ) -> Tensor:
        """The derivative of the velocity along ``ask.along``, in forward mode."""
        assert ask.along is not None
        bare = replace(ask, features=(), store=False)

        def velocity_at(noisy: Tensor, sigma: Tensor, until: Tensor | None = None) -> Tensor:
            """v as a function of what it is differentiated by."""
            later = None if until is None else until * flow.TRAIN_TIMESTEPS
            asked = replace(bare, until=later)
            return self._forward(denoiser, noisy, sigma * flow.TRAIN_TIMESTEPS, condition, asked, past).velocity

        times = (timestep,) if ask.until is None else (timestep, ask.until)
        at = (noisy_BTCHW, *(time / flow.TRAIN_TIMESTEPS for time in times))
        return derivative_along(velocity_at, at, ask.along)

    def _forward(
        self, denoiser: nn.Module, noisy_BTCHW: Tensor, timestep: Tensor, condition: Condition, ask: Ask, past: Past
    ) -> Outcome:
        """One pass."""
        frames, own_grid = noisy_BTCHW.shape[1], self.grid(noisy_BTCHW.shape)
        until = ask.until
        if ask.clean is not None:
            timestep, until = _after_clean(timestep, frames), None if until is None else _after_clean(until, frames)
            noisy_BTCHW = torch.cat([ask.clean.to(noisy_BTCHW), noisy_BTCHW], dim=1)
        recorder = Recorder() if ask.store else None
        causal, peers = self._causal(denoiser, noisy_BTCHW, frames, ask, past, recorder), sharers()
        with (
            self._shared(denoiser, peers),
            self_call(SelfCall(self._sparse(denoiser, own_grid, ask), causal)),
            self.layers.seen(denoiser, ask.features) as seen,
        ):
            velocity_BTCHW = self.velocity(denoiser, noisy_BTCHW, timestep, until, condition)
        if peers is not None:
            seen = {layer: peers.whole(own_BND, 1) for layer, own_BND in seen.items()}
        return Outcome(
            velocity_BTCHW if ask.clean is None else velocity_BTCHW[:, frames:],
            tuple(on_grid(seen[layer], own_grid) for layer in ask.features),
            segment=None if recorder is None else recorder.segment(frames),
        )

    def _shared(self, denoiser: nn.Module, peers: Peers | None) -> AbstractContextManager[None]:
        """Inside, a pass has this process's part of the tokens, where processes share them."""
        if peers is None:
            return nullcontext()
        if self.tokens is None:
            raise PluginError(
                "it says that processes can share the tokens of a clip, and not where those begin and end"
            )
        return self.tokens.shared(denoiser, peers)

    def _causal(
        self, denoiser: nn.Module, noisy_BTCHW: Tensor, frames: int, ask: Ask, past: Past, recorder: Recorder | None
    ) -> CausalCall | None:
        """What self-attention sees besides, or does not. Raises StreamError for frames beyond the model's positions."""
        if not ask.parts & CAUSAL:
            return None
        total, most = past.frames + frames, self.facts.max_positions[0]
        if total > most:
            raise StreamError(
                f"the stream has come to frame {total}, and the model has positions for {most}; begin another"
            )
        # Positions follow from a shape alone; the tensor of that shape takes no memory.
        whole_BCTHW = noisy_BTCHW.new_empty(1).expand(1, 1, total, *noisy_BTCHW.shape[3:])
        _, rows, columns = self.grid(noisy_BTCHW.shape)
        per_frame = rows * columns
        rotary = tuple(each[:, past.frames * per_frame :] for each in self.rotary(denoiser, whole_BCTHW))
        if ask.clean is not None:
            rotary = tuple(torch.cat([each, each], dim=1) for each in rotary)
        blocks = frames if ask.blocks is None else ask.blocks
        arrangement = Arrangement(frames, blocks, per_frame, ask.clean is not None, frames_of(past.memory))
        sight = sight_of(arrangement, noisy_BTCHW.device)
        return CausalCall(rotary, sight, past.memory, recorder, forward_mode=ask.along is not None)

    def _sparse(self, denoiser: nn.Module, grid: tuple[int, int, int], ask: Ask) -> SparseCall | None:
        """What self-attention leaves out."""
        if ask.attn_kind == "dense":
            return None
        assert ask.sparsity is not None, "a role says how sparse its attention is"
        return SparseCall(grid, ask.sparsity, self.engines[denoiser])

    def _refuse(self, denoiser: nn.Module, ask: Ask) -> None:
        """Raise ConfigError for attention that the denoiser was not loaded for, PluginError for parts that it was not loaded for, or
        that contradict each other."""
        if ask.attn_kind != "dense" and (ask.attn_kind != "vsa" or denoiser not in self.engines):
            message = f"is {ask.attn_kind!r}, and this role was loaded for dense attention; set attn_kind: dense"
            raise ConfigError([Problem("method_config.attn_kind", message)])
        torn = sorted(ask.parts & DENSE_ONLY) if ask.attn_kind != "dense" else ()
        if torn:
            message = f"is {ask.attn_kind!r}, under which there is no {', '.join(torn)}; set attn_kind: dense"
            raise ConfigError([Problem("method_config.attn_kind", message)])
        torn = sorted(ask.parts & DENSE_ONLY) if sharers() is not None else []
        if torn or (ask.attn_kind != "dense" and sharers() is not None):
            asked = ", ".join(torn) or f"{ask.attn_kind} attention"
            raise PluginError(
                f"it asks {asked} where processes share the tokens of a clip, which have whole clips alone"
            )
        missing = sorted(ask.parts & CAUSAL) if denoiser not in self.causal else []
        if ask.until is not None and not self.times.has_second(denoiser):
            missing.append("until")
        if missing:
            raise PluginError(
                f"it asks {', '.join(missing)} of a role that was loaded without; add it to the operations of the role in the method's spec"
            )
        if ask.clean is not None and ask.blocks is None:
            raise PluginError("it gives clean frames and no blocks, so that no frame would see them; set Ask.blocks")
        if ask.clean is not None and ask.store:
            raise PluginError("it stores a stream beside clean frames; store one in a pass of the clean frames alone")
        if ask.sink < 0 or any(each is not None and each < 1 for each in (ask.blocks, ask.window)):
            raise PluginError(
                f"blocks ({ask.blocks}) and window ({ask.window}) count latent frames from 1, sink ({ask.sink}) from 0"
            )


def _after_clean(timestep: Tensor, frames: int) -> Tensor:
    """A timestep [B] or [B, T] of frames as that of clean ones and of those, [B, 2 T]: clean ones stand at 0."""
    timestep_BT = timestep if timestep.ndim == 2 else timestep[:, None].expand(-1, frames)
    return torch.cat([torch.zeros_like(timestep_BT), timestep_BT], dim=1)
