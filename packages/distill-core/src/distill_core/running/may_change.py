"""The table of what may be other than it was when a run goes on, for docs/reliability.md: ``python -m distill_core.running.may_change``.

Made from what the code compares, so that it cannot say anything else.
"""

from __future__ import annotations

import sys

from distill_core.running.continuation import LEFT_TO_THE_MACHINE, MAY_CHANGE, UNSHAPED
from distill_core.running.resuming import LATER
from distill_core.running.run_directory import LOSSES

RESTS_ON = {
    "data": "the content of the data",
    "torch": "the version of torch",
    "plugins.NAME": "the version of a model's or the method's plugin",
    "weights.ROLE": "the weights of a role that no checkpoint holds",
    "model.ROLE": "what a role's folder says of its model",
    "encoders.FAMILY": "a family's text encoder and VAE",
}
"""The names of what a run rests on, as :mod:`distill_core.running.identity` gives them."""


def table() -> str:
    """As Markdown."""
    rows = [(f"`{key}`", "yes", remark) for key, remark in MAY_CHANGE.items()]
    rows.append(("paths of models, data and LoRAs", "yes", "what lies there is compared by content, below"))
    shapes = ", ".join(f"`{name}`" for name in sorted(UNSHAPED))
    rows.append(
        ("`training.max_train_steps`, schedules", "`checkpoint.resume: changed`", f"where one is none of {shapes}")
    )
    rows += [
        (f"`{key}`", "yes, where it is left to `auto`", "else as any other setting") for key in LEFT_TO_THE_MACHINE
    ]
    rows.append(("any other setting", "`checkpoint.resume: changed`", "each that differs is named"))
    rows += [(told, f"`checkpoint.accept: [{name}]`", "") for name, told in RESTS_ON.items()]
    rows += [(f"{name} that are gone", f"`checkpoint.accept: [{name}]`", "") for name in LOSSES]
    rows.append(
        ("what came after the checkpoint of `--resume`", f"`checkpoint.accept: [{LATER}]`", "is set aside, not deleted")
    )
    lines = ["| what | may it be other than it was | |", "|---|---|---|"]
    return (
        "\n".join([*lines, *(f"| {what} | {how} | {remark} |".replace("  |", " |") for what, how, remark in rows)])
        + "\n"
    )


if __name__ == "__main__":
    sys.stdout.write(table())
