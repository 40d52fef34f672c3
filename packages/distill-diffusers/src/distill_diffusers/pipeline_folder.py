"""A pipeline folder of diffusers: what a family takes, and whether a folder is that. Reads JSON and headers; imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from distill_core.errors import ForeignPipelineError, ModelFolderError, UnsupportedMemberError
from distill_core.plugins.weightless import is_weightless
from distill_diffusers.export_record import STREAMED, ExportRecord, is_weights, read_record, refuse_changes
from distill_diffusers.foreign_code import refuse_code
from distill_diffusers.hub import fetch, locate
from distill_diffusers.json_files import INDEX, SCHEDULER, Json, parse, read, read_object
from distill_diffusers.parts_file import SINGLE_FILES, how_to_put_together, read_parts, refuse_lora
from distill_diffusers.schedule import shift_of_tokens
from distill_diffusers.stored_part import GGUF, Called, StoredPart, look
from distill_diffusers.tensor_shapes import Shape
from distill_diffusers.weights import STEMS, stored_vector

JsonT = TypeVar("JsonT", bound=Json)

GUIDER = "guider"
"""The part that says how a pipeline guides, of a pipeline whose call does not; an export has one of its own."""
_DESCRIPTIONS = {
    "scheduler": SCHEDULER.partition("/")[2],
    "tokenizer": "tokenizer_config.json",
    "image_processor": "preprocessor_config.json",
    "feature_extractor": "preprocessor_config.json",
    GUIDER: "guider_config.json",
}
"""The parts of a pipeline that are no networks, by how diffusers begins their names, and the file that says what such a part is."""

_PLACES = ("", "transformer", "high_noise_model")
"""Where the config.json of a denoiser lies in a folder that is no pipeline: a part alone, a pipeline's remains, a release of its makers."""


def _no_stranger(_: Mapping[str, Any]) -> str | None:
    return None


@dataclass(frozen=True)
class PipelineKind:
    """What a family takes.

    Attributes:
        name: what people call the family, e.g. "Wan".
        pipeline: its pipeline's class in diffusers.
        parts: the parts that a pipeline has, each with the classes that it may be of; () for any.
        supported: a sentence for who brings another member of the family.
        example: a hub id.
        optional: the parts that a pipeline may go without.
        experts: the parts that denoise; of several, the first those timesteps that are noisier.
        text_parts: the parts that encode captions.
        also: further pipeline classes whose folders it takes.
        others: of other classes, of pipelines and of denoisers, what they are.
        stranger: what a denoiser's config.json says that it is, where its class does not: a member that the family does not take; None
            for one that it may take.
        originals: files by which another format of the same weights is known, and what that is.
        shapes: of a part, every tensor that its config.json calls for.
        key_shapes: of a part, those tensors by which its weights and its config.json would disagree, where nobody has written down all. A
            part that is in neither is checked for whole files alone.
        further: parts of the names of tensors that a denoiser may have besides ``shapes``.
        dynamic_shift: (scheduler's config, tokens, steps or None for training) to the flow shift of a scheduler that makes none itself.
    """

    name: str
    pipeline: str
    parts: Mapping[str, tuple[str, ...]]
    supported: str
    example: str
    optional: frozenset[str] = frozenset()
    experts: tuple[str, ...] = ("transformer",)
    text_parts: tuple[str, ...] = ("tokenizer", "text_encoder")
    also: tuple[str, ...] = ()
    others: Mapping[str, str] = field(default_factory=dict)
    stranger: Callable[[Mapping[str, Any]], str | None] = _no_stranger
    originals: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, Callable[[Path], Mapping[str, Shape]]] = field(default_factory=dict)
    key_shapes: Mapping[str, Callable[[Path], Mapping[str, Shape]]] = field(default_factory=dict)
    further: tuple[str, ...] = ()
    dynamic_shift: Callable[[Mapping[str, Any], int, int | None], float] = shift_of_tokens

    def unlike(self, place: Path) -> str | None:
        """What the config.json in a folder says that is not taken, e.g. "a Wan VACE (video editing)"; None where it says none."""
        file = place / "config.json"
        if not file.is_file():
            return None
        config = read_object(file)
        what = self.others.get(str(config.get("_class_name")))
        return self.stranger(config) if what is None else what


