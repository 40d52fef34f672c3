"""Do these data fit this model? Answered before any weight is loaded, from a summary and the model's facts."""

from __future__ import annotations

from distill_core.config.schema import Data
from distill_core.data.dataset import DatasetSummary
from distill_core.errors import DataError
from distill_core.plugins.specs import LatentSpace, ModelFacts


def check_dataset(summary: DatasetSummary, facts: ModelFacts, data: Data) -> tuple[int, int, int, int]:
    """The latent shape [T, C, H, W] of one sample of the run.

    It follows from the data where rows come with latents, and from ``data.num_*`` otherwise (what is left out there is
    taken from stored latents, if there are any). Raises DataError if data, model and section ``data`` do not agree.
    """
    _check_text(summary, facts)
    asked_T, asked_H, asked_W = _asked_for(data, facts.latent_space)
    shapes = {(C, T if asked_T is None else min(asked_T, T), H, W) for C, T, H, W in summary.latent_shapes}
    if len(shapes) > 1 and (summary.has_latents or None in (asked_T, asked_H, asked_W)):
        raise DataError(_several_shapes(summary, asked_T))
    if summary.has_latents:
        latent_CTHW = next(iter(shapes))
        _check_agreement(summary, latent_CTHW, (asked_T, asked_H, asked_W))
    else:
        stored_THW = next(iter(shapes))[1:] if shapes else (None, None, None)
        T, H, W = (
            stored if asked is None else asked
            for asked, stored in zip((asked_T, asked_H, asked_W), stored_THW, strict=True)
        )
        if T is None or H is None or W is None:
            raise DataError(_missing_keys(summary, T, H, W))
        latent_CTHW = (facts.latent_space.channels, T, H, W)
    if misfit := facts.misfit(latent_CTHW):
        raise DataError(
            f"the latents [C, T, H, W] = {list(latent_CTHW)} of {summary.path} do not fit {facts.path}: {misfit}"
        )
    C, T, H, W = latent_CTHW
    return T, C, H, W


def _check_text(summary: DatasetSummary, facts: ModelFacts) -> None:
    """Raise DataError if captions were encoded with another text encoder, or are longer than the model reads."""
    remedy = f"encode the captions with {facts.path}: `distill data encode`"
    if summary.text_widths != (facts.text_width,):
        widths = ", ".join(map(str, summary.text_widths))
        raise DataError(
            f"text tokens of {summary.path} have {widths} features, the model's have {facts.text_width}; {remedy}"
        )
    if summary.max_text_length > facts.text_length:
        raise DataError(
            f"{summary.path} has captions of {summary.max_text_length} tokens, "
            f"the model reads {facts.text_length}; {remedy}"
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
    latent_frames, rest = divmod(data.num_frames - 1, space.temporal_stride)
    latent_frames += 1
    if rest:
        nearest = (latent_frames - 1) * space.temporal_stride + 1
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
    size, rest = divmod(pixels, space.spatial_stride)
    if rest or not size:
        raise DataError(
            f"data.{key}: {pixels} is not a multiple of {space.spatial_stride}, the pixels per latent row and column"
        )
    return size


def _check_agreement(
    summary: DatasetSummary, latent_CTHW: tuple[int, ...], asked_THW: tuple[int | None, int | None, int | None]
) -> None:
    """Raise DataError if the section asks for other latents than the data have."""
    _, *stored_THW = latent_CTHW
    asked_T, *asked_HW = asked_THW
    if asked_T is not None and asked_T > stored_THW[0]:
        raise DataError(
            f"data.num_latent_t: {asked_T} latent frames are asked for, {summary.path} has {stored_THW[0]}; "
            f"set it to at most {stored_THW[0]}, or encode longer clips"
        )
    for key, asked, stored in zip(("num_height", "num_width"), asked_HW, stored_THW[1:], strict=True):
        if asked not in (None, stored):
            raise DataError(
                f"data.{key} makes {asked} latent rows or columns, {summary.path} has {stored}; "
                "remove the key, or encode at that size"
            )


def _several_shapes(summary: DatasetSummary, asked_T: int | None) -> str:
    """The message for latents of more than one shape."""
    counts = ", ".join(f"{list(shape)} in {rows} rows" for shape, rows in sorted(summary.latent_shapes.items()))
    message = (
        f"{summary.path} has latents of several shapes [C, T, H, W]: {counts}; "
        "training on several shapes is not supported yet"
    )
    shortest = min(shape[1] for shape in summary.latent_shapes)
    if len({(C, H, W) for C, _, H, W in summary.latent_shapes}) == 1:
        return f"{message}: set data.num_latent_t to at most {shortest}" + (f", it is {asked_T}" if asked_T else "")
    return f"{message}: encode all clips at one size (`distill data encode --height --width`)"


def _missing_keys(summary: DatasetSummary, T: int | None, H: int | None, W: int | None) -> str:
    """The message for captions alone without a size to train at."""
    sizes = {"data.num_frames (or data.num_latent_t)": T, "data.num_height": H, "data.num_width": W}
    missing = ", ".join(key for key, size in sizes.items() if size is None)
    return f"{summary.path} holds captions without latents, so the run must say what size to train at: set {missing}"
