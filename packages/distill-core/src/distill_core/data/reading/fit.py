"""Do these data fit this model? Answered before any weight is loaded, from a summary and the model's facts."""

from __future__ import annotations

from collections.abc import Sequence

from distill_core.config.schema import Data
from distill_core.data.reading.dataset import DatasetSummary
from distill_core.data.reading.kinds import Kind, Shape
from distill_core.data.reading.order import LatentShape
from distill_core.errors import DataError
from distill_core.plugins.specs import LatentSpace, ModelFacts


def fitting_shapes(summary: DatasetSummary, facts: ModelFacts, data: Data) -> dict[Kind, LatentShape]:
    """For every kind of row the latent shape [T, C, H, W] that it is trained at.

    It follows from the data where rows come with latents, and from ``data.num_*`` otherwise (what is left out there is
    taken from stored latents, if there are any). Raises DataError if data, model and section ``data`` do not agree.
    """
    _check_text(summary, facts)
    asked_THW = _asked_for(data, facts.latent_space)
    if summary.has_latents:
        _check_agreement(summary, asked_THW)
        found = {kind: _cut(kind.latent_CTHW, asked_THW[0]) for kind in summary.kinds}
    else:
        found = dict.fromkeys(summary.kinds, _asked_shape(summary, facts.latent_space, asked_THW))
    for T, C, H, W in set(found.values()):
        if misfit := facts.misfit((C, T, H, W)):
            raise DataError(
                f"the latents [C, T, H, W] = {[C, T, H, W]} of {summary.path} do not fit {facts.path}: {misfit}"
            )
    return found


def _cut(latent_CTHW: Shape | None, asked_T: int | None) -> LatentShape:
    """The shape [T, C, H, W] that a stored latent is trained at; longer ones lose their last frames."""
    assert latent_CTHW is not None
    C, T, H, W = latent_CTHW
    return (T if asked_T is None else min(asked_T, T), C, H, W)


def _asked_shape(
    summary: DatasetSummary, space: LatentSpace, asked_THW: tuple[int | None, int | None, int | None]
) -> LatentShape:
    """The one shape of a run that reads no latents."""
    stored = {latent_CTHW[1:] for latent_CTHW in summary.latent_shapes}
    if len(stored) > 1 and None in asked_THW:
        raise DataError(_several_shapes(summary))
    stored_THW = next(iter(stored)) if len(stored) == 1 else (None, None, None)
    T, H, W = (found if asked is None else asked for asked, found in zip(asked_THW, stored_THW, strict=True))
    if T is None or H is None or W is None:
        raise DataError(_missing_keys(summary, T, H, W))
    return (T, space.channels, H, W)


def _check_text(summary: DatasetSummary, facts: ModelFacts) -> None:
    """Raise DataError if captions were encoded with another text encoder, or are longer than the model reads."""
    remedy = f"encode the captions with {facts.path}: `distill data encode"
    if summary.text_widths != (facts.text_width,):
        widths = ", ".join(map(str, summary.text_widths))
        raise DataError(
            f"text tokens of {summary.path} have {widths} features, the model's have {facts.text_width}; {remedy}`"
        )
    check_recorded_length(str(summary.path), summary.text_lengths, facts)
    if summary.max_text_length > facts.text_length:
        raise DataError(
            f"{summary.path} has captions of {summary.max_text_length} tokens, "
            f"the model reads {facts.text_length}; {remedy} --text-length {facts.text_length}`"
        )


def check_recorded_length(data: str, lengths: Sequence[int], facts: ModelFacts) -> None:
    """Raise DataError if data record that captions were cut shorter than the model attends; what is lost would be padding to it."""
    shorter = [length for length in lengths if length < facts.text_length]
    if shorter:
        raise DataError(
            f"captions of {data} were cut at {shorter[0]} tokens, for a model that attends no more, and this one attends "
            f"{facts.text_length}; encode the captions with {facts.path}: `distill data encode --text-length {facts.text_length}`"
        )


def _asked_for(data: Data, space: LatentSpace) -> tuple[int | None, int | None, int | None]:
    """T, H and W in latent frames, rows and columns, as far as the section says them."""
    return (
        _asked_frames(data, space),
        _asked_size(data.num_height, "num_height", space),
        _asked_size(data.num_width, "num_width", space),
    )


def _asked_frames(data: Data, space: LatentSpace) -> int | None:
    """T from data.num_latent_t, from data.num_frames or from both, which then must agree."""
    if data.num_frames is None:
        return data.num_latent_t
    latent_frames = space.latent_frames(data.num_frames)
    if latent_frames is None:
        nearest = space.whole_frames(data.num_frames)
        raise DataError(
            f"data.num_frames: {data.num_frames} pixel frames make no whole number of latent frames; "
            f"set it to {nearest} or {nearest + space.temporal_stride}"
        )
    if data.num_latent_t not in (None, latent_frames):
        raise DataError(
            f"data.num_frames: {data.num_frames} pixel frames are {latent_frames} latent frames, "
            f"data.num_latent_t says {data.num_latent_t}; remove one of the two"
        )
    return latent_frames


def _asked_size(pixels: int | None, key: str, space: LatentSpace) -> int | None:
    """Latent rows or columns of a number of pixels."""
    if pixels is None:
        return None
    size = space.latent_size(pixels)
    if size is None:
        raise DataError(
            f"data.{key}: {pixels} is not a multiple of {space.spatial_stride}, the pixels per latent row and column"
        )
    return size


def _check_agreement(summary: DatasetSummary, asked_THW: tuple[int | None, int | None, int | None]) -> None:
    """Raise DataError if the section asks for other latents than the data have."""
    asked_T, *asked_HW = asked_THW
    shortest = min(T for _, T, _, _ in summary.latent_shapes)
    if asked_T is not None and asked_T > shortest:
        raise DataError(
            f"data.num_latent_t: {asked_T} latent frames are asked for, {_lengths(summary, shortest)}; "
            f"set it to at most {shortest}, leave it out, or encode longer clips"
        )
    for axis, key, asked in zip((2, 3), ("num_height", "num_width"), asked_HW, strict=True):
        other = next((shape[axis] for shape in summary.latent_shapes if asked not in (None, shape[axis])), None)
        if other is not None:
            raise DataError(
                f"data.{key} makes {asked} latent rows or columns, {summary.path} has {other}; "
                "remove the key, or encode at that size"
            )


def _lengths(summary: DatasetSummary, shortest: int) -> str:
    """How many latent frames the data have at least, and how many rows have no more."""
    rows = sum(count for shape, count in summary.latent_shapes.items() if shape[1] == shortest)
    return f"{summary.path} has {shortest}" + ("" if rows == summary.rows else f" in {rows} of its {summary.rows} rows")


def _several_shapes(summary: DatasetSummary) -> str:
    """The message for latents of more than one shape that are not read, and a section that does not say all of a shape."""
    counts = ", ".join(f"{list(shape)} in {rows} rows" for shape, rows in sorted(summary.latent_shapes.items()))
    return (
        f"{summary.path} has latents of several shapes [C, T, H, W]: {counts}; this method does not read them, so say which "
        "to train at: set data.num_frames (or data.num_latent_t), data.num_height and data.num_width"
    )


def _missing_keys(summary: DatasetSummary, T: int | None, H: int | None, W: int | None) -> str:
    """The message for captions alone without a size to train at."""
    sizes = {"data.num_frames (or data.num_latent_t)": T, "data.num_height": H, "data.num_width": W}
    missing = ", ".join(key for key, size in sizes.items() if size is None)
    return f"{summary.path} holds captions without latents, so the run must say what size to train at: set {missing}"
