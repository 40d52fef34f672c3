"""Which installed family a model's folder is of: each is asked, and what each says is kept."""

from __future__ import annotations

from collections.abc import Sequence

from distill_core.errors import DistillError, ForeignPipelineError, ModelFolderError, UnsupportedMemberError
from distill_core.plugins.answers import facts_of
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.specs import ModelFacts, ModelSpec

NO_SOURCE = "is neither a run directory nor a pipeline of an installed family"
"""What is said of a path that cannot be sampled."""


def recognised(path: str, index: PluginIndex, what: str) -> list[tuple[ModelSpec, ModelFacts]]:
    """The families that take a folder (or hub id) for theirs, with what they know of it; one at least.

    ``what`` is said of a folder that none takes, e.g. "is no pipeline of an installed family"; it raises ModelFolderError with what the
    families say: of a model that one knows by name, that alone; else of one that a family finds its own and at fault, that alone; else
    what it is, once. A family whose look at it fails is one that does not take it.
    """
    takers: list[tuple[ModelSpec, ModelFacts]] = []
    refusals: list[tuple[str, DistillError]] = []
    for spec in index.models.values():
        try:
            takers.append((spec, facts_of(spec, path)))
        except DistillError as refusal:
            refusals.append((spec.name, refusal))
    if not takers:
        raise _none_takes(f"{path or repr(path)} {what}", refusals)
    return takers


def _none_takes(unknown: str, refusals: Sequence[tuple[str, DistillError]]) -> ModelFolderError:
    """The error of a folder that each family refused; ``unknown`` says that it is none."""
    known = [(name, refusal) for name, refusal in refusals if isinstance(refusal, UnsupportedMemberError)]
    if known:
        return UnsupportedMemberError(f"{unknown} ({_told(known)})")
    at_fault = [(name, refusal) for name, refusal in refusals if not isinstance(refusal, ForeignPipelineError)]
    if any(isinstance(refusal, ModelFolderError) for _, refusal in at_fault):
        refusals = at_fault
    elif not at_fault and len(refusals) > 1:
        whats = "; ".join(dict.fromkeys(r.what for _, r in refusals if isinstance(r, ForeignPipelineError)))
        names = ", ".join(name for name, _ in refusals)
        return ModelFolderError(
            f"{unknown}: {whats}; installed are {names}, and `distill plugins show NAME` says what each takes"
        )
    one = len({str(refusal) for _, refusal in refusals}) == 1
    return ModelFolderError(
        f"{unknown}: {refusals[0][1]}" if one and len(refusals) > 1 else f"{unknown} ({_told(refusals)})"
    )


def _told(refusals: Sequence[tuple[str, DistillError]]) -> str:
    """Each family's word, of several that say the same once."""
    said: dict[str, list[str]] = {}
    for name, refusal in refusals:
        said.setdefault(refusal.what if isinstance(refusal, ForeignPipelineError) else str(refusal), []).append(name)
    return "; ".join(f"{', '.join(names)}: {word}" for word, names in said.items()) or "none is installed"


def owners(path: str, refusal: DistillError, index: PluginIndex) -> tuple[str, ...]:
    """The installed families that take a folder, by name, where one has refused it as another's pipeline."""
    if not isinstance(refusal, ForeignPipelineError):
        return ()
    try:
        return tuple(spec.name for spec, _ in recognised(path, index, "is of no installed family"))
    except ModelFolderError:
        return ()
