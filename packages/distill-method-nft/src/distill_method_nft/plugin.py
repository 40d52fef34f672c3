"""What this package offers to distill. Imports no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from distill_core.plugins import Demands, MethodSpec, RoleNeed, hookimpl
from distill_method_nft.config import NftOptions, RewardGradientOptions, WalkOptions

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry

PLUGIN_API = 2

STUDENT = RoleNeed(trainable=True, operations=frozenset({"predict", "flow_shift", "decode_pixels"}))
OLD = RoleNeed(trainable=False, operations=frozenset({"predict"}), follows="student")
REFERENCE = RoleNeed(trainable=False, operations=frozenset({"predict"}))
REWARDS = RoleNeed(trainable=False, rewards=True)


def needs(options: WalkOptions) -> dict[str, RoleNeed]:
    """The student and its rewards, the old policy of nft, and the reference where it has a weight."""
    old = {"old": OLD} if isinstance(options, NftOptions) else {}
    reference = {"reference": REFERENCE} if options.reference_weight else {}
    return {"student": STUDENT, **old, **reference, "rewards": REWARDS}


def demands(options: WalkOptions) -> Demands:
    """Captions alone, and rewards; by their gradient those that have one."""
    return Demands(
        latents=False,
        attention={"student": (options.attn_kind,)},
        roles=needs(options),
        rewards="any" if isinstance(options, NftOptions) else "differentiable",
    )


def nft() -> MethodSpec:
    """DiffusionNFT."""
    return MethodSpec(
        name="nft",
        summary="reinforcement by rewards: towards the better clips of a group, away from the worse, on captions alone",
        options=NftOptions,
        build="distill_method_nft.nft:Nft",
        roles={"student": STUDENT, "old": OLD, "reference": replace(REFERENCE, optional=True), "rewards": REWARDS},
        demands=demands,
        roles_to_step=lambda options, step: ("student",),
        sampling=NftOptions.sampling,
    )


def reward_gradient() -> MethodSpec:
    """ReFL and DRaFT."""
    return MethodSpec(
        name="reward-gradient",
        summary="rewards by their gradient through the decoder and the last steps (DRaFT, ReFL), on captions alone",
        options=RewardGradientOptions,
        build="distill_method_nft.reward_gradient:RewardGradient",
        roles={"student": STUDENT, "reference": replace(REFERENCE, optional=True), "rewards": REWARDS},
        demands=demands,
        roles_to_step=lambda options, step: ("student",),
        sampling=RewardGradientOptions.sampling,
    )


@hookimpl
def distill_register_methods(registry: Registry[MethodSpec]) -> None:
    """Offer both."""
    registry.add(nft())
    registry.add(reward_gradient())
