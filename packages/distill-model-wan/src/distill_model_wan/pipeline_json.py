"""The JSON files of a Wan pipeline folder, typed, with diffusers' own defaults where a file leaves a key out.

Reads and checks; decides nothing about what is supported (``folder.py`` does). Imports no torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distill_core.errors import ModelFolderError
from distill_core.plugins import LatentSpace

INDEX = "model_index.json"
RECORD = "distill.json"
SCHEDULER = "scheduler/scheduler_config.json"

Part = tuple[str | None, str | None]
"""One component of a pipeline as model_index.json names it: (library, class), both null where the pipeline goes without."""

ABSENT: Part = (None, None)


class _Json(BaseModel):
    """A file that others write: keys that are not asked for are none of our business."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class PipelineIndex(_Json):
    """model_index.json."""

    class_name: str = Field(alias="_class_name")
    transformer: Part = ABSENT
    transformer_2: Part = ABSENT
    vae: Part = ABSENT
    text_encoder: Part = ABSENT
    tokenizer: Part = ABSENT
    scheduler: Part = ABSENT
    boundary_ratio: float | None = None
    expand_timesteps: bool = False

    @property
    def parts(self) -> dict[str, Part]:
        """The components by name."""
        return {
            "transformer": self.transformer,
            "transformer_2": self.transformer_2,
            "vae": self.vae,
            "text_encoder": self.text_encoder,
            "tokenizer": self.tokenizer,
            "scheduler": self.scheduler,
        }


class TransformerConfig(_Json):
    """transformer/config.json."""

    class_name: str = Field(alias="_class_name")
    patch_size: tuple[int, int, int] = (1, 2, 2)
    num_attention_heads: int = 40
    attention_head_dim: int = 128
    in_channels: int = 16
    out_channels: int = 16
    text_dim: int = 4096
    freq_dim: int = 256
    ffn_dim: int = 13824
    num_layers: int = 40
    cross_attn_norm: bool = True
    rope_max_seq_len: int = 1024
    image_dim: int | None = None
    added_kv_proj_dim: int | None = None


class VaeConfig(_Json):
    """vae/config.json. The default statistics are those of Wan 2.1's VAE, which diffusers assumes too."""

    class_name: str = Field(alias="_class_name")
    z_dim: int = 16
    latents_mean: tuple[float, ...] = (
        -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
    )  # fmt: skip
    latents_std: tuple[float, ...] = (
        2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
        3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
    )  # fmt: skip
    scale_factor_temporal: int = 4
    scale_factor_spatial: int = 8
    base_dim: int = 96
    decoder_base_dim: int | None = None
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attn_scales: tuple[()] = ()
    temperal_downsample: tuple[bool, ...] = (False, True, True)
    is_residual: bool = False
    in_channels: int = 3
    out_channels: int = 3

    @property
    def latent_space(self) -> LatentSpace:
        """The space that this VAE encodes into."""
        return LatentSpace(
            channels=self.z_dim,
            temporal_stride=self.scale_factor_temporal,
            spatial_stride=self.scale_factor_spatial,
            mean=self.latents_mean,
            std=self.latents_std,
        )


class TextEncoderConfig(_Json):
    """text_encoder/config.json, with the defaults of transformers."""

    vocab_size: int = 250112
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 1024
    num_layers: int = 8
    num_heads: int = 6
    relative_attention_num_buckets: int = 32
    feed_forward_proj: str = "gated-gelu"


class SchedulerConfig(_Json):
    """scheduler/scheduler_config.json."""

    class_name: str = Field(alias="_class_name")
    flow_shift: float | None = None
    shift: float | None = None


class RecordedVsa(_Json):
    """Video sparse attention that an exported model was trained with."""

    sparsity: Annotated[float, Field(ge=0, lt=1)]
    cube: tuple[int, int, int]


class RecordedSampling(_Json):
    """How an exported model wants to be sampled."""

    sampler: Literal["ode", "sde"]
    steps: int
    timesteps: tuple[float, ...] | None = None
    guidance_scale: float = 1.0
    vsa: RecordedVsa | None = None


class ExportRecord(_Json):
    """distill.json: what an export knows about itself that diffusers has no key for."""

    distill_version: str | None = None
    text_length: int | None = None
    flow_shift: float | None = None
    sampling: RecordedSampling | None = None
    latent_shape: tuple[int, int, int, int] | None = None
    """[T, C, H, W] that the model was trained at."""
    base_scheduler: dict[str, Any] | None = None
    """The scheduler config of the many-step pipeline that the export was made from, where the export has another."""


JsonT = TypeVar("JsonT", bound=_Json)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object. Raises ModelFolderError for one that is missing or does not."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelFolderError(f"{path} is missing; the folder is incomplete, fetch it again") from error
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelFolderError(f"{path} holds a {type(content).__name__}, expected an object")
    return content


def read(kind: type[JsonT], path: Path) -> JsonT:
    """A JSON file as ``kind``. Raises ModelFolderError naming the file and every key at fault."""
    return parse(kind, read_object(path), path)


def parse(kind: type[JsonT], content: dict[str, Any], path: Path) -> JsonT:
    """What was read from ``path`` as ``kind``. Raises ModelFolderError naming the file and every key at fault."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ModelFolderError(f"{path}: {faults}") from error


def read_record(folder: Path) -> ExportRecord:
    """The folder's distill.json; an empty record where it has none."""
    path = folder / RECORD
    return read(ExportRecord, path) if path.is_file() else ExportRecord()


def read_scheduler(folder: Path) -> dict[str, Any]:
    """The config of the folder's many-step scheduler: of an export, the one that it was made from."""
    recorded = read_record(folder).base_scheduler
    return read_object(folder / SCHEDULER) if recorded is None else recorded
