"""The two parquet schemas of training data, as other trainers of the field also write them. Knows no file.

"T2V" holds clips: each row a raw latent [C, T, H, W] (not normalised) and an encoded caption [L, D]. "text-only" holds
captions alone. A tensor takes three columns; see :mod:`distill_core.data.reading.tensors`. Last come columns of our own, which nobody
needs in order to train: where a clip was cut out, what was done to it, and the keys that it is found by when it is encoded again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from torch import Tensor

from distill_core.data.reading.tensors import tensor_columns
from distill_core.plugins.columns import Column

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
        pa.field("start_sec", pa.float64()),
        pa.field("changes", pa.list_(pa.string())),
        pa.field("latent_key", pa.string()),
        pa.field("text_key", pa.string()),
    ]
)
TEXT_ONLY_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        *_tensor_fields(TEXT),
        pa.field("caption", pa.string()),
        pa.field("changes", pa.list_(pa.string())),
        pa.field("text_key", pa.string()),
    ]
)


def with_columns(schema: pa.Schema, columns: Sequence[Column]) -> pa.Schema:
    """A schema of training data with further tensors of each row, for whoever writes them (:class:`ParquetWriter`)."""
    return pa.schema([*schema, *(field for column in columns for field in _tensor_fields(column.name))])


def further_tensors(names: Sequence[str]) -> tuple[Column, ...]:
    """The tensors that data hold besides latent and text, by the names of all their columns; nobody has said what they should be."""
    tensors = (name.removesuffix("_bytes") for name in names if name.endswith("_bytes"))
    found = (Column(name, (), "found in the data", "") for name in tensors if name not in (LATENT, TEXT))
    return tuple(column for column in found if set(column.stored) <= set(names))


LATENT_COLUMNS = tuple(field.name for field in _tensor_fields(LATENT))
CAPTION_COLUMNS = ("id", *(field.name for field in _tensor_fields(TEXT)), "caption")
"""The columns that training reads of every row. It asks for no others: more will do, and fewer of the rest."""


@dataclass(frozen=True)
class CaptionRecord:
    """A row of the text-only schema; ``text_LD`` is stored in its own dtype, ``changes`` is what was done to the caption, in words.

    ``tensors`` are the columns that the model's family declares (:func:`with_columns`).
    """

    id: str
    caption: str
    text_LD: Tensor
    text_key: str = ""
    changes: tuple[str, ...] = ()
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def columns(self) -> dict[str, object]:
        """The row, by column."""
        tensors = {TEXT: self.text_LD, **self.tensors}
        stored = {
            name: value for each, tensor in tensors.items() for name, value in tensor_columns(each, tensor).items()
        }
        own = {"changes": list(self.changes), "text_key": self.text_key}
        return {"id": self.id, **stored, "caption": self.caption, **own}


@dataclass(frozen=True)
class ClipRecord:
    """A row of the T2V schema. Width, height (pixels), ``num_frames`` and ``fps`` are those of what was encoded.

    ``start_sec`` is where in its video the clip begins, ``changes`` what was done to it, in words; ``tensors`` are the columns that the
    model's family declares (:func:`with_columns`).
    """

    id: str
    caption: str
    text_LD: Tensor
    latent_CTHW: Tensor
    file_name: str
    width: int
    height: int
    num_frames: int
    fps: float
    start_sec: float = 0.0
    changes: tuple[str, ...] = ()
    latent_key: str = ""
    text_key: str = ""
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def columns(self) -> dict[str, object]:
        """The row, by column."""
        return {
            **CaptionRecord(self.id, self.caption, self.text_LD, self.text_key, self.changes, self.tensors).columns(),
            **tensor_columns(LATENT, self.latent_CTHW),
            "file_name": self.file_name,
            "media_type": "image" if self.num_frames == 1 else "video",
            "width": self.width,
            "height": self.height,
            "num_frames": self.num_frames,
            "duration_sec": self.num_frames / self.fps,
            "fps": self.fps,
            "start_sec": self.start_sec,
            "latent_key": self.latent_key,
        }
