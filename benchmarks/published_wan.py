"""The published Wan models as folders of config.json files, without weights: enough to plan a run of one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_UMT5 = {
    "architectures": ["UMT5EncoderModel"], "model_type": "umt5", "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24,
    "num_heads": 64, "vocab_size": 256384, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False,
}  # fmt: skip
_SCHEDULER = {
    "_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0,
}  # fmt: skip


@dataclass(frozen=True)
class Published:
    """A published model.

    Attributes:
        name: of it.
        heads: of 128 numbers each.
        feed_forward: width of the feed-forward layers.
        blocks: how many there are.
        experts: denoisers.
        channels: of its latents.
        size: frames, rows and columns that it is made for.
    """

    name: str
    heads: int
    feed_forward: int
    blocks: int
    experts: int = 1
    channels: int = 16
    size: tuple[int, int, int] = (81, 480, 832)


PUBLISHED = (
    Published("Wan 2.1 1.3B", 12, 8960, 30),
    Published("Wan 2.2 TI2V-5B", 24, 14336, 30, channels=48, size=(121, 704, 1280)),
    Published("Wan 2.1 14B", 40, 13824, 40),
    Published("Wan 2.2 A14B", 40, 13824, 40, experts=2),
)


def write_configs(folder: Path, model: Published) -> Path:
    """Write the folder; returns it."""
    denoiser = {
        "_class_name": "WanTransformer3DModel", "attention_head_dim": 128, "cross_attn_norm": True, "eps": 1e-6,
        "ffn_dim": model.feed_forward, "freq_dim": 256, "in_channels": model.channels, "num_attention_heads": model.heads,
        "num_layers": model.blocks, "out_channels": model.channels, "patch_size": [1, 2, 2], "qk_norm": "rms_norm_across_heads",
        "rope_max_seq_len": 1024, "text_dim": 4096,
    }  # fmt: skip
    experts = ("transformer", "transformer_2")[: model.experts]
    index: dict[str, Any] = {"_class_name": "WanPipeline", "expand_timesteps": model.channels == 48}
    index |= {expert: ["diffusers", "WanTransformer3DModel"] for expert in experts}
    index |= {"vae": ["diffusers", "AutoencoderKLWan"], "text_encoder": ["transformers", "UMT5EncoderModel"]}
    index |= {"tokenizer": ["transformers", "T5TokenizerFast"], "scheduler": ["diffusers", "UniPCMultistepScheduler"]}
    if model.experts == 2:
        index["boundary_ratio"] = 0.875
    configs = {f"{expert}/config.json": denoiser for expert in experts}
    configs |= {"model_index.json": index, "vae/config.json": _vae(model), "text_encoder/config.json": _UMT5}
    configs |= {"scheduler/scheduler_config.json": _SCHEDULER}
    for name, content in configs.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")
    return folder


def _vae(model: Published) -> dict[str, Any]:
    channels = model.channels
    vae: dict[str, Any] = {"_class_name": "AutoencoderKLWan", "base_dim": 96, "z_dim": channels}
    vae |= {"latents_mean": [0.0] * channels, "latents_std": [1.0] * channels}
    if channels == 48:
        vae |= {"base_dim": 160, "decoder_base_dim": 256, "in_channels": 12, "out_channels": 12, "is_residual": True}
        vae |= {"patch_size": 2, "scale_factor_spatial": 16}
    return vae
