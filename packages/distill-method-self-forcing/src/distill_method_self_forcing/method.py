"""CausVid and Self-Forcing: a causal student matches a bidirectional teacher, on noised data or on what it streams itself.

CausVid: Yin et al., arXiv 2412.07772. Self-Forcing: Huang et al., arXiv 2506.08009. They differ in where the student's clips come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from distill_core.protocols import Batch, Draw, Method, Role, StagedLoss
from distill_matching.adversary import Adversary
from distill_matching.alternating import Alternating
from distill_matching.discriminator import generator_loss
from distill_matching.losses import dmd_loss
from distill_matching.rollout import StudentSample
from distill_matching.score_identity import sid_loss
from distill_method_self_forcing.adversarial import Adversarial
from distill_method_self_forcing.config import CausalMatchingOptions, CausvidOptions, SelfForcingOptions
from distill_method_self_forcing.noised import Noised
from distill_method_self_forcing.streamed import Streamed


class CausalMatching(Alternating):
    """A causal student by turns with a critic, and with a discriminator where there is one."""

    def __init__(
        self,
        roles: Mapping[str, Role],
        options: CausalMatchingOptions,
        clips: Callable[[tuple[float, ...]], Callable[[Batch, Draw], StudentSample]],
    ) -> None:
        """``clips``: what makes the student's clips, given its timesteps."""
        super().__init__(roles, options)
        self.options = options
        self.clips = clips(self.steps)
        if options.gan_weight:
            self.adversary = Adversary(roles, options, self.scores.timestep)

    def sample(self, batch: Batch, draw: Draw) -> StudentSample:
        """A clip of the student's."""
        return self.clips(batch, draw)

    def student_loss(self, sample: StudentSample, batch: Batch, draw: Draw) -> StagedLoss:
        """Noise the clip, let critic and teacher denoise it, and bring it nearer to the teacher's distribution by what they say."""
        options, x_BTCHW = self.options, sample.x_BTCHW
        layers = () if self.adversary is None else self.adversary.layers
        scored = self.scores.of(sample, batch, draw, layers=layers, through=options.student_loss == "sid")
        gradient_BTCHW = self.scores.gradient(scored)
        metrics = {"dmd_gradient_norm": gradient_BTCHW.flatten(1).norm(dim=1).mean()}
        if options.student_loss == "sid":
            value = sid_loss(
                x_BTCHW,
                scored.fake_BTCHW,
                scored.real_BTCHW,
                options.sid_alpha,
                floor=options.normalizer_floor,
                floor_as=options.normalizer_floor_as,
                first=sample.first,
            )
        else:
            value = dmd_loss(x_BTCHW, gradient_BTCHW, sample.first)
        if self.adversary is not None:
            gan_loss = generator_loss(self.adversary.logit(scored.features))
            value, metrics = value + options.gan_weight * gan_loss, {**metrics, "gan_loss": gan_loss.detach()}
        return StagedLoss(role="student", name="student_loss", value=value, metrics=metrics)

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """Critic and discriminator on every step, the student too on every ``generator_update_interval``-th."""
        return self.options.roles_to_step(step)


def causvid(roles: Mapping[str, Role], options: CausvidOptions) -> Method:
    """CausVid, by its options' loss."""
    return _made(roles, options, lambda steps: Noised(roles["student"], options, steps))


def self_forcing(roles: Mapping[str, Role], options: SelfForcingOptions) -> Method:
    """Self-Forcing, by its options' loss."""
    return _made(roles, options, lambda steps: Streamed(roles["student"], options, steps))


def _made(
    roles: Mapping[str, Role],
    options: CausalMatchingOptions,
    clips: Callable[[tuple[float, ...]], Callable[[Batch, Draw], StudentSample]],
) -> Method:
    if options.student_loss == "gan":
        return Adversarial(roles, options, clips)
    return CausalMatching(roles, options, clips)
