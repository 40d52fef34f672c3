"""Whether the weights of a part are whole, and those that its config.json calls for: from the headers of its files, in milliseconds.

Reads no tensor but small ones that are asked for, and imports no torch, nor safetensors, which imports numpy to open a file. Whether the
numbers are any good is not seen.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill_core.errors import ModelFolderError
from distill_diffusers.json_files import read_object
from distill_diffusers.tensor_shapes import Shape

STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
"""What each library calls the weights of a part."""

_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000
_LFS_POINTER = b"version https://git-lfs"
_SHOWN = 3
_OTHER_NAMES = {"shared.weight": "encoder.embed_tokens.weight"}
"""A tensor that two layers share may be stored under either's name."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a file's header describes it.

    Attributes:
        file: the file.
        dtype: safetensors' name of the dtype, e.g. "F32".
        shape: its shape.
        start: where its bytes start in the file.
        end: where they end.
    """

    file: Path
    dtype: str
    shape: Shape
    start: int
    end: int


def check_weights(part: Path, library: str, expected: Mapping[str, Shape] | None = None) -> None:
    """Raise ModelFolderError unless ``part``, e.g. ``FOLDER/vae``, holds every tensor that its config.json calls for, in whole files.

    ``expected``: those tensors; None where nobody has written them down, and only the files are looked at.
    """
    _refuse_quantized(part)
    found = stored_tensors(part, library)
    wanted = {} if expected is None else expected
    missing = [name for name in wanted if name not in found and _OTHER_NAMES.get(name) not in found]
    if missing:
        raise ModelFolderError(
            f"{part} lacks {_listed(missing)}, which its config.json calls for; the folder is incomplete, fetch it again"
        )
    for name, shape in wanted.items():
        if name in found and found[name].shape != shape:
            raise ModelFolderError(
                f"{part}: {name} has the shape {list(found[name].shape)}, its config.json calls for {list(shape)}; they belong to "
                "different models, fetch the folder again"
            )


def stored_tensors(part: Path, library: str) -> dict[str, StoredTensor]:
    """Every tensor of a part, by its name. Raises ModelFolderError for files that are missing or damaged."""
    found: dict[str, StoredTensor] = {}
    for file in weight_files(part, library):
        found |= _header(file)
    return found


def stored_vector(part: Path, library: str, name: str) -> tuple[float, ...]:
    """A small tensor of one dimension, e.g. statistics that a family keeps among its weights. Raises ModelFolderError if there is none."""
    tensor = stored_tensors(part, library).get(name)
    if tensor is None:
        raise ModelFolderError(f"{part} lacks {name}; the folder is incomplete, fetch it again")
    formats = {"F64": "d", "F32": "f", "F16": "e", "BF16": "H"}
    if len(tensor.shape) != 1 or tensor.dtype not in formats:
        raise ModelFolderError(
            f"{part}: {name} is a {tensor.dtype} tensor of the shape {list(tensor.shape)}, expected a vector"
        )
    with tensor.file.open("rb") as stream:
        stream.seek(tensor.start)
        content = stream.read(tensor.end - tensor.start)
    values: tuple[float, ...] = struct.unpack(f"<{tensor.shape[0]}{formats[tensor.dtype]}", content)
    if tensor.dtype != "BF16":
        return values
    return struct.unpack(f"<{len(values)}f", b"".join(struct.pack("<HH", 0, int(value)) for value in values))


def weight_files(part: Path, library: str) -> list[Path]:
    """The safetensors files that a part is loaded from: those that its index names, or the one that there is.

    Raises ModelFolderError where they are not all there, which says what is there instead.
    """
    single = part / f"{STEMS[library]}.safetensors"
    index = part / f"{single.name}.index.json"
    if not index.is_file():
        if single.is_file():
            return [single]
        raise ModelFolderError(_instead(part, single))
    shards = read_object(index).get("weight_map")
    if not isinstance(shards, dict):
        raise ModelFolderError(f"{index} has no weight_map; fetch it again")
    names = sorted({str(name) for name in shards.values()})
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise ModelFolderError(f"{index} names {name!r}, which is no file of its folder; fetch the folder again")
    files = [part / name for name in names]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelFolderError(f"{part} lacks {_listed(missing)}, which its index names; fetch it again")
    return files


def _instead(part: Path, single: Path) -> str:
    """What a part holds that has not the weights that are looked for."""
    variants = sorted({file.name.split(".")[1] for file in part.glob(f"{single.stem}.*.safetensors")})
    if variants:
        return (
            f"{part} holds its weights as the variant {', '.join(variants)} alone, and distill loads none; load the pipeline with "
            f"diffusers (variant={variants[0]!r}) and save it with save_pretrained"
        )
    if any(part.glob("*.gguf")):
        return (
            f"{part} holds a .gguf file, which is quantized, and distill loads none; name a folder with plain weights"
        )
    if any(part.glob("*.bin")):
        return (
            f"{part} holds .bin files, which are pickles, and distill loads none; load the pipeline with diffusers and save it "
            "with save_pretrained, which writes safetensors"
        )
    return f"{part} holds no {single.name}; the folder is incomplete, fetch it again"


def _refuse_quantized(part: Path) -> None:
    """Raise ModelFolderError for a part whose config.json says that its weights are quantized."""
    quantization = read_object(part / "config.json").get("quantization_config")
    if isinstance(quantization, dict):
        method = quantization.get("quant_method", "an unnamed method")
        raise ModelFolderError(
            f"{part} holds weights that are quantized ({method}), and distill loads none; name a folder with plain weights, or "
            "dequantize it with diffusers and save it with save_pretrained"
        )


def _header(file: Path) -> dict[str, StoredTensor]:
    """The tensors of a file. Raises ModelFolderError for one that is cut short, or is no safetensors file."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(_LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        text = stream.read(length if length <= min(size, _LONGEST_HEADER) else len(_LFS_POINTER))
    if (start + text).startswith(_LFS_POINTER):
        raise ModelFolderError(f"{file} is git-lfs's pointer to the weights; run `git lfs pull` where it was cloned")
    before = _LENGTH_BYTES + length
    try:
        tensors = {
            name: StoredTensor(
                file, str(entry["dtype"]), tuple(entry["shape"]), *(before + int(end) for end in entry["data_offsets"])
            )
            for name, entry in json.loads(text).items()
            if name != "__metadata__"
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFolderError(f"{file} is no safetensors file, or is damaged; fetch it again") from error
    whole = max((tensor.end for tensor in tensors.values()), default=before)
    if size != whole:
        raise ModelFolderError(f"{file} is damaged: it has {size} bytes, its header speaks of {whole}; fetch it again")
    return tensors


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
