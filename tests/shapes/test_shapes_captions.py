"""examples/shapes/captions.py: the grammar and the held-out compositions."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest

from distill_core.errors import DataError
from distill_metric_shapes.captions import (
    LARGE,
    MEDIUM,
    SMALL,
    Setting,
    Thing,
    caption_of,
    captions,
    parse,
    scenes,
    vocabulary,
)


def test_the_small_world_says_48_things_in_13_words() -> None:
    said = captions(SMALL)
    assert len(set(said)) == len(said) == 48
    assert said[0] == "a red square moves left"
    assert len({word for caption in said for word in caption.split()}) == 13


def test_the_vocabulary_holds_every_word_of_both_worlds_and_the_small_one_first() -> None:
    words = vocabulary()
    assert len(set(words)) == len(words)
    assert set(words[:13]) == {word for caption in captions(SMALL) for word in caption.split()}
    assert set(words) == {word for caption in captions(LARGE) for word in caption.split()}


@pytest.mark.parametrize("setting", [SMALL, MEDIUM, LARGE])
def test_held_out_captions_and_training_captions_are_disjoint_and_cover_all(setting: Setting) -> None:
    kept, held = set(captions(setting, "exclude")), set(captions(setting, "only"))
    assert kept
    assert held
    assert not kept & held
    assert kept | held == set(captions(setting))


def test_six_compositions_are_held_out_and_every_pair_of_their_words_is_seen_in_training() -> None:
    held = [scene[0] for scene in scenes(SMALL, 1, "only")]
    assert len(held) == 6
    assert all(count <= 2 for count in Counter(word for thing in held for word in _words(thing)).values())
    assert set(SMALL.colours) | set(SMALL.shapes) | set(SMALL.motions) == {
        word for thing in held for word in _words(thing)
    }
    kept_pairs = {pair for scene in scenes(SMALL, 1, "exclude") for pair in combinations(_words(scene[0]), 2)}
    every_pair = {pair for scene in scenes(SMALL, 1) for pair in combinations(_words(scene[0]), 2)}
    assert kept_pairs == every_pair


def _words(thing: Thing) -> tuple[str, str, str]:
    return (thing.colour, thing.shape, thing.motion)


def test_a_scene_is_held_out_if_one_of_its_things_is() -> None:
    held = set(scenes(LARGE, 1, "only"))
    assert all(any((thing,) in held for thing in scene) for scene in scenes(LARGE, 2, "only"))
    assert not any((thing,) in held for scene in scenes(LARGE, 2, "exclude") for thing in scene)


@pytest.mark.parametrize("setting", [SMALL, MEDIUM, LARGE])
def test_parsing_a_caption_gives_back_its_things(setting: Setting) -> None:
    for count in range(1, setting.most_things + 1):
        for scene in scenes(setting, count)[::97]:
            assert parse(caption_of(scene), setting) == scene


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "a red square",
        "a red square moves sideways",
        "the red square moves left",
        "a pink square moves left",
        "a red star moves left",
        "a red square grows",
        "a red square moves left and a blue circle moves up",
    ],
)
def test_a_caption_outside_the_small_grammar_is_refused_with_an_example(caption: str) -> None:
    with pytest.raises(DataError, match="is no caption of the small shapes world; one is 'a red square moves left'"):
        parse(caption, SMALL)


def test_two_things_of_one_colour_are_refused() -> None:
    with pytest.raises(DataError, match="names one colour twice"):
        parse("a red square moves left and a red circle stays", LARGE)