@dataclass(frozen=True)
class Part:
    """One part of a pipeline, as model_index.json names it.

    Attributes:
        name: the pipeline's name for it, which is its folder's too.
        library: "diffusers" or "transformers".
        class_name: its class there.
    """

    name: str
    library: str
    class_name: str

    @property
    def description(self) -> str:
        """The file that says what the part is, within its folder."""
        files = (file for beginning, file in _DESCRIPTIONS.items() if self.name.startswith(beginning))
        return next(files, "config.json")

    @property
    def has_weights(self) -> bool:
        """Whether it is a network."""
        return self.description == "config.json"


@dataclass(frozen=True)
class PipelineFolder:
    """A folder that is a pipeline of the family's.

    Attributes:
        path: where it is on this disk.
        hub_id: the hub id whose snapshot it is, or None.
        kind: what the family takes.
        parts: the parts that it has.
        index: model_index.json.
        record: distill.json; empty where there is none.
        denoisers: of a denoiser whose weights come from elsewhere (parts.json), the file or folder that they are in.
    """

    path: Path
    hub_id: str | None
    kind: PipelineKind
    parts: Mapping[str, Part]
    index: Mapping[str, Any]
    record: ExportRecord
    denoisers: Mapping[str, Path] = field(default_factory=dict)

    @property
    def pipeline(self) -> str:
        """The class of the pipeline that it is."""
        return str(self.index["_class_name"])

    @property
    def experts(self) -> tuple[str, ...]:
        """The parts that denoise."""
        return tuple(name for name in self.kind.experts if name in self.parts)

    @property
    def frozen_alone(self) -> str:
        """Why no role can train all of its weights; empty where one can."""
        quantized = [str(place) for place in self.denoisers.values() if place.suffix == GGUF]
        return f"{', '.join(quantized)} is quantized" if quantized else ""

    @property
    def lent(self) -> tuple[str, ...]:
        """The parts that are not trained: what encodes videos and captions."""
        return tuple(
            name for name in self.kind.parts if name in self.parts and name not in (*self.experts, "scheduler", GUIDER)
        )

    @property
    def scheduler(self) -> dict[str, Any]:
        """The config of the many-step scheduler: of an export, that of the folder that it was made from."""
        recorded = self.record.base_scheduler
        return read_object(self.path / SCHEDULER) if recorded is None else recorded

    def config(self, kind: type[JsonT], part: str) -> JsonT:
        """The config.json of a part. Raises ModelFolderError naming every key at fault."""
        return read(kind, self.described_in(part) / "config.json")

    def described_in(self, part: str) -> Path:
        """The folder of the file that says what a part is."""
        place = self.denoisers.get(part)
        own = None if place is None else place / "config.json"
        if place is None or own is None or not own.is_file():
            return self.path / part
        return place if read_object(own).get("_class_name") in self.kind.parts[part] else self.path / part

    def stored(self, part: str) -> StoredPart:
        """How the weights of a part are stored. Raises ModelFolderError for weights that are not those of its config.json."""
        return look(self.denoisers.get(part, self.path / part), self.called(part))

    def called(self, part: str) -> Called:
        """What the part is to be, by its config.json."""
        found, place = self.parts[part], self.described_in(part)
        shapes = self.kind.shapes.get(part, self.kind.key_shapes.get(part))
        return Called(
            found.library,
            found.class_name,
            place,
            None if shapes is None else shapes(place),
            all_of_them=part in self.kind.shapes,
            further=self.kind.further,
            denoiser=part in self.kind.experts,
        )

    def described(self, summary: str) -> str:
        """A line about the folder, and after it what is special about the weights of its denoisers."""
        for part in self.experts:
            here = part in self.denoisers or self.hub_id is None
            said = self.stored(part).said if here and not is_weightless() else ""
            origin = f" from {self.denoisers[part]}" if part in self.denoisers else ""
            if origin or said:
                summary += f"; {part}{origin}{f' ({said})' if said else ''}"
        return summary

    def refuse_mismatch(self, one: str, one_size: int, other: str, other_size: int, what: str) -> None:
        """Raise ModelFolderError where two parts disagree about a size, e.g. ``what`` = "features of text"."""
        if one_size != other_size:
            raise ModelFolderError(
                f"{self.path}: its {one} takes {one_size} {what}, its {other} gives {other_size}; they belong to different models"
            )

    def settings(self, kind: type[JsonT]) -> JsonT:
        """What model_index.json says besides the parts. Raises ModelFolderError naming every key at fault."""
        return parse(kind, self.index, self.path / INDEX)

    def fetch(self, part: str) -> None:
        """Make sure that the files of one part are on this disk; where all is weightless, its description is enough."""
        if is_weightless() or part in self.denoisers:
            return
        fetch(self.path, self.hub_id, part)

    def vector(self, part: str, name: str, size: int) -> tuple[float, ...]:
        """A small tensor of ``size`` numbers of a part's weights, which are fetched where they are a hub's. Raises ModelFolderError.

        Where all is weightless, ones.
        """
        if is_weightless():
            return (1.0,) * size
        self.fetch(part)
        return stored_vector(self.path / part, self.parts[part].library, name)

    def check_part(self, part: str) -> None:
        """Raise ModelFolderError unless the part is whole, as far as its files are on this disk; weightless, has a description."""
        found, place = self.parts[part], self.described_in(part)
        if is_weightless() and not found.has_weights:
            return
        if not (place / found.description).is_file():
            raise ModelFolderError(
                f"{self.path} lacks {part}/{found.description}; the folder is incomplete, fetch it again"
            )
        refuse_code(place)
        if found.has_weights and not is_weightless():
            self.stored(part)

    def check_bytes(self, part: str) -> None:
        """Raise ModelFolderError unless the weights of a part of an export are, to the bit, what was exported."""
        if part in self.denoisers:
            return  # they come from elsewhere
        refuse_changes(self.path, self.record, lambda name: is_weights(name) and name.startswith(f"{part}/"))

    def check_parts(self) -> None:
        """Raise ModelFolderError unless every part is whole; of a hub's, weights come later, and are checked when they are loaded."""
        for name, part in self.parts.items():
            if self.hub_id is None or name in self.denoisers or not part.has_weights:
                self.check_part(name)


