"""A family on the bench: everything that rules look at, made once of a tiny folder and two clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from torch import Tensor

from distill_core.plugins.loading import load_target
from distill_core.plugins.specs import Inspect, ModelFacts, ModelSpec, Options
from distill_core.protocols.batch import Batch
from distill_core.protocols.condition import Prompt
from distill_core.protocols.data import Row
from distill_core.protocols.model import EncodesColumns, ModelPlugin, ModelRequest
from distill_core.protocols.prediction import Ask, Prediction
from distill_core.protocols.role import PLAIN
from distill_core.protocols.validator import ValidationRequest
from distill_core.testing.findings import Findings
from distill_core.testing.streams import random_streams
from distill_core.training.batches import Batches
from distill_core.training.roles import RoleHandle

CPU = torch.device("cpu")
CAPTIONS = ("a red circle moves up", "a cat")


@dataclass(frozen=True)
class Tried:
    """Where rules are tried: what a family raises is a fault of the rule, and so is a global random state that has moved."""

    findings: Findings

    @contextmanager
    def rule(self, name: str) -> Iterator[None]:
        """Inside, ``name`` is being tried."""
        streams = random_streams()
        with self.findings.border(name):
            yield
        moved = [stream for stream, state in random_streams().items() if state != streams[stream]]
        self.findings.expect(
            not moved,
            "global randomness",
            f"{name}: it moves {' and '.join(moved)}; draw from a torch.Generator of its own, and load under torch.random.fork_rng",
        )

    def expect(self, holds: bool, rule: str, message: str) -> None:
        """Take in a fault unless something holds."""
        self.findings.expect(holds, rule, message)

    def expect_close(self, rule: str, what: str, one: Tensor, other: Tensor, within: float) -> None:
        """Take in a fault unless two tensors agree: |a - b| ≤ within · (1 + |b|)."""
        if one.shape != other.shape:
            self.findings.fault(rule, f"{what}: its shape is {list(one.shape)} instead of {list(other.shape)}")
            return
        gap = ((one.double() - other.double()).abs() / (1.0 + other.double().abs())).max()
        self.expect(bool(gap <= within), rule, f"{what}: they differ by {float(gap):.3g}, more than {within:g}")


class Subject:
    """One family, one folder. Cached properties raise what the family raises, inside the rule that asks first.

    Attributes:
        spec: the family.
        folder: a folder of it, small enough for a CPU.
        options: under which it is tried.
        frames: F, H and W of clips that the folder takes.
        close: the relative difference that the order of sums explains.
    """

    def __init__(
        self, spec: ModelSpec, folder: str, options: Options, frames: tuple[int, int, int], close: float
    ) -> None:
        self.spec = spec
        self.folder = folder
        self.options = options
        self.frames = frames
        self.close = close

    @property
    def inspect(self) -> Inspect:
        """The family's light look."""
        look: Inspect = load_target(self.spec.inspect)
        return look

    @cached_property
    def facts(self) -> ModelFacts:
        """The folder's facts under the options."""
        return self.spec.settle(self.inspect(self.folder), self.options)

    def built(self, facts: ModelFacts, compute: torch.dtype = torch.float32) -> ModelPlugin:
        """The family at run time."""
        made: ModelPlugin = load_target(self.spec.build)(facts, self.options, CPU, compute)
        return made

    @cached_property
    def model(self) -> ModelPlugin:
        """The family at run time, in float32."""
        return self.built(self.facts)

    def loaded(
        self,
        model: ModelPlugin,
        facts: ModelFacts,
        *,
        trainable: bool = False,
        dtype: torch.dtype = torch.float32,
        checkpointing: bool = False,
    ) -> RoleHandle:
        """A role of a folder, loaded for all that the family declares."""
        request = ModelRequest(
            facts,
            trainable,
            dtype,
            gradient_checkpointing=checkpointing,
            attention=self.spec.attention,
            operations=self.spec.operations - facts.lacks,
        )
        return RoleHandle(
            "role",
            model.load_modules(request),
            model.adapter,
            trainable=trainable,
            family=self.spec.name,
            latent_shape=self.shape,
        )

    @cached_property
    def role(self) -> RoleHandle:
        """A frozen role."""
        return self.loaded(self.model, self.facts)

    @cached_property
    def clips(self) -> list[Tensor]:
        """Two clips, uint8 [F, H, W, 3]."""
        drawn = [torch.rand(*self.frames, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
        return [(each * 255.0).to(torch.uint8) for each in drawn]

    @cached_property
    def prompts(self) -> list[Prompt]:
        """The captions, with the pictures that the folder is shown: the clips' own."""
        shown = {"first_frame": 0, "last_frame": -1}
        return [
            Prompt(caption, **{name: clip[shown[name]] for name in self.facts.pictures})
            for caption, clip in zip(CAPTIONS, self.clips, strict=True)
        ]

    @cached_property
    def _files(self) -> TemporaryDirectory[str]:
        """The pictures of the prompts as files, ``<name>-<number>.png``."""
        folder = TemporaryDirectory(prefix="check-model-")
        for number, prompt in enumerate(self.prompts):
            for name, pixels in (("first_frame", prompt.first_frame), ("last_frame", prompt.last_frame)):
                if pixels is not None:
                    Image.fromarray(pixels.numpy()).save(Path(folder.name) / f"{name}-{number}.png")
        return folder

    def shown(self, asked: ValidationRequest) -> ValidationRequest:
        """A request of the kit's captions, with the pictures that the folder is shown."""
        files = {
            name: tuple(str(Path(self._files.name) / f"{name}-{CAPTIONS.index(p)}.png") for p in asked.prompts or ())
            for name in self.facts.pictures
        }
        return replace(asked, first_frames=files.get("first_frame"), last_frames=files.get("last_frame"))

    @cached_property
    def latents(self) -> list[Tensor]:
        """The clips as raw latents [C, T, H, W]."""
        return [self.model.encode_video(clip) for clip in self.clips]

    @cached_property
    def texts(self) -> list[Tensor]:
        """The captions as [L, D]."""
        return list(self.model.encode_caption(CAPTIONS))

    @cached_property
    def shape(self) -> tuple[int, int, int, int]:
        """[T, C, H, W] of the clips' latents."""
        channels, frames, height, width = self.latents[0].shape
        return frames, channels, height, width

    @cached_property
    def rows(self) -> list[Row]:
        """The clips as rows of a data set."""
        return [Row(str(n), CAPTIONS[n], self.texts[n], self.latents[n], 16.0, self.columns[n]) for n in range(2)]

    @cached_property
    def columns(self) -> list[Mapping[str, Tensor]]:
        """What the family declares besides, as ``data encode`` makes it."""
        if not self.facts.columns or not isinstance(self.model, EncodesColumns):
            return [{}, {}]
        return [self.model.encode_columns(*each) for each in zip(self.clips, CAPTIONS, strict=True)]

    def batch_of(self, rows: Sequence[Row]) -> Batch:
        """Rows as the batch of a run whose only family this is."""
        return Batches({self.spec.name: self.model.adapter}, self.facts.latent_space, CPU).prepare(rows, self.shape)

    @cached_property
    def batch(self) -> Batch:
        """Both rows."""
        return self.batch_of(self.rows)

    @cached_property
    def timestep(self) -> Tensor:
        """Two timesteps, one on either side of the middle and of a boundary between experts."""
        return torch.tensor([960.0, 300.0], dtype=torch.float64)

    @cached_property
    def noisy(self) -> Tensor:
        """The batch at its timesteps."""
        noise = torch.randn(2, *self.shape, generator=torch.Generator().manual_seed(9))
        return self.role.add_noise(self.batch.latents, noise, self.timestep)

    def predicted(self, ask: Ask = PLAIN, *, role: RoleHandle | None = None, row: int | None = None) -> Prediction:
        """What a role, else the frozen one, predicts of both rows, or of one alone."""
        asked = self.role if role is None else role
        if row is None:
            return asked.predict(self.noisy, self.timestep, self.batch.condition_of(asked), ask)
        alone = self.batch_of([self.rows[row]])
        own = slice(row, row + 1)
        return asked.predict(self.noisy[own], self.timestep[own], alone.condition_of(asked), ask)

    @cached_property
    def velocity(self) -> Tensor:
        """The frozen role's plain prediction of both rows."""
        return self.predicted().velocity

    def without_latent(self) -> list[Row]:
        """The rows as captions alone."""
        return [replace(row, latent_CTHW=None) for row in self.rows]
