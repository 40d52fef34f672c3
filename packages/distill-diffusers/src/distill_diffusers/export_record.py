"""distill.json: what an export knows about itself that diffusers has no key for, and the hashes of its files. Imports no torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from distill_core.durable import SEAL, sealed, unsealed
from distill_core.errors import ModelFolderError
from distill_core.protocols import ValidationRequest
from distill_core.running.content import ContentHashes
from distill_diffusers.json_files import Json, parse, read_object

RECORD = "distill.json"

STREAMED = "only_distill_sample"
"""The library that model_index.json names for a denoiser that makes clips block by block. There is none: a pipeline of diffusers, which
would let its frames see later ones, is refused by this name, and distill reads it as diffusers' own class."""


class RecordedVsa(Json):
    """Video sparse attention that an exported model was trained with."""

    sparsity: Annotated[float, Field(ge=0, lt=1)]
    cube: tuple[int, int, int]


class RecordedSampling(Json):
    """How an exported model wants to be sampled."""

    sampler: Literal["ode", "sde"]
    steps: int
    timesteps: tuple[float, ...] | None = None
    guidance_scale: float = 1.0
    low_noise_guidance_scale: float | None = None
    negative_prompt: str = ""
    vsa: RecordedVsa | None = None
    blocks: int | None = None
    """Latent frames that are made at once, on a stream of those before."""
    window: int | None = None
    sink: int = 0

    @property
    def guided(self) -> bool:
        """Whether guidance leads away from anything."""
        return {self.guidance_scale, self.low_noise_guidance_scale} - {1.0, None} != set()

    @property
    def request(self) -> ValidationRequest:
        """As a request of no role's."""
        return ValidationRequest(
            "",
            sampler=self.sampler,
            steps=self.steps if self.timesteps is None else None,
            timesteps=self.timesteps,
            guidance_scale=self.guidance_scale,
            low_noise_guidance_scale=self.low_noise_guidance_scale,
            attn_kind="dense" if self.vsa is None else "vsa",
            sparsity=None if self.vsa is None else self.vsa.sparsity,
            blocks=self.blocks,
            window=self.window,
            sink=self.sink,
        )


class ExportRecord(Json):
    """The file."""

    model_config = ConfigDict(ser_json_inf_nan="constants")  # a scheduler's config may hold -Infinity

    distill_version: str | None = None
    diffusers_version: str | None = None
    """The diffusers whose scheduler the export was made for."""
    text_length: int | None = None
    flow_shift: float | None = None
    sampling_shift: float | None = None
    """The shift of sampling in a number of steps, where it is not ``flow_shift``."""
    told_guidance: float | None = None
    """The guidance scale that the denoiser is told, where guidance is an input of it."""
    sampling: RecordedSampling | None = None
    latent_shape: tuple[int, int, int, int] | None = None
    """[T, C, H, W] that the model was trained at."""
    base_scheduler: dict[str, Any] | None = None
    """The scheduler config of the many-step pipeline that the export was made from, where the export has another."""
    files: dict[str, str] = Field(default_factory=dict)
    """The SHA-256 of each file of the export, but for its README and this one, by its path in the folder."""


def write_record(folder: Path, record: ExportRecord) -> None:
    """Write an export's distill.json, as its last file: it holds the hashes of the others, and its own."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    names = [file.relative_to(folder).as_posix() for file in files]
    whole = record.model_copy(update={"files": dict(zip(names, ContentHashes(None).of(files), strict=True))})
    (folder / RECORD).write_text(sealed(whole.model_dump(mode="json")), encoding="utf-8")


def read_record(folder: Path) -> ExportRecord:
    """The folder's distill.json; an empty record where it has none. Raises ModelFolderError for one that is not what was exported."""
    path = folder / RECORD
    if not path.is_file():
        return ExportRecord()
    content = read_object(path)
    if SEAL in content:
        try:
            content = unsealed(path.read_bytes())
        except ValueError as error:
            raise ModelFolderError(_changed(folder, [RECORD])) from error
    return parse(ExportRecord, content, path)


def refuse_changes(folder: Path, record: ExportRecord, of: Callable[[str], bool]) -> None:
    """Raise ModelFolderError unless those files of an export that are ``of`` some kind, and there, are to the bit what was exported."""
    names = [name for name in record.files if of(name) and (folder / name).is_file()]
    hashes = ContentHashes(None).of([folder / name for name in names])
    changed = [name for name, found in zip(names, hashes, strict=True) if found != record.files[name]]
    if changed:
        raise ModelFolderError(_changed(folder, changed))


def is_weights(name: str) -> bool:
    """Whether a file holds weights, which are compared when they are loaded; anything else is when the folder is opened."""
    return name.endswith(".safetensors")


def _changed(folder: Path, names: list[str]) -> str:
    return (
        f"{folder}: {', '.join(names)} is not what was exported; copy the export again, or, where the change is meant, remove `files` and "
        f"`{SEAL}` from {RECORD}"
    )
