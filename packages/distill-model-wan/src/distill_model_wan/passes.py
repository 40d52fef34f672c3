"""One pass of one transformer, as an ask wants it: what is asked for becomes what the layers are told, and is taken off them again.

B batch, T latent frames, C channels, H W latent rows and columns; tokens [N] are those of frame after frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

from distill_core import flow
from distill_core.errors import ConfigError, PluginError, Problem, StreamError
from distill_core.flow.derivative import derivative_along
from distill_core.protocols import Ask
from distill_core.transfer import onto_device
from distill_diffusers.features import Layers, on_grid
from distill_diffusers.precision import forward_precision
from distill_model_wan.attention import AttentionCall, attention_call
from distill_model_wan.causal.attend import CausalCall
from distill_model_wan.causal.sight import Arrangement, sight_of
from distill_model_wan.causal.streams import Past, Recorder, Segment, frames_of
from distill_model_wan.folder import WanFolder
from distill_model_wan.pictures import Input, Pictures, beside, in_place
from distill_model_wan.plugin import DENSE_ONLY
from distill_model_wan.text import WanText
from distill_model_wan.time_embedding import has_second_time, of_frames, second_time
from distill_model_wan.vsa.attend import SparseCall
from distill_model_wan.vsa.engines import Engine

CAUSAL = frozenset({"blocks", "clean", "stream"})
"""What causal self-attention is for."""
FRAMEWISE = CAUSAL | {"frame_timesteps"}
"""What tells one latent frame from the next."""

LAYERS = Layers(("blocks",))
"""Wan's, whose outputs are tokens of latents alone."""


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


