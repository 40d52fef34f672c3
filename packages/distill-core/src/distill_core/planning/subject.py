"""What is planned: a run that is right in itself, where it would compute, and the shape of what it would train on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from distill_core.config.blame import Faults
from distill_core.config.data_sets import hub_data
from distill_core.config.resolve import ResolvedRun, examine
from distill_core.config.schema import Data
from distill_core.errors import ConfigError, PlanError, Problem
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.specs import LatentSpace
from distill_core.ranks.layout import Layout
from distill_core.ranks.place import Place
from distill_core.running.means import refuse_placed
from distill_core.running.preparation import LatentShape, Placement, prepare, refuse_sharding
from distill_core.running.shared_batches import refuse_uneven
from distill_core.running.shared_clips import refuse_shared_clips, refuse_uneven_tokens

_SIZES = "data.num_frames=81 data.num_height=480 data.num_width=832"


@dataclass(frozen=True)
class DataVolume:
    """The data, as far as they are known.

    Attributes:
        rows: how many rows there are; None where the data are not there.
        row_bytes: bytes of a row's tensors on the host.
    """

    rows: int | None
    row_bytes: int


@dataclass(frozen=True)
class Subject:
    """A run to be planned.

    Attributes:
        run: the run.
        placement: where it would compute. The device says CPU wherever that is: what is planned holds nothing.
        latent_shape: [T, C, H, W] of its largest samples.
        text_length: tokens of its longest caption.
        rows: how many rows the data have; None where they are not there.
        on_card: whether it is for a GPU.
        layout: how its ranks hold its models.
    """

    run: ResolvedRun
    placement: Placement
    latent_shape: LatentShape
    text_length: int
    rows: int | None
    on_card: bool
    layout: Layout

    @property
    def ranks(self) -> int:
        """How many processes it is spread over."""
        return self.layout.replicate * self.layout.shard

    @property
    def groups(self) -> int:
        """How many of them, or groups of those that share clips, have samples of their own."""
        return self.ranks // self.layout.context

    @property
    def data(self) -> DataVolume:
        """How much is read."""
        frames, channels, height, width = self.latent_shape
        latents = 2 * frames * channels * height * width if self.run.demands.latents else 0
        return DataVolume(self.rows, latents + 2 * self.text_length * self.run.facts[self.run.lead].text_width)


def subject_of(path: Path, overrides: Sequence[str], index: PluginIndex, *, on_card: bool, ranks: int = 1) -> Subject:
    """The run of a run.yaml, on cards or on this CPU, as so many processes. To be called where all is weightless.

    Raises ConfigError for one that is not right, PlanError for one that cannot be planned.
    """
    run = examine(path, overrides, index).resolved()
    _refuse_untold(run)
    layout = _layout_of(run, ranks)
    precision = run.config.training.precision
    half = precision == "bf16" or (precision == "auto" and on_card)
    placement = Placement(torch.device("cpu"), torch.bfloat16 if half else torch.float32)
    longest = run.facts[run.lead].text_length
    if Path(run.config.data.path).exists() or hub_data(run.config.data.path) is not None:
        prepared = prepare(run, Place(0, ranks, 0))
        kinds = [part.dataset.summary() for part in prepared.dataset.parts]
        longest = min(longest, max(summary.max_text_length for summary in kinds))
        shapes = [bucket.latent_shape for bucket in prepared.plan.buckets]
        return Subject(run, placement, max(shapes, key=_elements), longest, len(prepared.dataset), on_card, layout)
    shape = _asked_shape(run)
    refuse_uneven_tokens(run, shape, [shape], layout)
    return Subject(run, placement, shape, longest, None, on_card, layout)


def _layout_of(run: ResolvedRun, ranks: int) -> Layout:
    """How so many processes hold the run's models. Raises ConfigError for what they cannot share."""
    faults, config = Faults(run.loaded.document, run.loaded.path), run.config
    layout = Layout()
    with faults.at("training", "train_batch_size"):
        refuse_uneven(config, ranks)
    with faults.at("distributed"):
        spread = config.distributed
        layout = Layout.of(spread.replicate, spread.shard, ranks, spread.context)
        refuse_sharding(run, layout)
        refuse_shared_clips(run, layout)
    with faults.at("roles"):
        refuse_placed(config, layout)
    faults.refuse()
    return layout


def _refuse_untold(run: ResolvedRun) -> None:
    """Raise PlanError for families that cannot be made without weights."""
    untold = [name for name, model in run.models.items() if not model.weightless]
    if untold:
        raise PlanError(
            f"model {', '.join(map(repr, untold))} cannot be made without weights (its spec does not say weightless), so what the run "
            "needs cannot be told beforehand; run it for a step instead"
        )


def _elements(shape: LatentShape) -> int:
    frames, channels, height, width = shape
    return frames * channels * height * width


def _asked_shape(run: ResolvedRun) -> LatentShape:
    """The shape that the section ``data`` asks for. Raises ConfigError where it does not say one."""
    data, facts = run.config.data, run.facts[run.lead]
    sizes = _latent_sizes(data, facts.latent_space)
    missing = [key for key, size in sizes.items() if size is None]
    if missing:
        message = f"there is nothing at {data.path}, and {', '.join(missing)} is not given either; add e.g. {_SIZES}"
        raise ConfigError([Problem("data.path", message)], str(run.loaded.path))
    frames, height, width = (size for size in sizes.values() if size is not None)
    shape = (frames, facts.latent_space.channels, height, width)
    if misfit := facts.misfit((shape[1], frames, height, width)):
        raise ConfigError([Problem("data", misfit)], str(run.loaded.path))
    return shape


def _latent_sizes(data: Data, space: LatentSpace) -> Mapping[str, int | None]:
    frames = data.num_latent_t
    if frames is None and data.num_frames is not None:
        frames = space.latent_frames(data.num_frames)
    return {
        "num_frames": frames,
        "num_height": None if data.num_height is None else space.latent_size(data.num_height),
        "num_width": None if data.num_width is None else space.latent_size(data.num_width),
    }