def open_folder(path: str, kind: PipelineKind) -> PipelineFolder:
    """The folder that a path or a hub id means, if it is a pipeline of ``kind``. Raises ModelFolderError that names what it is instead.

    Only model_index.json is looked at; :meth:`PipelineFolder.check_parts` looks at the rest.
    """
    single = Path(path).expanduser()
    if single.is_file():
        raise ForeignPipelineError(
            f"{path} is a file; {_alone(single, kind.experts[0], kind.example)}", f"{path} is a file; {_alone(single)}"
        )
    located, denoisers = locate(path), {}
    put_together = read_parts(located.folder, kind.experts)
    if put_together is not None:
        located, denoisers = locate(put_together.base), dict(put_together.denoisers)
        for place in denoisers.values():
            refuse_others(place, kind, ("",))
    folder = located.folder
    if not (folder / INDEX).is_file():
        raise _no_pipeline(folder, kind)
    record = read_record(folder)
    refuse_changes(folder, record, lambda name: not is_weights(name))
    index = read_object(folder / INDEX)
    class_name = str(index.get("_class_name"))
    _refuse_class(folder, class_name, kind)
    parts = {name: part for name in kind.parts if (part := _part(name, index.get(name))) is not None}
    refuse_others(folder, kind, kind.experts)
    missing = [name for name in kind.parts if name not in parts and name not in kind.optional]
    if missing:
        raise ModelFolderError(f"{folder} lacks {', '.join(missing)}; a {kind.name} pipeline saved whole has them")
    for name, part in parts.items():
        expected = kind.parts[name]
        if part.library not in STEMS or (expected and part.class_name not in expected):
            wanted = " or ".join(expected) or "one of diffusers or transformers"
            raise ModelFolderError(f"{folder}: its {name} is a {part.class_name}, expected {wanted}. {kind.supported}")
    absent = [name for name in denoisers if name not in parts]
    if absent:
        raise ModelFolderError(
            f"{path} names weights of {', '.join(absent)}, and {folder} has no such part; name another base"
        )
    return PipelineFolder(folder, located.hub_id, kind, parts, index, record, denoisers)


