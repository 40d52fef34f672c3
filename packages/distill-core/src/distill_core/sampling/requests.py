"""Whether a role can be sampled as a request says, and shown what it says. Names of operations are data here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from distill_core.errors import UNKNOWN_SOURCE, ConfigError, Problem
from distill_core.plugins.specs import ModelFacts, ModelSpec
from distill_core.protocols.validator import ValidationRequest
from distill_core.video.reading import read_picture


def check_pictures(
    facts: ModelFacts,
    first_frames: Sequence[str] | None,
    last_frames: Sequence[str] | None,
    prompts: int,
    *,
    key: str = "",
    source: str = UNKNOWN_SOURCE,
) -> None:
    """Whether a model can be shown these files, which ``key`` of ``source`` names, beside so many prompts.

    Raises ConfigError for others than it takes, or another number of them, DataError for one that cannot be read.
    """
    shown = {"first_frame": first_frames, "last_frame": last_frames}
    fault = picture_misfit(facts.pictures, shown, prompts)
    if fault is not None:
        raise ConfigError([Problem(key, fault)], source)
    for file in dict.fromkeys((*(first_frames or ()), *(last_frames or ()))):
        read_picture(Path(file))


def picture_misfit(pictures: Sequence[str], shown: Mapping[str, Sequence[str] | None], prompts: int) -> str | None:
    """Why a model that is shown ``pictures`` cannot make videos of so many prompts beside these files, or None if it can."""
    missing = [name for name in pictures if shown[name] is None]
    if missing:
        return f"this model makes videos of {_worded(pictures)}: give {_worded(missing)} of each prompt"
    idle = [name for name, files in shown.items() if files is not None and name not in pictures]
    if idle:
        takes = f"makes videos of {_worded(pictures)}" if pictures else "makes videos from text alone"
        return f"this model {takes}, and takes no {_worded(idle, article=False)}; leave it out"
    wrong = [name for name in pictures if len(shown[name] or ()) != prompts]
    if wrong:
        count = len(shown[wrong[0]] or ())
        return f"there are {prompts} prompts and {count} files for {_worded(wrong)}; give one for each prompt"
    return None


def _worded(pictures: Sequence[str], *, article: bool = True) -> str:
    """Names of pictures for a person: "a first frame and a last frame"."""
    return " and ".join(("a " if article else "") + name.replace("_", " ") for name in pictures)


def misfit(
    request: ValidationRequest,
    model: ModelSpec,
    operations: frozenset[str],
    lacks: frozenset[str] = frozenset(),
) -> str | None:
    """Why a role of this family, loaded for these operations, cannot be sampled so, or None if it can.

    ``lacks``: what its own model does not offer of what the family does.
    """
    asked = ", ".join(sorted(request.parts & lacks))
    if asked:
        return f"it asks {asked} of role {request.role!r}, which that model lacks"
    asked = ", ".join(sorted(request.parts - model.operations))
    if asked:
        return f"it asks {asked} of role {request.role!r}, which model {model.name!r} does not offer; see `distill plugins matrix`"
    asked = ", ".join(sorted(request.parts - operations))
    if asked:
        return f"it asks {asked} of role {request.role!r}, which is loaded without; add it to the role's operations in the method's spec"
    asked = ", ".join(sorted(request.parts & model.dense_only))
    if asked and request.attn_kind != "dense":
        return (
            f"model {model.name!r} has no {asked} under {request.attn_kind!r} attention; sample with attn_kind: dense"
        )
    counts = {"blocks": request.blocks, "window": request.window}
    wrong = [name for name, count in counts.items() if count is not None and count < 1]
    if wrong or request.sink < 0:
        return f"{wrong[0] if wrong else 'sink'} counts latent frames, and is less than {1 if wrong else 0}"
    if request.blocks is None and (request.window is not None or request.sink):
        return "window and sink are what a stream of blocks keeps, and it samples by no blocks; set blocks too"
    if request.sink and request.window is None:
        return (
            "sink does nothing without a window: a block sees all frames before it; set window too, or leave sink out"
        )
    return None
