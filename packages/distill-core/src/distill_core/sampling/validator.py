"""The default validator: samples what a method asks for, writes mp4 files or pictures, tells the trackers."""

from __future__ import annotations

import hashlib
import itertools
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from distill_core.config.sampled import Validation, completed
from distill_core.protocols.model import Sampler
from distill_core.protocols.tracker import Tracker
from distill_core.protocols.validator import SampledVideo, ValidationRequest
from distill_core.ranks.ranks import ALONE, Ranks
from distill_core.redaction import redact_text
from distill_core.sampling.measures import Measures
from distill_core.sampling.side_by_side import SideBySide
from distill_core.sampling.stream_speed import StreamSpeed, Timed
from distill_core.stopping import Stopping
from distill_core.tracking.events import Events
from distill_core.tracking.progress import Progress
from distill_core.training.roles import RoleHandle
from distill_core.video.samples import write_sample

VALIDATION = "validation/"
"""What the names of a validation's figures begin with."""


def slug(prompt: str, length: int = 48) -> str:
    """A prompt as part of a file name: letters, digits and hyphens only, so that it cannot leave its folder; no secrets."""
    return re.sub(r"[^a-z0-9]+", "-", redact_text(prompt).lower()).strip("-")[:length] or "empty"


def tracked_name(index: int, video: SampledVideo) -> str:
    """What a tracker calls a video: another for each video of a request, whatever its prompt; the same at each step."""
    digest = hashlib.blake2b(video.prompt.encode("utf-8", "replace"), digest_size=4).hexdigest()
    return f"samples/{index:02d}-{slug(video.prompt)}-{digest}-seed{video.seed}"


def distinct_slugs(names: Iterable[str]) -> dict[str, str]:
    """A slug for each name, no two alike: where letters are lost in it, a number tells them apart."""
    slugs: dict[str, str] = {}
    for name in names:
        plain = slug(name)
        numbered = (f"{plain}-{number}" for number in itertools.count(2))
        slugs[name] = (
            plain if plain not in slugs.values() else next(each for each in numbered if each not in slugs.values())
        )
    return slugs


class VideoValidator:
    """The :class:`distill_core.protocols.Validator` of every run; the family brings the sampler.

    Training is left as it was: the averaged weights are swapped in and out bitwise, and samplers draw from generators of their own.
    """

    def __init__(
        self,
        sampler: Sampler,
        roles: Mapping[str, RoleHandle],
        settings: Validation,
        prompts: tuple[str, ...],
        latent_shape: tuple[int, int, int, int],
        folder: Path,
        *,
        sparsity: float,
        measures: Measures,
        tracker: Tracker,
        events: Events,
        progress: Progress,
        stopping: Stopping,
        ranks: Ranks = ALONE,
    ) -> None:
        self.roles = roles
        self.settings = settings
        self.prompts = prompts
        self.latent_shape = latent_shape
        self.folder = folder
        self.sparsity = sparsity
        self.measures = measures
        self.tracker = tracker
        self.events = events
        self.progress = progress
        self.ranks = ranks
        self.sampling = SideBySide(sampler, ranks, stopping)

    def validate(self, request: ValidationRequest, step: int) -> list[Path]:
        """Sample, write ``samples/step-…/NN-prompt-seedS.mp4`` (.png of one frame), measure, track.

        A file that cannot be written is an event, no end.

        Between two samples this ends if the process was asked to leave; then nothing is measured or tracked. Of several ranks the first
        writes what all have sampled.
        """
        full = completed(request, self.settings, self.prompts, self.sparsity)
        folder = self.folder / f"step-{step:08d}"
        if self.ranks.first:
            folder.mkdir(parents=True, exist_ok=True)
        role = self.roles[full.role]
        written: dict[Path, tuple[str, str]] = {}
        videos: list[SampledVideo] = []  # kept for the metrics, which measure a set
        timed: list[Timed] = []
        began = time.monotonic()
        with self.progress.aside(f"sampling at step {step}"), role.averaged():
            for index, video in enumerate(self.sampling.videos(role, full, self.latent_shape)):
                timed.append((len(video.frames), video.times))
                if self.measures.metrics:
                    videos.append(video)
                place = folder / f"{index:02d}-{slug(video.prompt)}-seed{video.seed}"
                try:
                    path = write_sample(place, video.frames, self.settings.fps)
                except OSError as error:
                    self.events.warn("sample_not_written", f"{place} could not be written: {error}", step=step)
                    continue
                written[path] = (tracked_name(index, video), video.prompt)
        if self.sampling.broken_off:
            return list(written)
        for path, (name, prompt) in written.items():
            self.tracker.video(name, path, prompt, step)
        figures: dict[str, float] = {}
        if written:
            figures[f"{VALIDATION}seconds_per_clip"] = (time.monotonic() - began) / len(written)
        speed = StreamSpeed.of(timed)
        if speed is not None:
            figures |= {f"{VALIDATION}{name}": value for name, value in speed.figures.items()}
        if videos:
            measured = self.measures.figures(videos, self.events)
            figures |= {f"{VALIDATION}{name}": value for name, value in measured.items()}
            shown = "  ".join(f"{name} {measured[name]:.3f}" for name in self.measures.headline if name in measured)
            self.progress.say(f"step {step}: {shown}")
        if figures:
            self.tracker.log(figures, step)
        return list(written)
