"""How a part's weights are stored, and whether they are those that its config.json calls for: from the headers of its files.

Takes what people have on disk: diffusers' own files, plain or a variant; a compiled module's; the original release's, which diffusers'
own conversion renames; ComfyUI's, with a prefix, and in fp8 with scales or without; gguf. What is something else is called by its name.
Imports no torch where names are diffusers' own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path

from distill_core.errors import ModelFolderError
from distill_core.plugins.loading import load_target
from distill_diffusers.json_files import read_object
from distill_diffusers.stored_names import Named, plain
from distill_diffusers.tensor_shapes import Shape
from distill_diffusers.weights import StoredTensor, headers, listed, variant_of, weight_files

GGUF = ".gguf"
PICKLES = (".pth", ".pt")
_FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
_OTHER_NAMES = {"shared.weight": "encoder.embed_tokens.weight"}
"""A tensor that two layers share may be stored under either's name."""


@dataclass(frozen=True)
class Called:
    """What a part is called to be.

    Attributes:
        library: "diffusers" or "transformers".
        class_name: its class there.
        config: the folder of the config.json that says its sizes.
        shapes: the tensors that it calls for; None where nobody has written them down, and only the files are looked at.
        all_of_them: whether those are all that it has, but for ``further``.
        further: parts of the names of tensors that it may have besides.
        denoiser: whether it denoises: such a part is taken in any form that is read, every other only as diffusers saves it.
    """

    library: str
    class_name: str
    config: Path
    shapes: Mapping[str, Shape] | None = None
    all_of_them: bool = False
    further: tuple[str, ...] = ()
    denoiser: bool = False


@dataclass(frozen=True)
class StoredPart:
    """A part's weights as they are stored.

    Attributes:
        place: the part's folder, or a single file.
        files: the files of weights.
        tensors: what is stored, by the names of the class.
        original: whether names are the original release's.
        named: the tensors by the names that the files give them, but for what :mod:`distill_diffusers.stored_names` takes away.
        variant: diffusers' name of the variant, e.g. "fp16".
    """

    place: Path
    files: tuple[Path, ...]
    tensors: Mapping[str, StoredTensor]
    original: bool
    named: Named[StoredTensor]
    variant: str | None

    @property
    def gguf(self) -> bool:
        """Whether it is a gguf file, whose weights are quantized."""
        return self.files[0].suffix == GGUF

    @property
    def fp8(self) -> bool:
        """Whether weights are held in 8 bits of floating point."""
        return any(tensor.dtype.startswith("F8") for tensor in self.named.tensors.values())

    @property
    def plain(self) -> bool:
        """Whether the class's own ``from_pretrained`` reads it."""
        odd = self.original or self.named.compiled or self.named.prefix or self.named.scales or self.fp8
        return self.place.is_dir() and not odd

    @property
    def said(self) -> str:
        """What is special about it, for a person; "" for nothing."""
        found = {
            f"variant {self.variant}": self.variant is not None,
            "the original layout": self.original,
            "ComfyUI's prefix": bool(self.named.prefix),
            "compiled": self.named.compiled,
            "fp8 with scales": self.fp8 and bool(self.named.scales),
            "fp8 without scales": self.fp8 and not self.named.scales,
            f"gguf of {', '.join(sorted({tensor.dtype for tensor in self.named.tensors.values()}))}": self.gguf,
        }
        return ", ".join(what for what, is_so in found.items() if is_so)


def look(place: Path, called: Called) -> StoredPart:
    """A part's folder, e.g. ``FOLDER/vae``, or a single file of its weights.

    Raises ModelFolderError unless it holds every tensor that is called for, in whole files, in a form that is read.
    """
    refuse_quantized(called.config)
    if place.is_dir():
        variant = variant_of(place, called.library)
        files = weight_files(place, called.library)
        read: Callable[[list[Path]], Mapping[str, StoredTensor]] = headers
    else:
        variant, files, read = None, [place], _reader(place)
    named = plain(read(files))
    _refuse_strange(place, named, called)
    wanted = {} if called.shapes is None else called.shapes
    tensors, original = named.tensors, False
    if called.denoiser and _missing(wanted, tensors):
        renamed = _converted(called, tensors)
        original = len(_missing(wanted, renamed)) < len(_missing(wanted, tensors))
        tensors = renamed if original else tensors
    stored = StoredPart(place, tuple(files), tensors, original, named, variant)
    _check(stored, called)
    if original:
        _refuse_lost(stored, called)
    if not stored.plain and not called.denoiser:
        raise ModelFolderError(
            f"{place} holds its weights in a form that distill reads of denoisers alone ({stored.said}); save it anew with save_pretrained"
        )
    return stored


