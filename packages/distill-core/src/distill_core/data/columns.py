"""The two parquet schemas of training data, as other trainers of the field also write them. Knows no file.

"T2V" holds clips: each row a raw latent [C, T, H, W] (not normalised) and an encoded caption [L, D]. "text-only" holds
captions alone. A tensor takes three columns; see :mod:`distill_core.data.tensors`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa
from torch import Tensor

from distill_core.data.tensors import tensor_columns
from distill_core.errors import DataError

LATENT = "vae_latent"
TEXT = "text_embedding"


def _tensor_fields(name: str) -> list[pa.Field]:
    """The three fields of a tensor."""
    return [
        pa.field(f"{name}_bytes", pa.binary()),
        pa.field(f"{name}_shape", pa.list_(pa.int64())),
        pa.field(f"{name}_dtype", pa.string()),
    ]


T2V_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        *_tensor_fields(LATENT),
        *_tensor_fields(TEXT),
        pa.field("file_name", pa.string()),
        pa.field("caption", pa.string()),
        pa.field("media_type", pa.string()),
        pa.field("width", pa.int64()),
        pa.field("height", pa.int64()),
        pa.field("num_frames", pa.int64()),
        pa.field("duration_sec", pa.float64()),
        pa.field("fps", pa.float64()),
    ]
)
TEXT_ONLY_SCHEMA = pa.schema([pa.field("id", pa.string()), *_tensor_fields(TEXT), pa.field("caption", pa.string())])

LATENT_COLUMNS = tuple(field.name for field in _tensor_fields(LATENT))
CAPTION_COLUMNS = ("id", *(field.name for field in _tensor_fields(TEXT)), "caption")
"""The columns that training reads of every row. It asks for no others: more will do, and fewer of the rest."""


@dataclass(frozen=True)
class CaptionRecord:
    """A row of the text-only schema; ``text_LD`` is stored in its own dtype."""

    id: str
    caption: str
    text_LD: Tensor

    def columns(self) -> dict[str, object]:
        """The row, by column."""
        return {"id": self.id, **tensor_columns(TEXT, self.text_LD), "caption": self.caption}


@dataclass(frozen=True)
class ClipRecord:
    """A row of the T2V schema. Width, height (pixels), ``num_frames`` and ``fps`` are those of what was encoded."""

    id: str
    caption: str
    text_LD: Tensor
    latent_CTHW: Tensor
    file_name: str
    width: int
    height: int
    num_frames: int
    fps: float

    def columns(self) -> dict[str, object]:
        """The row, by column."""
        return {
            **CaptionRecord(self.id, self.caption, self.text_LD).columns(),
            **tensor_columns(LATENT, self.latent_CTHW),
            "file_name": self.file_name,
            "media_type": "image" if self.num_frames == 1 else "video",
            "width": self.width,
            "height": self.height,
            "num_frames": self.num_frames,
            "duration_sec": self.num_frames / self.fps,
            "fps": self.fps,
        }


def check_columns(path: str, present: Collection[str], latents: bool) -> None:
    """Raise DataError if a file with the columns ``present`` cannot be trained on."""
    remedy = "`distill data encode` makes data that can be trained on"
    missing = [name for name in CAPTION_COLUMNS if name not in present]
    if missing:
        raise DataError(
            f"{path} lacks {', '.join(missing)}, which both the T2V and the text-only schema have; {remedy}"
        )
    if not latents:
        return
    missing = [name for name in LATENT_COLUMNS if name not in present]
    if len(missing) == len(LATENT_COLUMNS):
        raise DataError(
            f"{path} holds captions only (the text-only schema) and this run needs latents; set data.path to a T2V "
            "data set, as `distill data encode` makes one from a folder of videos"
        )
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)} of the T2V schema; {remedy}")
