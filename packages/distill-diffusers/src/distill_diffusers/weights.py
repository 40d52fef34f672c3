"""The files of a part's weights, and what their headers say of its tensors, in milliseconds.

Reads no tensor but small ones that are asked for, and imports no torch, nor safetensors, which imports numpy to open a file. Whether the
tensors are those that they should be is for :mod:`distill_diffusers.stored_part`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill_core.errors import ModelFolderError
from distill_diffusers.json_files import read_object
from distill_diffusers.parts_file import PAGE, PARTS, SINGLE_FILES, refuse_lora
from distill_diffusers.tensor_shapes import Shape

STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
"""What each library calls the weights of a part."""

_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000
_LFS_POINTER = b"version https://git-lfs"
_SHOWN = 3
VARIANTS = ("fp32", "bf16", "fp16")
"""The variants of weights that diffusers and transformers save, the most exact first."""


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


def stored_tensors(part: Path, library: str) -> dict[str, StoredTensor]:
    """Every tensor of a part, by its name. Raises ModelFolderError for files that are missing or damaged."""
    return headers(weight_files(part, library))


def headers(files: Sequence[Path]) -> dict[str, StoredTensor]:
    """Every tensor of some safetensors files, by its name. Raises ModelFolderError for a damaged one."""
    found: dict[str, StoredTensor] = {}
    for file in files:
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
    """The safetensors files that a part is loaded from: those that its index names, or the one that there is, of its variant if need be.

    Raises ModelFolderError where they are not all there, which says what is there instead.
    """
    variant = variant_of(part, library)
    index = part / index_name(library, variant)
    if not index.is_file():
        single = part / single_name(library, variant)
        if single.is_file():
            return [single]
        refuse_lora(part)
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
        raise ModelFolderError(f"{part} lacks {listed(missing)}, which its index names; fetch it again")
    return files


def variant_of(part: Path, library: str) -> str | None:
    """The variant that a part's weights are loaded from: None where plain ones are there, or none at all."""
    present = {
        variant
        for variant in (None, *VARIANTS)
        if any((part / name(library, variant)).is_file() for name in (single_name, index_name))
    }
    return None if None in present else next((variant for variant in VARIANTS if variant in present), None)


def single_name(library: str, variant: str | None = None) -> str:
    """The file of a part's weights, where there is one."""
    return f"{STEMS[library]}.safetensors" if variant is None else f"{STEMS[library]}.{variant}.safetensors"


def index_name(library: str, variant: str | None = None) -> str:
    """The file that says which of several has a tensor."""
    index = f"{STEMS[library]}.safetensors.index"
    return f"{index}.json" if variant is None else f"{index}.{variant}.json"


def _instead(part: Path, single: Path) -> str:
    """What a part holds that has not the weights that are looked for."""
    others = sorted({file.name.split(".")[1] for file in part.glob(f"{single.stem}.*.safetensors")})
    if others:
        return (
            f"{part} holds its weights as the variant {', '.join(others)} alone, and distill loads {', '.join(VARIANTS)}; load the "
            f"pipeline with diffusers (variant={others[0]!r}) and save it with save_pretrained"
        )
    if any(part.glob("*.bin")):
        return (
            f"{part} holds .bin files, which are pickles, and distill loads none; load the pipeline with diffusers and save it "
            "with save_pretrained, which writes safetensors"
        )
    files = sorted(file.name for file in part.iterdir() if file.suffix in SINGLE_FILES)
    if files:
        return (
            f"{part} holds {listed(files)}, and no {single.name}; name a denoiser's file in {PARTS} ({PAGE}), and take any other part from "
            "a folder in diffusers format: it is read as save_pretrained writes it alone"
        )
    return f"{part} holds no {single.name}; the folder is incomplete, fetch it again"


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


def listed(names: Sequence[str]) -> str:
    """Names for a person: the first few, and how many more."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
