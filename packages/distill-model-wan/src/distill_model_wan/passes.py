"""How a Wan transformer is called: latents and timesteps as it takes them, folded text, and pictures.

B batch, T latent frames, C channels, H W latent rows and columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from distill_core.protocols import Condition
from distill_core.ranks.peers import sharers
from distill_core.transfer import onto_device
from distill_diffusers.features import Layers
from distill_diffusers.passes.one_pass import Passes
from distill_diffusers.passes.shared_clip import TokensPath
from distill_diffusers.passes.time_embedding import Times
from distill_model_wan.attention import TextCall, text_call
from distill_model_wan.folder import wan_folder
from distill_model_wan.pictures import Input, Pictures, beside, in_place
from distill_model_wan.text import own


class WanPasses(Passes):
    """Passes of Wan's transformers."""

    layers: ClassVar[Layers] = Layers(("blocks",))
    times: ClassVar[Times] = Times("condition_embedder", "time_embedder", "timesteps_proj")
    tokens: ClassVar[TokensPath] = TokensPath("patch_embedding", "rope", "proj_out")

    def velocity(
        self, denoiser: Any, noisy_BTCHW: Tensor, timestep: Tensor, until: Tensor | None, condition: Condition
    ) -> Tensor:
        """One pass. A TI2V transformer, which takes a timestep per token, is given one per sample where all frames share it: the time
        embedding of [B] instead of [B, tokens] spares gigabytes at full size."""
        text = own(condition)
        given = self._given(noisy_BTCHW, timestep, until, text.pictures)
        timestep, until = given.timestep, given.until
        _, rows, columns = self.grid(noisy_BTCHW.shape)
        time = onto_device(timestep.to(torch.promote_types(noisy_BTCHW.dtype, torch.float32)), noisy_BTCHW.device)
        with (
            self.precision(),
            text_call(TextCall(text.pad_bias_L, text.embeds_BLD.shape[1])),
            self.times.second(denoiser, timestep, until, time.device),
            of_frames(denoiser, time, rows * columns),
        ):
            velocity_BCTHW: Tensor = denoiser(
                given.latents_BTCHW.transpose(1, 2),
                time,
                text.embeds_BLD,
                self._features(text.pictures),
                return_dict=False,
            )[0]
        velocity_BTCHW = velocity_BCTHW.to(noisy_BTCHW.dtype).transpose(1, 2)
        if given.velocity_BTCHW is not None:
            velocity_BTCHW = torch.cat([given.velocity_BTCHW, velocity_BTCHW[:, 1:]], dim=1)
        return velocity_BTCHW

    def rotary(self, denoiser: Any, video_BCTHW: Tensor) -> tuple[Tensor, ...]:
        """Cosines and sines, [1, N, 1, D]."""
        cos, sin = denoiser.rope(video_BCTHW)
        return cos, sin

    def _given(self, noisy_BTCHW: Tensor, timestep: Tensor, until: Tensor | None, pictures: Pictures | None) -> Input:
        """What the transformer is given of noisy latents and of what the samples are shown."""
        if pictures is None:
            return Input(noisy_BTCHW, timestep, until)
        if wan_folder(self.facts).expand_timesteps:
            return in_place(noisy_BTCHW, timestep, until, pictures)
        return beside(noisy_BTCHW, timestep, until, pictures, len(self.facts.pictures))

    def _features(self, pictures: Pictures | None) -> Tensor | None:
        """What the transformer attends of pictures; each picture stands for itself, as diffusers has it."""
        features_BND = None if pictures is None else pictures.features
        tokens = wan_folder(self.facts).image_tokens
        return None if features_BND is None else features_BND.unflatten(1, (-1, tokens)).flatten(0, 1)


@contextmanager
def of_frames(transformer: Any, timestep: Tensor, per_frame: int) -> Iterator[None]:
    """Inside, embeddings of timesteps [B, T] are spread over the frames' tokens, [B, N], or this process's; those of [B] are left alone.

    A time of each token would cost the embedding's layers as many times over as a frame has tokens.
    """
    if timestep.ndim == 1:
        yield
        return

    peers = sharers()

    def spread(_: nn.Module, __: object, output: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The embedding and its projection, of frames, as those of their tokens; text as it is."""
        of_time, rest = output[:2], output[2:]
        if peers is None:
            return (*(each.repeat_interleave(per_frame, dim=1) for each in of_time), *rest)
        frames_n = peers.own(torch.arange(timestep.shape[1], device=timestep.device).repeat_interleave(per_frame), 0)
        return (*(each[:, frames_n] for each in of_time), *rest)

    hook = transformer.condition_embedder.register_forward_hook(spread)
    try:
        yield
    finally:
        hook.remove()
