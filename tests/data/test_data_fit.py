"""distill_core.data.reading.fit: data, model and section agree, or the message says how to make them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from data_sets import FACTS

from distill_core.config.schema import Data
from distill_core.data.reading.dataset import DatasetSummary
from distill_core.data.reading.fit import fitting_shapes
from distill_core.data.reading.kinds import Kind
from distill_core.errors import DataError


def clips(shapes: Mapping[tuple[int, ...], int], widths: tuple[int, ...] = (5,)) -> DatasetSummary:
    """A summary of a T2V data set."""
    kinds = {Kind(shape, (16, width)): rows for shape, rows in shapes.items() for width in widths}
    return DatasetSummary(Path("clips"), True, kinds)


def captions(tokens: int = 16) -> DatasetSummary:
    """A summary of a text-only data set."""
    return DatasetSummary(Path("captions"), False, {Kind(None, (tokens, 5)): 3})


def shape_of(summary: DatasetSummary, section: Data) -> tuple[int, int, int, int]:
    """The only shape of a run on these data."""
    (shape,) = set(fitting_shapes(summary, FACTS, section).values())
    return shape


def section(**keys: Any) -> Data:
    return Data(path="clips", **keys)


def test_the_shape_of_a_run_is_that_of_its_latents_with_frames_first() -> None:
    assert shape_of(clips({(3, 5, 4, 8): 9}), section()) == (5, 3, 4, 8)


def test_longer_latents_are_cut_to_what_is_asked_for() -> None:
    assert shape_of(clips({(3, 5, 4, 8): 9}), section(num_latent_t=2)) == (2, 3, 4, 8)
    assert shape_of(clips({(3, 5, 4, 8): 9}), section(num_frames=5)) == (2, 3, 4, 8)


def test_clips_of_several_shapes_each_have_their_own() -> None:
    summary = clips({(3, 5, 4, 8): 9, (3, 3, 4, 4): 1})
    assert sorted(fitting_shapes(summary, FACTS, section()).values()) == [(3, 3, 4, 4), (5, 3, 4, 8)]


def test_clips_of_several_lengths_have_one_shape_where_they_are_cut_to_the_shortest() -> None:
    summary = clips({(3, 5, 4, 8): 9, (3, 3, 4, 8): 1})
    assert shape_of(summary, section(num_latent_t=3)) == (3, 3, 4, 8)
    with pytest.raises(
        DataError, match=r"4 latent frames are asked for, clips has 3 in 1 of its 10 rows; .* at most 3"
    ):
        fitting_shapes(summary, FACTS, section(num_latent_t=4))


def test_more_frames_than_there_are_is_an_error_that_says_how_many_there_are() -> None:
    with pytest.raises(DataError, match=r"data\.num_latent_t: 6 latent frames are asked for, clips has 5"):
        shape_of(clips({(3, 5, 4, 8): 9}), section(num_latent_t=6))


def test_a_size_in_the_section_must_be_that_of_the_latents() -> None:
    assert shape_of(clips({(3, 5, 4, 8): 9}), section(num_height=32, num_width=64)) == (5, 3, 4, 8)
    with pytest.raises(DataError, match=r"data\.num_width makes 4 latent .*, clips has 8"):
        shape_of(clips({(3, 5, 4, 8): 9}), section(num_height=32, num_width=32))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((16, 2, 4, 4), "they have 16 channels, the model's latents have 3"),
        ((3, 2, 5, 4), "H = 5 is not a multiple of the model's patch size 2"),
        ((3, 9, 4, 4), "T = 9 makes 9 positions, the model has 8"),
    ],
)
def test_latents_of_another_model_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(DataError, match=f"of clips do not fit model: {message}"):
        shape_of(clips({shape: 1}), section())


def test_text_of_another_encoder_is_refused() -> None:
    with pytest.raises(DataError, match="clips have 4, 5 features, the model's have 5; encode the captions with model"):
        shape_of(clips({(3, 2, 4, 4): 1}, widths=(4, 5)), section())


def test_text_longer_than_the_model_reads_is_refused() -> None:
    with pytest.raises(DataError, match="captions has captions of 17 tokens, the model reads 16"):
        shape_of(captions(17), section(num_frames=5, num_height=32, num_width=32))


@pytest.mark.parametrize("frames", [{"num_frames": 9}, {"num_latent_t": 3}, {"num_frames": 9, "num_latent_t": 3}])
def test_captions_alone_take_their_shape_from_the_section(frames: dict[str, int]) -> None:
    assert shape_of(captions(), section(num_height=32, num_width=64, **frames)) == (3, 3, 4, 8)


@pytest.mark.parametrize(
    ("keys", "missing"),
    [
        ({}, r"set data\.num_frames \(or data\.num_latent_t\), data\.num_height, data\.num_width"),
        ({"num_frames": 5, "num_height": 32}, r"set data\.num_width$"),
    ],
)
def test_captions_alone_need_a_shape_and_the_message_names_the_missing_keys(keys: dict[str, int], missing: str) -> None:
    with pytest.raises(DataError, match=missing):
        shape_of(captions(), section(**keys))


def unread(shapes: Mapping[tuple[int, ...], int]) -> DatasetSummary:
    """Clips of a run that reads captions only."""
    return replace(clips(shapes), has_latents=False)


def test_where_latents_are_not_read_their_shape_still_serves_unless_the_section_has_another() -> None:
    summary = unread({(3, 5, 4, 8): 9})
    assert shape_of(summary, section()) == (5, 3, 4, 8)
    assert shape_of(summary, section(num_height=64)) == (5, 3, 8, 8)
    assert shape_of(summary, section(num_latent_t=7)) == (7, 3, 4, 8)


def test_where_latents_are_not_read_a_full_section_settles_several_shapes() -> None:
    summary = unread({(3, 5, 4, 8): 9, (3, 5, 4, 4): 1})
    assert shape_of(summary, section(num_frames=5, num_height=32, num_width=32)) == (2, 3, 4, 4)
    with pytest.raises(DataError, match="several shapes"):
        shape_of(summary, section(num_frames=5, num_height=32))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"num_frames": 8}, r"data\.num_frames: 8 pixel frames .* set it to 5 or 9"),
        ({"num_frames": 9, "num_latent_t": 2}, r"9 pixel frames are 3 latent frames, data\.num_latent_t says 2"),
        ({"num_frames": 5, "num_height": 33}, r"data\.num_height: 33 is not a multiple of 8"),
        ({"num_frames": 5, "num_width": 4}, r"data\.num_width: 4 is not a multiple of 8"),
    ],
)
def test_pixels_that_make_no_latent_are_refused_by_key(keys: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        shape_of(captions(), section(**keys))


def test_captions_cut_for_a_shorter_model_are_refused_and_longer_ones_are_not() -> None:
    summary = replace(captions(tokens=8), text_lengths=(8, FACTS.text_length, 4 * FACTS.text_length))
    asked = section(num_frames=9, num_height=32, num_width=32)
    with pytest.raises(
        DataError,
        match=rf"captions of captions were cut at 8 tokens, .* attends {FACTS.text_length}; encode the captions with",
    ):
        fitting_shapes(summary, FACTS, asked)
    fitting_shapes(replace(summary, text_lengths=summary.text_lengths[1:]), FACTS, asked)
