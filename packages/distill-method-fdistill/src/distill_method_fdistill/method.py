"""f-distill (Xu et al., arXiv 2502.15681): distribution matching whose gradient is weighed, sample by sample, by a density ratio.

DMD2's gradient is that of the reverse Kullback-Leibler divergence. Any other f-divergence weighs each sample with h(r) = r² f''(r), where
r = p_real / p_fake is what a discriminator on the teacher's features says of it. All else is DMD2 with its GAN.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from distill_core.flow import shaped_like
from distill_core.protocols import Batch, Draw, Role, StagedLoss
from distill_matching.adversary import Adversary
from distill_matching.alternating import Alternating
from distill_matching.discriminator import generator_loss
from distill_matching.losses import dmd_loss
from distill_matching.rollout import StudentSample
from distill_method_fdistill.config import FdistillOptions
from distill_method_fdistill.divergences import density_ratio, weight
from distill_method_fdistill.ratio import RatioDiscriminator


class Fdistill(Alternating):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(self, roles: Mapping[str, Role], options: FdistillOptions) -> None:
        super().__init__(roles, options)
        self.options = options
        module = roles["discriminator"].module
        assert isinstance(module, RatioDiscriminator)
        self.ratios, self.judge = module, Adversary(roles, options, self.scores.timestep)
        self.adversary = self.judge

    def student_loss(self, sample: StudentSample, batch: Batch, draw: Draw) -> StagedLoss:
        """½ mean (x - sg(x - h(r) g))² + w · mean softplus(-D(x)), g the gradient of DMD2."""
        scored = self.scores.of(sample, batch, draw, layers=self.judge.layers)
        logit_B = self.judge.logit(scored.features)
        ratio_B = density_ratio(logit_B.detach(), self.options.ratio_min, self.options.ratio_max)
        weight_B = self._weight(ratio_B, scored.timestep_B)
        gradient_BTCHW = self.scores.gradient(scored)
        gan_loss = generator_loss(logit_B)
        metrics = {
            "dmd_gradient_norm": gradient_BTCHW.flatten(1).norm(dim=1).mean(),
            "density_ratio": ratio_B.mean(),
            "divergence_weight": weight_B.mean(),
            "gan_loss": gan_loss.detach(),
        }
        value = dmd_loss(sample.x_BTCHW, shaped_like(weight_B, gradient_BTCHW) * gradient_BTCHW)
        return StagedLoss("student", "student_loss", value + self.options.gan_weight * gan_loss, metrics)

    @torch.no_grad()
    def _weight(self, ratio_B: Tensor, timestep_B: Tensor) -> Tensor:
        """h(r), over its running mean where that is asked for; a mean over the batch would cancel it for a batch of one."""
        weight_B = weight(self.options.divergence, ratio_B)
        if self.options.weight_mean == "none":
            return weight_B
        divided_B = weight_B / self.ratios.mean_at(timestep_B)
        self.ratios.learn(weight_B, timestep_B)
        return divided_B

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """Critic and discriminator on every step, the student too on every ``generator_update_interval``-th, or there in their stead."""
        return self.options.roles_to_step(step)