def _reader(file: Path) -> Callable[[list[Path]], Mapping[str, StoredTensor]]:
    """What reads the headers of a single file; where there is none that can be read at once, a library that takes seconds to import."""
    if file.suffix == GGUF and find_spec("gguf") is None:
        raise ModelFolderError(
            f"{file} is a gguf file, which takes the package gguf to read; install it (`pip install gguf`), or name plain weights"
        )
    readers = {GGUF: "distill_diffusers.gguf_files:gguf_headers"} | dict.fromkeys(
        PICKLES, "distill_diffusers.pickles:pickle_headers"
    )
    read: Callable[[list[Path]], Mapping[str, StoredTensor]] = (
        load_target(readers[file.suffix]) if file.suffix in readers else headers
    )
    return read


def _converted(called: Called, tensors: Mapping[str, StoredTensor]) -> Mapping[str, StoredTensor]:
    """The same under the names that diffusers' conversion gives them; as they are, where it has none or takes them for nothing."""
    convert: Callable[..., Mapping[str, StoredTensor]] = load_target("distill_diffusers.conversion:converted_headers")
    return convert(called.class_name, called.config, tensors)


def _missing(wanted: Mapping[str, Shape], found: Mapping[str, object]) -> list[str]:
    return [name for name in wanted if name not in found and _OTHER_NAMES.get(name) not in found]


def _refuse_strange(place: Path, named: Named[StoredTensor], called: Called) -> None:
    """A LoRA, and weights in numbers that are no floating point ones: quantized, in a way that their file alone does not say."""
    if any(".lora_" in name or name.startswith("lora_") for name in named.tensors):
        raise ModelFolderError(
            f"{place} is a LoRA, and no model; name the model that it was trained on, and the LoRA under fixed_loras: [{{path: …}}] "
            "of the role"
        )
    weights = {name: tensor for name, tensor in named.tensors.items() if name.endswith(".weight")}
    strange = sorted(
        {tensor.dtype for tensor in weights.values() if tensor.dtype not in _FLOATS and tensor.file.suffix != GGUF}
    )
    if strange:
        remedy = (
            "name plain weights, or such in fp8, and quantize a frozen role by `weights:` in the run.yaml"
            if called.denoiser
            else "take this part from a folder with plain weights"
        )
        raise ModelFolderError(
            f"{place} holds weights that are quantized ({', '.join(strange)}), and distill loads none; {remedy}"
        )


def _check(stored: StoredPart, called: Called) -> None:
    own = stored.place == called.config
    says = "its config.json" if own else f"{called.config}/config.json"
    remedy = (
        "the folder is incomplete, fetch it again" if own else f"it is of another model than {called.config.parent}"
    )
    wanted = {} if called.shapes is None else called.shapes
    missing = _missing(wanted, stored.tensors)
    if len(missing) == len(wanted) and not own:
        remedy += f", or in a layout that diffusers does not convert to a {called.class_name}"
    if missing:
        raise ModelFolderError(f"{stored.place} lacks {listed(missing)}, which {says} calls for; {remedy}")
    for name, shape in wanted.items():
        found = stored.tensors[name].shape if name in stored.tensors else shape
        if prod(found) != prod(shape) if stored.gguf else found != shape:  # a gguf tensor has four dimensions at most
            raise ModelFolderError(
                f"{stored.place}: {name} has the shape {list(found)}, {says} calls for {list(shape)}; they belong to different models, "
                f"{'fetch the folder again' if own else 'name the base that belongs to it'}"
            )
    further = [
        name for name in stored.tensors if name not in wanted and not any(each in name for each in called.further)
    ]
    if further and called.all_of_them and not own:
        raise ModelFolderError(
            f"{stored.place} has {listed(further)}, which a {called.class_name} of {called.config.parent} has not; name the base that "
            "belongs to it"
        )


def _refuse_lost(stored: StoredPart, called: Called) -> None:
    """Raise ModelFolderError for a release of which diffusers' conversion leaves out what its class has, e.g. norms of a later member."""
    names: Callable[[str, Path], list[str]] = load_target("distill_diffusers.conversion:names_of")
    lost = [name for name in names(called.class_name, called.config) if name not in stored.tensors]
    if lost:
        raise ModelFolderError(
            f"diffusers' conversion makes no {listed(lost)} of {stored.place}, which {called.config}/config.json calls for; name weights "
            "in diffusers format, or the base that the file belongs to"
        )


def refuse_quantized(part: Path) -> None:
    """Raise ModelFolderError for a part whose config.json says that its weights are quantized."""
    quantization = read_object(part / "config.json").get("quantization_config")
    if isinstance(quantization, dict):
        method = quantization.get("quant_method", "an unnamed method")
        raise ModelFolderError(
            f"{part} holds weights that are quantized ({method}), and distill loads none; name a folder with plain weights: a frozen "
            "role is quantized at loading by `weights: nf4` or `int8` in the run.yaml"
        )
