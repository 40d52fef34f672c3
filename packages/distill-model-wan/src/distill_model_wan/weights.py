"""Whether the weights of a part are whole, and those that its config.json calls for: from the headers of its files, in milliseconds.

Reads no tensor and imports no torch, nor safetensors, which imports numpy to open a file. Whether the numbers are any good is not seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from distill_core.errors import ModelFolderError
from distill_model_wan.pipeline_json import TextEncoderConfig, TransformerConfig, VaeConfig, read, read_object
from distill_model_wan.tensor_shapes import Shape, text_encoder_shapes, transformer_shapes, vae_shapes

_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000
_LFS_POINTER = b"version https://git-lfs"
_SHOWN = 3
_OTHER_NAMES = {"shared.weight": "encoder.embed_tokens.weight"}
"""A tensor that two layers share may be stored under either's name."""


def check_weights(part: Path) -> None:
    """Raise ModelFolderError unless ``part``, e.g. ``FOLDER/vae``, holds every tensor that its config.json calls for, in whole files."""
    found: dict[str, Shape] = {}
    for file in weight_files(part):
        found |= _header(file)
    expected = _expected(part)
    missing = [name for name in expected if name not in found and _OTHER_NAMES.get(name) not in found]
    if missing:
        raise ModelFolderError(
            f"{part} lacks {_listed(missing)}, which its config.json calls for; the folder is incomplete, fetch it again"
        )
    for name, shape in expected.items():
        stored = found.get(name, shape)
        if stored != shape:
            raise ModelFolderError(
                f"{part}: {name} has the shape {list(stored)}, its config.json calls for {list(shape)}; they belong to different "
                "models, fetch the folder again"
            )


def _expected(part: Path) -> Mapping[str, Shape]:
    """What the config of a part calls for."""
    path = part / "config.json"
    if part.name == "vae":
        return vae_shapes(read(VaeConfig, path))
    if part.name == "text_encoder":
        return text_encoder_shapes(read(TextEncoderConfig, path))
    return transformer_shapes(read(TransformerConfig, path))


def weight_files(part: Path) -> list[Path]:
    """The safetensors files that a part is loaded from: those that its index names, or the one that there is.

    Raises ModelFolderError where they are not all there.
    """
    stem = "model" if part.name == "text_encoder" else "diffusion_pytorch_model"
    single, index = part / f"{stem}.safetensors", part / f"{stem}.safetensors.index.json"
    if not index.is_file():
        if single.is_file():
            return [single]
        if any(part.glob("*.bin")):
            raise ModelFolderError(
                f"{part} holds .bin files, which are pickles, and distill loads none; load the pipeline with diffusers and save it "
                "with save_pretrained, which writes safetensors"
            )
        raise ModelFolderError(f"{part} holds no {single.name}; the folder is incomplete, fetch it again")
    shards = read_object(index).get("weight_map")
    if not isinstance(shards, dict):
        raise ModelFolderError(f"{index} has no weight_map; fetch it again")
    files = [part / name for name in sorted({str(name) for name in shards.values()})]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelFolderError(f"{part} lacks {_listed(missing)}, which its index names; fetch it again")
    return files


def _header(file: Path) -> dict[str, Shape]:
    """The name and shape of each tensor of a file. Raises ModelFolderError for one that is cut short, or is no safetensors file."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(_LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        text = stream.read(length if length <= min(size, _LONGEST_HEADER) else len(_LFS_POINTER))
    if (start + text).startswith(_LFS_POINTER):
        raise ModelFolderError(f"{file} is git-lfs's pointer to the weights; run `git lfs pull` where it was cloned")
    try:
        tensors = {name: tensor for name, tensor in json.loads(text).items() if name != "__metadata__"}
        ends = [int(tensor["data_offsets"][1]) for tensor in tensors.values()]
        shapes = {name: tuple(tensor["shape"]) for name, tensor in tensors.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelFolderError(f"{file} is no safetensors file, or is damaged; fetch it again") from error
    whole = _LENGTH_BYTES + length + max(ends, default=0)
    if size != whole:
        raise ModelFolderError(f"{file} is damaged: it has {size} bytes, its header speaks of {whole}; fetch it again")
    return shapes


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
