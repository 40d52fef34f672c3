"""A discriminator on the frozen teacher's features of noised clips, at work: what it says of samples, and what it learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from distill_core.protocols import Ask, Batch, Draw, Role, StagedLoss
from distill_matching.discriminator import Discriminator, approximate_r1, discriminator_loss
from distill_matching.options import DiscriminatorOptions
from distill_matching.rollout import StudentSample

ROLE = "discriminator"


class Adversary:
    """The roles "teacher" and "discriminator" of a run, by its options."""

    def __init__(
        self,
        roles: Mapping[str, Role],
        options: DiscriminatorOptions,
        timestep: Callable[[StudentSample, Batch, Draw], Tensor],
    ) -> None:
        """``timestep``: where clips are noised to, float64 [B] in [0, 1000]."""
        module = roles[ROLE].module
        assert isinstance(module, Discriminator)
        self.discriminator, self.teacher, self.options, self.timestep = module, roles["teacher"], options, timestep

    @property
    def layers(self) -> tuple[int, ...]:
        """The teacher's layers that it sees."""
        return self.discriminator.layers

    def logit(self, features: tuple[Tensor, ...]) -> Tensor:
        """What it says of clips by their features, [B]: above 0, that they are real."""
        logit_B: Tensor = self.discriminator(features)
        return logit_B

    def loss(self, sample: StudentSample, batch: Batch, draw: Draw, done: tuple[str, ...] = ()) -> StagedLoss:
        """Real clips against the student's samples, both noised, by what the teacher sees in them. ``done``: who has had its last loss."""
        fake_BTCHW, real_BTCHW = sample.x_BTCHW, batch.latents
        t_B, noise_BTCHW = self.timestep(sample, batch, draw), draw.normal_like("score", fake_BTCHW)
        real_t_B, real_noise_BTCHW = t_B, noise_BTCHW
        if not self.options.gan_same_noise:
            real_t_B = self.timestep(sample, batch, draw.within("real"))
            real_noise_BTCHW = draw.within("real").normal_like("score", fake_BTCHW)
        fake_B = self._judged(fake_BTCHW, noise_BTCHW, t_B, batch)
        real_B = self._judged(real_BTCHW, real_noise_BTCHW, real_t_B, batch)
        value = discriminator_loss(fake_B, real_B)
        right = (fake_B < 0).float().mean() + (real_B > 0).float().mean()
        metrics = {"discriminator_accuracy": right.detach() / 2.0}
        if self.options.gan_r1_weight:
            moved_BTCHW = real_BTCHW + self.options.gan_r1_scale * draw.normal_like("r1", real_BTCHW)
            r1 = approximate_r1(real_B, self._judged(moved_BTCHW, real_noise_BTCHW, real_t_B, batch))
            value, metrics = value + self.options.gan_r1_weight * r1, {**metrics, "r1": r1.detach()}
        return StagedLoss(role=ROLE, name="discriminator_loss", value=value, metrics=metrics, done=done)

    def _judged(self, clean_BTCHW: Tensor, noise_BTCHW: Tensor, timestep_B: Tensor, batch: Batch) -> Tensor:
        """The logit of clips, noised. No gradient goes through the teacher."""
        noisy_BTCHW = self.teacher.add_noise(clean_BTCHW, noise_BTCHW, timestep_B)
        ask = Ask(features=self.layers)
        return self.logit(self.teacher.predict(noisy_BTCHW, timestep_B, batch.condition_of(self.teacher), ask).features)
