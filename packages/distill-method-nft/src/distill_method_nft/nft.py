"""DiffusionNFT (Zheng et al., arXiv 2509.16117): reinforcement of a flow by its forward process.

An old policy samples a group of clips for each caption; a reward says which are better than their group. The student is then trained by
flow matching on those clips, towards the good and away from the bad. The old policy follows the student, slower and slower.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from distill_core.protocols import Ask, Batch, Draw, Method, Role, StagedLoss, ValidationRequest
from distill_core.training.rewards import rewards_of
from distill_method_nft.config import NftOptions
from distill_method_nft.losses import distance, goodness, implied, nft_loss
from distill_method_nft.walk import Walk, grid


class Nft(Method):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(self, roles: Mapping[str, Role], options: NftOptions) -> None:
        self.student, self.old = roles["student"], roles["old"]
        self.reference = roles["reference"] if options.reference_weight else None
        self.rewards, self.options = rewards_of(roles["rewards"]), options

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """Of each clip of each group, the loss at each of its noise levels, each a share of the step's."""
        options, steps = self.options, grid(self.student, self.options, batch.latent_shape)
        clips = [self._clip(batch, draw.within(f"clip/{number}"), steps) for number in range(options.group_size)]
        good_GB, metrics = self._judged(clips, batch)
        parts = options.group_size * options.timesteps_per_clip
        for number, clip_BTCHW in enumerate(clips):
            for turn in range(options.timesteps_per_clip):
                own = draw.within(f"clip/{number}").within(f"turn/{turn}")
                loss, shown = self._loss(clip_BTCHW, good_GB[number], steps, batch, own)
                yield StagedLoss("student", "nft_loss", loss / parts, {**shown, **metrics})

    @torch.no_grad()
    def _clip(self, batch: Batch, draw: Draw, steps: tuple[float, ...]) -> Tensor:
        """A clip of the old policy for each caption, as latents."""
        noise_BTCHW = draw.normal("start", batch.latent_shape)
        walk = Walk(self.old, batch.condition_of(self.old), self.options, draw)
        return walk.through(noise_BTCHW, (*steps, 0.0))

    @torch.no_grad()
    def _judged(self, clips: list[Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """How good each clip is within its group, [G, B], and what the rewards said."""
        captions = [row.caption for row in batch.rows]
        said = [self.rewards.each(self.student.decode_pixels(clip_BTCHW), captions) for clip_BTCHW in clips]
        reward_GB = torch.stack([self.rewards.total(each) for each in said])
        flat = (reward_GB.std(dim=0, unbiased=False) == 0.0).float().mean()
        metrics = {f"reward/{name}": torch.stack([each[name] for each in said]).mean() for name in said[0]}
        return goodness(reward_GB, self.options.advantage_clip), {
            **metrics, "reward_spread": reward_GB.std(dim=0, unbiased=False).mean(), "flat_groups": flat,
        }  # fmt: skip

    def _loss(
        self, clip_BTCHW: Tensor, good_B: Tensor, steps: tuple[float, ...], batch: Batch, draw: Draw
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one clip of each caption at a drawn noise level, and the squared distance to the reference."""
        options, t_B = self.options, draw.choice("timestep", steps)
        noisy_BTCHW = self.student.add_noise(clip_BTCHW, draw.normal_like("noise", clip_BTCHW), t_B)
        ask = Ask(options.attn_kind)
        velocity_BTCHW = self.student.predict_velocity(noisy_BTCHW, t_B, batch.condition_of(self.student), ask)
        old_BTCHW = self.old.predict_velocity(noisy_BTCHW, t_B, batch.condition_of(self.old), ask)
        plus_B, minus_B = (
            distance(noisy_BTCHW, each, t_B, clip_BTCHW) for each in implied(velocity_BTCHW, old_BTCHW, options.beta)
        )
        value = nft_loss(good_B, plus_B, minus_B, options.beta, options.advantage_clip)
        if self.reference is None:
            return value, {}
        held_BTCHW = self.reference.predict_velocity(noisy_BTCHW, t_B, batch.condition_of(self.reference))
        drift = torch.mean((velocity_BTCHW - held_BTCHW) ** 2)
        return value + options.reference_weight * drift, {"reference_distance": drift.detach()}

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The student, on every step."""
        return ("student",)

    def keeps(self, step: int) -> Mapping[str, float]:
        """The old policy follows the student."""
        return {"old": self.options.keeps(step)}

    def validation(self, step: int) -> ValidationRequest:
        """The student as its clips are sampled for rewards."""
        return self.options.sampling(lambda timestep: timestep)
