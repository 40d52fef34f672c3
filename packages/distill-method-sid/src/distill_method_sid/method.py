"""SiD and SGMD: the student's loss is a function of the two scores, and its gradient goes through the networks that give them.

DMD2 holds both scores constant. Here the loss itself is a divergence, so that critic (and for SiD the teacher) are differentiated with
respect to the sample. Neither is trained by it: the trainer keeps a loss from roles that it does not name.
"""

from __future__ import annotations

from collections.abc import Mapping

from distill_core.protocols import Batch, Draw, Role, StagedLoss
from distill_matching.alternating import Alternating
from distill_matching.rollout import StudentSample
from distill_matching.score_identity import sid_loss
from distill_method_sid.config import SgmdOptions, SidOptions
from distill_method_sid.losses import correction, fisher_term


class Sid(Alternating):
    """The :class:`distill_core.protocols.Method` of SiD (arXiv 2404.04057)."""

    def __init__(self, roles: Mapping[str, Role], options: SidOptions) -> None:
        super().__init__(roles, options)
        self.options, self.up_to_step = options, options.score_ceiling == "step"

    def student_loss(self, sample: StudentSample, batch: Batch, draw: Draw) -> StagedLoss:
        """The score identity's loss (:func:`~distill_matching.score_identity.sid_loss`)."""
        scored = self.scores.of(sample, batch, draw, through=True)
        value = sid_loss(scored.x_BTCHW, scored.fake_BTCHW, scored.real_BTCHW, self.options.alpha)
        gap = (scored.real_BTCHW - scored.fake_BTCHW).detach().abs().mean()
        return StagedLoss("student", "student_loss", value, {"score_gap": gap})

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The critic on every step, the student too on every ``generator_update_interval``-th, or there in its stead."""
        return self.options.roles_to_step(step)


class Sgmd(Alternating):
    """The :class:`distill_core.protocols.Method` of SGMD."""

    def __init__(self, roles: Mapping[str, Role], options: SgmdOptions) -> None:
        super().__init__(roles, options)
        self.options, self.up_to_step = options, options.score_ceiling == "step"

    def student_loss(self, sample: StudentSample, batch: Batch, draw: Draw) -> StagedLoss:
        """Fisher term - w · correction."""
        scored = self.scores.of(sample, batch, draw, through_critic=True)
        fisher = fisher_term(scored.x_BTCHW, scored.fake_BTCHW, scored.real_BTCHW)
        taken = correction(scored.x_BTCHW, scored.fake_BTCHW, scored.timestep_B)
        value = fisher - self.options.correction_weight * taken
        return StagedLoss("student", "student_loss", value, {"fisher": fisher.detach(), "correction": taken.detach()})

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """Both, on every step."""
        return self.options.roles_to_step(step)
