"""What the package offers. Imports no torch."""

from __future__ import annotations

from distill_core.plugins import Column, Demands, MethodSpec, Options, RoleNeed, hookimpl

PLUGIN_API = 2

PATH = Column("path", ("S", "T", "C", "H", "W"), "the teacher's states from noise to sample", "run `zoo paths`")
WORSE = Column("worse_latent", ("C", "T", "H", "W"), "the clip that people liked less", "run `zoo pairs`", latent=True)


class ZooOptions(Options):
    """One type for all twelve."""

    guidance_scale: float = 2.0
    block: int = 1
    """Latent frames of a block."""


def model(trainable, *operations, follows=None):
    return RoleNeed(trainable, frozenset({"predict", *operations}), follows=follows)


def own(name, trainable=True):
    return RoleNeed(trainable, module=f"distill_zoo.modules:{name}")


STUDENT = model(True, "flow_shift")
TEACHER = model(False, "unconditional")
CAUSAL = model(True, "flow_shift", "frame_timesteps", "blocks", "stream")
METHODS = {
    "adversarial": ({"student": STUDENT, "teacher": model(False, "features"), "head": own("Head")}, True),
    "consistency": ({"student": STUDENT, "teacher": TEACHER, "target": model(False, follows="student")}, True),
    "scm": ({"student": model(True, "along"), "teacher": TEACHER, "logvar": own("LogVariance")}, True),
    "meanflow": ({"student": model(True, "flow_shift", "until", "along"), "teacher": TEACHER}, True),
    "score-identity": ({"student": STUDENT, "teacher": TEACHER, "critic": model(True)}, False),
    "diffusion-forcing": ({"student": CAUSAL}, True),
    "teacher-forcing": ({"student": model(True, "flow_shift", "frame_timesteps", "blocks", "clean", "stream")}, True),
    "self-forcing": ({"student": CAUSAL, "teacher": TEACHER, "critic": model(True)}, False),
    "reward": ({"student": model(True, "decode_pixels"), "teacher": TEACHER, "reward": own("Redness", False)}, False),
    "nft": (
        {
            "student": model(True, "flow_shift", "decode_pixels"),
            "old": model(False, follows="student"),
            "teacher": model(False),
            "reward": own("Redness", False),
        },
        False,
    ),
    "preference": ({"student": STUDENT, "teacher": model(False)}, True),
    "paths": ({"student": STUDENT}, True),
}
COLUMNS = {"preference": (WORSE,), "paths": (PATH,)}


def demands_of(name, latents):
    def demands(options):
        return Demands(latents=latents, columns=COLUMNS.get(name, ()))

    return demands


@hookimpl
def distill_register_methods(registry):
    for name, (roles, latents) in METHODS.items():
        registry.add(
            MethodSpec(
                name=f"zoo-{name}",
                summary="one of a zoo",
                options=ZooOptions,
                build=f"distill_zoo.methods:{''.join(word.capitalize() for word in name.split('-'))}",
                roles=roles,
                demands=demands_of(name, latents),
            )
        )
