"""The TOML in which musubi-tuner and diffusion-pipe keep their data, as the commands of ``distill data encode`` that make them."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distill_core.protocols.importer import Beside, Remark

_SIZES = "sizes are told to `distill data encode`, a --bucket FRAMESxHEIGHTxWIDTH each (HEIGHTxWIDTH of pictures)"
_PLAIN = {
    "batch_size": "training.train_batch_size is the batch here, of all sizes",
    "caption_prefix": "captions are trained as they are written",
    "max_frames": _SIZES,
    "frame_extraction": "a video's first frames are cut, and further clips by --clips-per-video",
    "frame_stride": "clips of a video follow one another, --clips-per-video",
    "frame_sample": "so many clips of each video are --clips-per-video",
    "source_fps": "--fps is the rate that clips are made of, by their time stamps",
    "caption_extension": "captions are in .txt beside the clips, or in captions.csv, .jsonl and the like",
    "num_repeats": "a data set to be seen more often is one of its own, with `repeats` under data.mix",
    "mask_path": "the loss is of whole frames",
}
"""What else stands in such a file, and what is to be known of it."""
_SAID = frozenset(
    {"path", "resolution", "resolutions", "frame_buckets", "target_frames", "size_buckets", "ar_buckets"}
    | {"video_directory", "image_directory", "video_jsonl_file", "image_jsonl_file"}
)
_SILENT = {"batch_size": 1, "num_repeats": 1, "caption_extension": ".txt", "frame_extraction": "head"}
"""Values of which there is nothing to say."""


@dataclass(frozen=True)
class DataFile:
    """How a trainer writes the file of its data.

    Attributes:
        key: the config's key that names the file.
        lists: the file's list of folders.
        general: its section of what all folders share; "" where that stands at the top.
    """

    key: str
    lists: str
    general: str

    def remarks(self, config: Mapping[str, Any], model: object, beside: Beside) -> Iterator[Remark]:
        """The commands that make the data, and what is lost of each folder; where the file cannot be read, what it has to say."""
        name = str(config[self.key])
        text = beside(name)
        try:
            data = None if text is None else tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            data = None
        folders = [] if data is None else [each for each in _tables(data.get(self.lists)) if _source(each)]
        if data is None or not folders:
            why = "is not beside this config" if text is None else f"has no folders under {self.lists}"
            yield Remark(f"{self.key}: {name}", "data.path", f"{why}, so it was not read; of it, {_SIZES}")
            return
        shared = data.get(self.general, {}) if self.general else {k: v for k, v in data.items() if k != self.lists}
        for folder in folders:
            yield from _folder(name, {**(shared if isinstance(shared, Mapping) else {}), **folder}, model)


def _tables(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _source(folder: Mapping[str, Any]) -> str:
    names = ("path", "video_directory", "image_directory", "video_jsonl_file", "image_jsonl_file")
    return next((str(folder[name]) for name in names if folder.get(name)), "")


def _folder(file: str, folder: Mapping[str, Any], model: object) -> Iterator[Remark]:
    source = _source(folder)
    words = ["distill", "data", "encode", source, "--model", str(model or "MODEL"), "--output", "data"]
    if source.endswith(".jsonl"):
        words[3:4] = [source.rpartition("/")[0] or ".", "--captions", source]
    for bucket in _buckets(folder):
        words += ["--bucket", bucket]
    yield Remark(f"{file}: {source}", "data.path", f"made by `{shlex.join(words)}`; {_SIZES}")
    for key, value in folder.items():
        if key not in _SAID and _SILENT.get(key, value is None) != value:
            yield Remark(f"{file}: {key}: {value}", None, _PLAIN.get(key, "is not asked for here"))


def _buckets(folder: Mapping[str, Any]) -> Iterator[str]:
    """Each size that a folder's clips are made into, as ``--bucket`` takes it; a side alone is a square of it."""
    if folder.get("size_buckets"):
        yield from (_bucket(*size) for size in _pairs(folder["size_buckets"], 3))
        return
    one = folder.get("resolution")
    pairs = _pairs(folder.get("ar_buckets"), 2) or _pairs(folder.get("resolutions", one if one is None else [one]), 2)
    frames = folder.get("frame_buckets", folder.get("target_frames", [1]))
    for width, height in pairs:
        for count in frames if isinstance(frames, list) else [frames]:
            yield _bucket(width, height, count)


def _bucket(width: int, height: int, frames: int) -> str:
    return f"{height}x{width}" if frames == 1 else f"{frames}x{height}x{width}"


def _pairs(value: object, numbers: int) -> list[Sequence[int]]:
    """A list of sizes as sizes of so many whole numbers, the side of a square among them; what is none is left out."""
    found = [[each, each] if isinstance(each, int) else each for each in value] if isinstance(value, list) else []
    return [
        each
        for each in found
        if isinstance(each, list) and len(each) == numbers and all(isinstance(number, int) for number in each)
    ]
