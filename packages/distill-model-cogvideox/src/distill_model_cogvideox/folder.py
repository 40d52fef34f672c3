"""A light look at a CogVideoX pipeline folder: what it is, and whether distill supports it. Reads JSON and headers; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from distill_core.errors import ModelFolderError
from distill_diffusers.denoiser_config import UNBOUNDED, DenoiserConfig, shapes_of
from distill_diffusers.diffusion_noise import noise_of_folder
from distill_diffusers.facts import DiffusersFacts, common_facts, evenly_scaled
from distill_diffusers.json_files import Json, Repeats
from distill_diffusers.pipeline_folder import PipelineFolder, PipelineKind, open_folder
from distill_diffusers.t5_encoder import T5Config
from distill_diffusers.tensor_shapes import Shape, repeated


class TransformerConfig(DenoiserConfig):
    """transformer/config.json, with diffusers' defaults."""

    in_channels: int = 16
    num_layers: Repeats = 30
    attention_head_dim: int = 64
    num_attention_heads: int = 30
    patch_size: int = 2
    patch_size_t: int | None = None
    text_embed_dim: int = 4096
    max_text_seq_length: int = 226
    use_learned_positional_embeddings: bool = False
    ofs_embed_dim: int | None = None


class VaeConfig(Json):
    """vae/config.json, with diffusers' defaults."""

    latent_channels: int = 16
    block_out_channels: tuple[int, ...] = (128, 256, 256, 512)
    temporal_compression_ratio: float = 4
    scaling_factor: float = 1.15258426


def _key_shapes(config: TransformerConfig) -> dict[str, Shape]:
    """Those tensors by which weights and config.json may disagree."""
    width, patch = config.width, config.patch_size
    return {
        "patch_embed.proj.weight": (width, config.in_channels, patch, patch),
        "patch_embed.text_proj.weight": (width, config.text_embed_dim),
        **repeated("transformer_blocks", config.num_layers, {"attn1.to_q.weight": (width, width)}),
    }


COGVIDEOX = PipelineKind(
    name="CogVideoX",
    pipeline="CogVideoXPipeline",
    parts={
        "transformer": ("CogVideoXTransformer3DModel",),
        "vae": ("AutoencoderKLCogVideoX",),
        "text_encoder": ("T5EncoderModel",),
        "tokenizer": (),
        "scheduler": ("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"),
    },
    supported="Supported is CogVideoX (2B, 5B) text to video, as CogVideoXPipeline",
    example="THUDM/CogVideoX-5b",
    others={
        "CogVideoXImageToVideoPipeline": "an image-to-video CogVideoX",
        "CogVideoXVideoToVideoPipeline": "a CogVideoX that starts from videos",
        "CogVideoXFunControlPipeline": "a CogVideoX-Fun of control",
        "ConsisIDPipeline": "a ConsisID, which keeps a face",
        "CogView3PlusPipeline": "a CogView3, which makes pictures",
        "CogView4Pipeline": "a CogView4, which makes pictures",
    },
    key_shapes={"transformer": shapes_of(TransformerConfig, _key_shapes)},
)


@dataclass(frozen=True, kw_only=True)
class CogVideoXFacts(DiffusersFacts):
    """The facts of a CogVideoX: its VAE gives a video its length back only where it has an odd number of latent frames."""

    def misfit(self, latent_CTHW: tuple[int, ...]) -> str | None:
        """Why latents of shape [C, T, H, W] do not fit, or None if they do."""
        found = super().misfit(latent_CTHW)
        if found is None and latent_CTHW[1] % 2 == 0:
            frames = self.latent_space.whole_frames_of(latent_CTHW[1] - 1)
            return f"T = {latent_CTHW[1]} is even, and its VAE takes odd numbers alone; take {frames} frames, or {frames + 8}"
        return found


def inspect(path: str) -> DiffusersFacts:
    """The facts of a local folder or a hub id. Raises ModelFolderError for one that is no supported CogVideoX, naming what it is."""
    folder = open_folder(path, COGVIDEOX)
    transformer, vae = folder.config(TransformerConfig, "transformer"), folder.config(VaeConfig, "vae")
    _refuse_misfits(folder, transformer, vae)
    strides = int(vae.temporal_compression_ratio), 2 ** (len(vae.block_out_channels) - 1)
    return CogVideoXFacts(
        **common_facts(
            folder, text_length=transformer.max_text_seq_length, flow_shift=noise_of_folder(folder).middle_shift
        ),
        summary=folder.described(f"CogVideoX, {transformer.num_layers} layers"),
        latent_space=evenly_scaled(vae.latent_channels, *strides, scaling_factor=vae.scaling_factor),
        text_width=transformer.text_embed_dim,
        patch=(1, transformer.patch_size, transformer.patch_size),
        max_positions=(UNBOUNDED,) * 3,
        feature_width=transformer.width,
        layers=transformer.num_layers,
    )


def _refuse_misfits(folder: PipelineFolder, transformer: TransformerConfig, vae: VaeConfig) -> None:
    if transformer.use_learned_positional_embeddings or transformer.ofs_embed_dim is not None:
        raise ModelFolderError(f"{folder.path}: its transformer starts from pictures. {COGVIDEOX.supported}")
    if transformer.patch_size_t is not None:
        raise ModelFolderError(
            f"{folder.path} is a CogVideoX 1.5, whose tokens are pairs of latent frames, one more than its VAE takes. {COGVIDEOX.supported}"
        )
    t5 = folder.config(T5Config, "text_encoder")
    folder.refuse_mismatch("transformer", transformer.in_channels, "VAE", vae.latent_channels, "channels")
    folder.refuse_mismatch("transformer", transformer.text_embed_dim, "text encoder", t5.d_model, "features of text")