def _refuse_class(folder: Path, class_name: str, kind: PipelineKind) -> None:
    """Raise ModelFolderError for a pipeline of a class that the family does not take, by what that is."""
    if class_name in kind.others:
        raise UnsupportedMemberError(f"{folder} is {kind.others[class_name]}, which is not supported. {kind.supported}")
    if class_name not in (kind.pipeline, *kind.also):
        what = f"{folder} is a pipeline of class {class_name}, which is not supported"
        raise ForeignPipelineError(f"{what}. {kind.supported}", what)


def refuse_others(folder: Path, kind: PipelineKind, places: Sequence[str]) -> None:
    """Raise UnsupportedMemberError where a config.json in one of a folder's places is that of a member that is not taken."""
    for place in places:
        what = kind.unlike(folder / place)
        if what is not None:
            raise UnsupportedMemberError(f"{folder} is {what}, which is not supported. {kind.supported}")


def _part(name: str, entry: object) -> Part | None:
    """An entry of model_index.json, e.g. ["diffusers", "AutoencoderKLWan"]; None for a part that the pipeline goes without."""
    match entry:
        case [str(library), str(class_name)]:
            return Part(name, "diffusers" if library == STREAMED else library, class_name)
        case _:
            return None


def _no_pipeline(folder: Path, kind: PipelineKind) -> ModelFolderError:
    """The error of a folder without an index: what it seems to be, and what was expected."""
    refuse_others(folder, kind, _PLACES)
    fault = f"{folder} is no diffusers pipeline folder: it has no {INDEX}"
    if (folder.parent / INDEX).is_file():
        return ModelFolderError(f"{fault}; it is a part of one; name {folder.parent}")
    for file, what in kind.originals.items():
        if (folder / file).is_file():
            remedy = "name the one in diffusers format (its name ends in -Diffusers)"
            return ModelFolderError(f"{fault}; it is {what}; {remedy}")
    refuse_lora(folder)
    config = folder / "config.json"
    class_name = read_object(config).get("_class_name") if config.is_file() else None
    part = next((name for name in kind.experts if class_name in kind.parts[name]), None)
    if part is not None:
        remedy = how_to_put_together(str(folder), part, kind.example)
        return ModelFolderError(f"{fault}; it is a {class_name} alone; {remedy}")
    files = sorted(file for file in folder.iterdir() if file.suffix in SINGLE_FILES) if folder.is_dir() else []
    if files:
        held = f"{fault}; it holds single files; of {files[0].name}, if that is the denoiser, "
        return ForeignPipelineError(
            held + _alone(files[0], kind.experts[0], kind.example), what=held + _alone(files[0])
        )
    return ForeignPipelineError(
        f"{fault}; expected what {kind.pipeline}.save_pretrained writes, or a hub id such as {kind.example}",
        what=f"{fault}; expected what the save_pretrained of a pipeline writes, or a hub id",
    )


def _alone(file: Path, part: str = "transformer", base: str = "THE PIPELINE'S FOLDER OR HUB ID") -> str:
    """What to do with a single file of weights, if it is those of that part, of a pipeline like ``base``."""
    if file.suffix not in SINGLE_FILES:
        return "expected the folder of a diffusers pipeline"
    return how_to_put_together(str(file), part, base)
