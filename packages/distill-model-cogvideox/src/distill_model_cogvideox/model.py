"""CogVideoX at run time. B batch, C latent channels, T latent frames, H W latent rows and columns, L tokens, D width."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

from diffusers import CogVideoXPipeline
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid
from torch import Tensor

from distill_core.protocols import ModelPlugin
from distill_diffusers.caption_model import CaptionModel
from distill_diffusers.captions import TextParts
from distill_diffusers.conditions import TOKENS, CaptionTensors, NamedTensors
from distill_diffusers.ddim_steps import DdimSteps
from distill_diffusers.features import Layers
from distill_diffusers.model_card import PipelineCall
from distill_diffusers.options import FlowOptions
from distill_diffusers.schedule import Schedule

TEXT_LENGTH = 226
"""The padded length that the pipeline takes where a call says none."""


class CogVideoXModel(CaptionModel[FlowOptions]):
    """The :class:`distill_core.protocols.ModelPlugin` of CogVideoX."""

    call: ClassVar[PipelineCall] = PipelineCall("cogvideox", TEXT_LENGTH, fps=8)
    schedule: ClassVar[Schedule] = Schedule(first_noise="TCHW", later_noise="TCHW")
    pads_text: ClassVar[bool] = True
    layers: ClassVar[Layers] = Layers(output=0)

    @cached_property
    def _steps(self) -> DdimSteps:
        return DdimSteps(self.facts)

    def make_own_steps(self) -> DdimSteps:
        """DDIM's."""
        return self._steps

    def encode_prompt(self, parts: TextParts, caption: str, length: int) -> CaptionTensors:
        """The caption through T5, whose padding is attended."""
        pipeline = CogVideoXPipeline(scheduler=None, vae=None, transformer=None, **parts)
        tokens_1LD, _ = pipeline.encode_prompt(
            caption, do_classifier_free_guidance=False, max_sequence_length=length, device=self.device
        )
        return {TOKENS: tokens_1LD[0]}

    def velocity(self, denoiser: Any, noisy_BCTHW: Tensor, timestep_B: Tensor, captions: NamedTensors) -> Tensor:
        """One pass of the v-prediction, seen as a flow."""

        def predict(x_BCTHW: Tensor, own_B: Tensor) -> Tensor:
            """The denoiser's own."""
            v_BTCHW: Tensor = denoiser(
                hidden_states=x_BCTHW.transpose(1, 2),
                encoder_hidden_states=captions[TOKENS],
                timestep=own_B,
                image_rotary_emb=_positions(denoiser.config, x_BCTHW),
                return_dict=False,
            )[0]
            return v_BTCHW.float().transpose(1, 2)

        return self._steps.velocity(predict, noisy_BCTHW, timestep_B)


def _positions(config: Any, x_BCTHW: Tensor) -> Any:
    """The rotary positions of the tokens, as the pipeline makes them; None for the members that have others."""
    if not config.use_rotary_positional_embeddings:
        return None
    patch = config.patch_size
    grid = (x_BCTHW.shape[3] // patch, x_BCTHW.shape[4] // patch)
    trained = (config.sample_height // patch, config.sample_width // patch)
    return get_3d_rotary_pos_embed(
        embed_dim=config.attention_head_dim,
        crops_coords=get_resize_crop_region_for_grid(grid, trained[1], trained[0]),
        grid_size=grid,
        temporal_size=x_BCTHW.shape[2],
        device=x_BCTHW.device,
    )


def _keeps_the_contract(model: CogVideoXModel) -> ModelPlugin:
    """Read by mypy only."""
    return model
