"""The soft judge as a reward of any method that raises one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distill_metric_shapes.captions import SETTINGS, parse
from distill_metric_shapes.config import ShapesRewardOptions
from distill_metric_shapes.metric import check_clips
from distill_metric_shapes.soft import soft_verdict


class ShapesReward:
    """The :class:`distill_core.protocols.Reward`."""

    def __init__(self, options: ShapesRewardOptions) -> None:
        self.setting, self.parts = SETTINGS[options.setting], options.parts

    def check(self, prompts: Sequence[str], shape_FHW: tuple[int, int, int]) -> None:
        """Raises DataError for a caption outside the grammar, or clips of another size than the setting's."""
        check_clips(prompts, shape_FHW, self.setting)
        for prompt in prompts:
            parse(prompt, self.setting)  # the metric also takes a motion alone, beside the picture that shows the rest

    def score(self, pixels_BFCHW: Tensor, captions: Sequence[str]) -> Tensor:
        """How well each clip shows its caption, [B] in [0, 1]."""
        things = [parse(caption, self.setting)[0] for caption in captions]
        pairs = zip(pixels_BFCHW.float(), things, strict=True)
        return torch.stack([soft_verdict(video, thing, self.setting, self.parts) for video, thing in pairs])
