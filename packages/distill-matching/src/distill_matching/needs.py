"""What matching asks of its roles, to be put into a ``MethodSpec``. Imports no torch."""

from __future__ import annotations

from distill_core.plugins import RoleNeed

STUDENT = RoleNeed(trainable=True, operations=frozenset({"predict", "flow_shift"}))
REWARDED_STUDENT = RoleNeed(trainable=True, operations=STUDENT.operations | {"decode_pixels"})
"""A student whose clips are decoded, with their graph, for the run's rewards."""
REWARDS = RoleNeed(trainable=False, rewards=True)

TEACHER = RoleNeed(trainable=False, operations=frozenset({"predict", "unconditional"}))
CRITIC = RoleNeed(trainable=True, operations=frozenset({"predict"}))

DRAWN_CRITIC = RoleNeed(trainable=True, operations=CRITIC.operations, drawn_to="student")
"""A critic that keeps up with the student by its weights, too."""

FEATURE_TEACHER = RoleNeed(trainable=False, operations=TEACHER.operations | {"features"})
"""A teacher whose hidden layers a discriminator sees."""
DISCRIMINATOR = RoleNeed(trainable=True, module="distill_matching.discriminator:Discriminator")
"""It is built on the features of the role "teacher", by the method's :class:`~distill_matching.options.DiscriminatorOptions`."""