class Passes:
    """Passes of the transformers of one run.

    Attributes:
        engines: of each transformer that has gates for it, what computes its sparse attention.
        causal: the transformers whose self-attention was loaded for causal predictions.
    """

    def __init__(self, facts: WanFolder, device: torch.device, compute_dtype: torch.dtype) -> None:
        self.facts = facts
        self.patch = facts.patch
        self.positions = facts.max_positions[0]
        self.device = device
        self.compute_dtype = compute_dtype
        self.engines: WeakKeyDictionary[nn.Module, Engine] = WeakKeyDictionary()
        self.causal: WeakSet[nn.Module] = WeakSet()

    def grid(self, shape_BTCHW: Sequence[int]) -> tuple[int, int, int]:
        """Tokens along time, height and width."""
        _, frames, _, rows, columns = shape_BTCHW
        temporal, vertical, horizontal = self.patch
        return frames // temporal, rows // vertical, columns // horizontal

    def run(
        self, transformer: nn.Module, noisy_BTCHW: Tensor, timestep: Tensor, text: WanText, ask: Ask, past: Past
    ) -> Outcome:
        """The velocity, and whatever else is asked for. Raises a DistillError for what the transformer was not loaded for."""
        self._refuse(transformer, ask)
        derivative = None
        if ask.along is not None:
            derivative = self._derivative(transformer, noisy_BTCHW, timestep, text, ask, past)
        outcome = self._forward(transformer, noisy_BTCHW, timestep, text, ask, past)
        return outcome if derivative is None else replace(outcome, derivative=derivative)

    def _derivative(
        self, transformer: nn.Module, noisy_BTCHW: Tensor, timestep: Tensor, text: WanText, ask: Ask, past: Past
    ) -> Tensor:
        """The derivative of the velocity along ``ask.along``, in forward mode."""
        assert ask.along is not None
        bare = replace(ask, features=(), store=False)

        def velocity_at(noisy: Tensor, sigma: Tensor, until: Tensor | None = None) -> Tensor:
            """v as a function of what it is differentiated by."""
            later = None if until is None else until * flow.TRAIN_TIMESTEPS
            asked = replace(bare, until=later)
            return self._forward(transformer, noisy, sigma * flow.TRAIN_TIMESTEPS, text, asked, past).velocity

        times = (timestep,) if ask.until is None else (timestep, ask.until)
        at = (noisy_BTCHW, *(time / flow.TRAIN_TIMESTEPS for time in times))
        return derivative_along(velocity_at, at, ask.along)

    def _forward(
        self, transformer: nn.Module, noisy_BTCHW: Tensor, timestep: Tensor, text: WanText, ask: Ask, past: Past
    ) -> Outcome:
        """One pass. A TI2V transformer, which takes a timestep per token, is given one per sample where all frames share it: the time
        embedding of [B] instead of [B, tokens] spares gigabytes at full size."""
        frames, own_grid = noisy_BTCHW.shape[1], self.grid(noisy_BTCHW.shape)
        until = ask.until
        if ask.clean is not None:
            timestep, until = _after_clean(timestep, frames), None if until is None else _after_clean(until, frames)
            noisy_BTCHW = torch.cat([ask.clean.to(noisy_BTCHW), noisy_BTCHW], dim=1)
        given = self._given(noisy_BTCHW, timestep, until, text.pictures)
        timestep, until = given.timestep, given.until
        noisy_BCTHW, per_frame = given.latents_BTCHW.transpose(1, 2), own_grid[1] * own_grid[2]
        time = onto_device(timestep.to(torch.promote_types(noisy_BTCHW.dtype, torch.float32)), noisy_BTCHW.device)
        recorder = Recorder() if ask.store else None
        causal = self._causal(transformer, noisy_BCTHW, frames, ask, past, recorder)
        call = AttentionCall(
            text.pad_bias_L, self._sparse(transformer, own_grid, ask), causal, text_tokens=text.embeds_BLD.shape[1]
        )
        with (
            forward_precision(self.device, self.compute_dtype),
            attention_call(call),
            second_time(transformer, timestep, until, time.device),
            of_frames(transformer, time, per_frame),
            LAYERS.seen(transformer, ask.features) as seen,
        ):
            seen_of_pictures = self._features(text.pictures)
            velocity_BCTHW: Tensor = transformer(
                noisy_BCTHW, time, text.embeds_BLD, seen_of_pictures, return_dict=False
            )[0]
        velocity_BTCHW = velocity_BCTHW.to(noisy_BTCHW.dtype).transpose(1, 2)
        if given.velocity_BTCHW is not None:
            velocity_BTCHW = torch.cat([given.velocity_BTCHW, velocity_BTCHW[:, 1:]], dim=1)
        return Outcome(
            velocity_BTCHW if ask.clean is None else velocity_BTCHW[:, frames:],
            tuple(on_grid(seen[layer], own_grid) for layer in ask.features),
            segment=None if recorder is None else recorder.segment(frames),
        )

    def _given(self, noisy_BTCHW: Tensor, timestep: Tensor, until: Tensor | None, pictures: Pictures | None) -> Input:
        """What the transformer is given of noisy latents and of what the samples are shown."""
        if pictures is None:
            return Input(noisy_BTCHW, timestep, until)
        if self.facts.expand_timesteps:
            return in_place(noisy_BTCHW, timestep, until, pictures)
        return beside(noisy_BTCHW, timestep, until, pictures, len(self.facts.pictures))

    def _features(self, pictures: Pictures | None) -> Tensor | None:
        """What the transformer attends of pictures; each picture stands for itself, as diffusers has it."""
        features_BND = None if pictures is None else pictures.features
        return None if features_BND is None else features_BND.unflatten(1, (-1, self.facts.image_tokens)).flatten(0, 1)

    def _causal(
        self,
        transformer: Any,
        noisy_BCTHW: Tensor,
        frames: int,
        ask: Ask,
        past: Past,
        recorder: Recorder | None,
    ) -> CausalCall | None:
        """What self-attention sees besides, or does not. Raises StreamError for frames beyond the model's positions."""
        if not ask.parts & CAUSAL:
            return None
        if past.frames + frames > self.positions:
            raise StreamError(
                f"the stream has come to frame {past.frames + frames}, and the model has positions for {self.positions}; begin another"
            )
        rows, columns = noisy_BCTHW.shape[3:]
        # Positions follow from a shape alone; the tensor of that shape takes no memory.
        whole = noisy_BCTHW.new_empty(1).expand(1, 1, past.frames + frames, rows, columns)
        per_frame = rows // self.patch[1] * (columns // self.patch[2])
        cos, sin = (each[:, past.frames * per_frame :] for each in transformer.rope(whole))
        if ask.clean is not None:
            cos, sin = torch.cat([cos, cos], dim=1), torch.cat([sin, sin], dim=1)
        arrangement = Arrangement(
            frames,
            frames if ask.blocks is None else ask.blocks,
            per_frame,
            ask.clean is not None,
            frames_of(past.memory),
        )
        sight = sight_of(arrangement, noisy_BCTHW.device)
        return CausalCall((cos, sin), sight, past.memory, recorder, forward_mode=ask.along is not None)

    def _sparse(self, transformer: nn.Module, grid: tuple[int, int, int], ask: Ask) -> SparseCall | None:
        """What self-attention leaves out."""
        if ask.attn_kind == "dense":
            return None
        assert ask.sparsity is not None, "a role says how sparse its attention is"
        return SparseCall(grid, ask.sparsity, self.engines[transformer])

    def _refuse(self, transformer: nn.Module, ask: Ask) -> None:
        """Raise ConfigError for attention that the transformer was not loaded for, PluginError for parts that it was not loaded for, or
        that contradict each other."""
        if ask.attn_kind != "dense" and (ask.attn_kind != "vsa" or transformer not in self.engines):
            message = f"is {ask.attn_kind!r}, and this role was loaded for dense attention; set attn_kind: dense"
            raise ConfigError([Problem("method_config.attn_kind", message)])
        torn = sorted(ask.parts & DENSE_ONLY) if ask.attn_kind != "dense" else ()
        if torn:
            message = f"is {ask.attn_kind!r}, under which Wan has no {', '.join(torn)}; set attn_kind: dense"
            raise ConfigError([Problem("method_config.attn_kind", message)])
        missing = sorted(ask.parts & CAUSAL) if transformer not in self.causal else []
        if ask.until is not None and not has_second_time(transformer):
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
