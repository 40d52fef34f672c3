"""Which installed family a model's folder is of: each is asked, and what each says is kept."""

from __future__ import annotations

from distill_core.errors import DistillError, ForeignPipelineError, ModelFolderError, UnsupportedMemberError
from distill_core.plugins.answers import facts_of
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.specs import ModelFacts, ModelSpec


def recognised(path: str, index: PluginIndex, what: str) -> list[tuple[ModelSpec, ModelFacts]]:
    """The families that take a folder (or hub id) for theirs, with what they know of it; one at least.

    ``what`` is said of a folder that none takes, e.g. "is no pipeline of an installed family"; it raises ModelFolderError with what each
    family says; of a model that one knows by name, with that alone. A family whose look at it fails is one that does not take it.
    """
    takers: list[tuple[ModelSpec, ModelFacts]] = []
    refusals: dict[str, list[str]] = {}
    known: dict[str, list[str]] = {}
    for spec in index.models.values():
        try:
            takers.append((spec, facts_of(spec, path)))
        except DistillError as refusal:
            said_by = known if isinstance(refusal, UnsupportedMemberError) else refusals
            said_by.setdefault(str(refusal), []).append(spec.name)
    if not takers:
        said = "; ".join(f"{', '.join(names)}: {refusal}" for refusal, names in (known if known else refusals).items())
        error = UnsupportedMemberError if known else ModelFolderError
        raise error(f"{path} {what} ({said or 'none is installed'})")
    return takers


def owners(path: str, refusal: DistillError, index: PluginIndex) -> tuple[str, ...]:
    """The installed families that take a folder, by name, where one has refused it as another's pipeline."""
    if not isinstance(refusal, ForeignPipelineError):
        return ()
    try:
        return tuple(spec.name for spec, _ in recognised(path, index, "is of no installed family"))
    except ModelFolderError:
        return ()
