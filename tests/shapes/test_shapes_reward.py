"""The judge made soft: it agrees with the judge on real clips, and its gradient improves a clip in the judge's eyes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from distill_core.errors import DataError
from distill_metric_shapes.captions import SMALL, captions
from distill_metric_shapes.config import ShapesRewardOptions
from distill_metric_shapes.reward import ShapesReward
from distill_metric_shapes.world import make_clip

REWARD = ShapesReward(ShapesRewardOptions())
CLIPS = [make_clip(SMALL, 5, index) for index in range(12)]


def pixels(frames_FHW3: np.ndarray) -> Tensor:
    return torch.from_numpy(frames_FHW3).permute(0, 3, 1, 2).float()[None] / 255.0


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.caption)
def test_a_real_clip_is_rewarded_for_its_own_caption_above_all_others(clip) -> None:
    scores = {caption: REWARD.score(pixels(clip.frames_FHW3), [caption]).item() for caption in captions(SMALL)}
    assert max(scores, key=lambda caption: scores[caption]) == clip.caption
    assert scores[clip.caption] > 0.9


def test_each_thing_that_is_wrong_costs() -> None:
    clip = pixels(next(clip for clip in CLIPS if "moves left" in clip.caption).frames_FHW3)
    words = next(clip for clip in CLIPS if "moves left" in clip.caption).caption.split()
    right = REWARD.score(clip, [" ".join(words)]).item()
    other = {
        1: "yellow" if words[1] != "yellow" else "blue",
        2: "circle" if words[2] != "circle" else "square",
        4: "right",
    }
    for place, word in other.items():
        wrong = " ".join(word if index == place else each for index, each in enumerate(words))
        assert REWARD.score(clip, [wrong]).item() < right - 0.2


def test_its_gradient_reaches_the_pixels_and_improves_them() -> None:
    clip = CLIPS[0]
    generator = torch.Generator().manual_seed(0)
    noisy = (0.6 * pixels(clip.frames_FHW3) + 0.3 * torch.rand(1, 9, 3, 32, 32, generator=generator)).requires_grad_()
    before = REWARD.score(noisy, [clip.caption])
    (gradient,) = torch.autograd.grad(before.sum(), noisy)
    assert gradient.isfinite().all()
    after = REWARD.score(noisy + 0.2 * gradient / gradient.abs().max(), [clip.caption])
    assert after.item() > before.item()


def test_an_empty_clip_is_rewarded_little_and_has_a_finite_gradient() -> None:
    empty = torch.zeros(1, 9, 3, 32, 32, requires_grad=True)
    score = REWARD.score(empty, ["a red square moves left"])
    score.sum().backward()
    assert score.item() < 0.5
    assert empty.grad is not None
    assert empty.grad.isfinite().all()


def test_captions_and_sizes_that_it_cannot_measure_are_refused() -> None:
    with pytest.raises(DataError, match="is no caption of the small shapes world"):
        REWARD.check(["a cat"], (9, 32, 32))
    with pytest.raises(DataError, match="'moves left' is no caption"):  # a motion alone, of the image-to-video world
        REWARD.check(["moves left"], (9, 32, 32))
    with pytest.raises(DataError, match="9 frames of 32×32, this run makes 9 frames of 64×64"):
        REWARD.check(["a red square moves left"], (9, 64, 64))


@pytest.mark.parametrize(
    ("part", "place", "word"), [("colour", 1, "blue"), ("shape", 2, "circle"), ("motion", 4, "up")]
)
def test_a_part_alone_is_all_that_is_looked_at(part: str, place: int, word: str) -> None:
    clip = next(clip for clip in CLIPS if all(each not in clip.caption for each in ("blue", "circle", " up")))
    reward, words = ShapesReward(ShapesRewardOptions(parts=(part,))), clip.caption.split()
    right = reward.score(pixels(clip.frames_FHW3), [clip.caption]).item()
    for index, other in ((1, "blue"), (2, "circle"), (4, "up")):
        changed = " ".join(other if at == index else each for at, each in enumerate(words))
        score = reward.score(pixels(clip.frames_FHW3), [changed]).item()
        assert score < right - 0.5 if index == place else score == pytest.approx(right, abs=0.05)


def test_the_whole_is_the_mean_of_its_parts() -> None:
    clip = CLIPS[3]
    scores = {
        parts: ShapesReward(ShapesRewardOptions(parts=parts)).score(pixels(clip.frames_FHW3), [clip.caption]).item()
        for parts in (("colour",), ("shape",), ("motion",), ("colour", "motion"))
    }
    one = sum(scores[(part,)] for part in ("colour", "shape", "motion"))
    assert REWARD.score(pixels(clip.frames_FHW3), [clip.caption]).item() == pytest.approx(one / 3)
    assert scores["colour", "motion"] == pytest.approx((scores["colour",] + scores["motion",]) / 2)


@pytest.mark.parametrize(("parts", "message"), [((), "at least 1 item"), (("shape", "shape"), "each part counts once")])
def test_parts_that_are_none_or_named_twice_are_refused(parts: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ShapesRewardOptions.model_validate({"parts": parts})
