"""What this package offers to distill. Imports no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from distill_core.plugins import Demands, MethodSpec, hookimpl
from distill_matching.needs import (
    CRITIC,
    DISCRIMINATOR,
    DRAWN_CRITIC,
    FEATURE_TEACHER,
    REWARDED_STUDENT,
    REWARDS,
    STUDENT,
    TEACHER,
)
from distill_method_dmd2.config import Dmd2Options

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry

PLUGIN_API = 2


ROLES = {"student": STUDENT, "teacher": TEACHER, "critic": CRITIC}
DRAWN = {"critic": DRAWN_CRITIC}
GAN_ROLES = {"teacher": FEATURE_TEACHER, "discriminator": DISCRIMINATOR}
REWARD_ROLES = {"student": REWARDED_STUDENT, "rewards": REWARDS}


def demands(options: Dmd2Options) -> Demands:
    """Latents where the rollout starts from data, or the GAN needs real clips; rewards that have a gradient, where they have a weight."""
    gan, rewarded = options.gan_weight > 0.0, options.reward_weight > 0.0
    added = (GAN_ROLES, gan), (DRAWN, options.critic_keeps < 1.0), (REWARD_ROLES, rewarded)
    return Demands(
        latents=gan or options.rollout == "data_latent",
        attention={"student": (options.attn_kind,)},
        roles={**ROLES, **{name: need for roles, there in added if there for name, need in roles.items()}},
        rewards="differentiable" if rewarded else "none",
    )


@hookimpl
def distill_register_methods(registry: Registry[MethodSpec]) -> None:
    """Offer DMD2."""
    registry.add(
        MethodSpec(
            name="dmd2",
            summary="distribution matching distillation of a few-step student, data-free or on latents",
            options=Dmd2Options,
            build="distill_method_dmd2.method:Dmd2",
            roles={
                **ROLES,
                "discriminator": replace(DISCRIMINATOR, optional=True),
                "rewards": replace(REWARDS, optional=True),
            },
            demands=demands,
            roles_to_step=Dmd2Options.roles_to_step,
            sampling=Dmd2Options.sampling,
            notes=Dmd2Options.notes,
            misfits=Dmd2Options.misfits,
            guidance=lambda options: {"teacher": options.told_scale},
        )
    )
