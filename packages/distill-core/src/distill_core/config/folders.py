"""The folders that a run points to: its paths made absolute, and what the models' folders say. Loads no weight."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeGuard

from distill_core.config.blame import problems_of_error
from distill_core.config.checks import family_of
from distill_core.config.chosen import ChosenPlugins
from distill_core.config.data_sets import hub_data
from distill_core.config.document import Document
from distill_core.config.schema import RoleConfig, RunConfig
from distill_core.errors import DistillError, Problem
from distill_core.plugins.answers import completed_options, facts_of, settled_facts
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.recognition import owners
from distill_core.plugins.specs import ModelFacts, ModelSpec, Options

RUN_RECORD = "resolved.yaml"
"""The file by which a run directory is known."""


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The same run with every local path absolute, so that export and sampling work from any directory; hub ids stay as they are."""
    roles = {name: _with_absolute_paths(role) for name, role in config.roles.items()}
    mix = tuple(more.model_copy(update={"path": _data_path(more.path)}) for more in config.data.mix)
    data = config.data.model_copy(update={"path": _data_path(config.data.path), "mix": mix})
    return config.model_copy(update={"roles": roles, "data": data, "output_dir": _absolute(config.output_dir)})


def _with_absolute_paths(role: RoleConfig) -> RoleConfig:
    paths: dict[str, object] = {"path": _absolute(role.path)} if _is_local(role.path) else {}
    if role.fixed_loras:
        paths["fixed_loras"] = tuple(
            each.model_copy(update={"path": _absolute(each.path)}) for each in role.fixed_loras
        )
    if role.checkpoint is not None:
        paths["checkpoint"] = role.checkpoint.model_copy(update={"run": _absolute(role.checkpoint.run)})
    return role.model_copy(update=paths)


def _is_local(path: str | None) -> TypeGuard[str]:
    return path is not None and (path.startswith((".", "~")) or os.path.exists(path))


def _data_path(path: str) -> str:
    return _absolute(path) if hub_data(path) is None else path


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def inspect_folders(
    roles: Sequence[str], config: RunConfig, plugins: ChosenPlugins, index: PluginIndex, document: Document
) -> tuple[dict[str, ModelFacts], list[Problem]]:
    """What the roles' folders say under their families' options, by role, and a problem for each that says nothing usable.

    A folder is looked at once, by the role's family and, if that refuses it as another's, by all; a role without one is passed over. What
    is wrong with it is told at the roles that name it, not at those that have it by their `base`.
    """
    facts: dict[str, ModelFacts] = {}
    problems: list[Problem] = []
    seen: dict[tuple[str, str], ModelFacts | _Refused] = {}
    for role in roles:
        path, family = config.roles[role].path, family_of(config, role)
        if family not in plugins.models or path is None:
            continue
        if (family, path) not in seen:
            options = plugins.model_options.get(family)
            seen[family, path] = _looked_at(plugins.models[family], options, path, index)
        found = seen[family, path]
        named = document.says(("roles", role, "path"))
        if isinstance(found, _Refused) and not named and any(_names(other, path, config, document) for other in roles):
            continue  # told where it is named
        if isinstance(found, _Refused):
            key = "recipe.family" if config.roles[role].family is None else f"roles.{role}.family"
            problem = document.problem(("roles", role, "path"), found.said(role, key))
            problems.append(replace(problem, cause=found.error))
        else:
            facts[role] = found
    return facts, problems


def _names(role: str, path: str, config: RunConfig, document: Document) -> bool:
    """Whether a role itself says that its folder is this."""
    return config.roles[role].path == path and document.says(("roles", role, "path"))


def complete_options(
    facts: Mapping[str, ModelFacts], config: RunConfig, plugins: ChosenPlugins, document: Document
) -> tuple[dict[str, Options], list[Problem]]:
    """The families' options with what they leave open as the folder of the family's first role says, so that a run can write it down."""
    options = dict(plugins.model_options)
    problems: list[Problem] = []
    for role, fact in reversed(list(facts.items())):  # so that the first role of a family has the last word
        family = family_of(config, role)
        if family not in plugins.model_options:
            continue
        try:
            options[family] = completed_options(plugins.models[family], fact, plugins.model_options[family])
        except DistillError as error:
            problems += problems_of_error(error, document, ("roles", role, "path"))
    return options, problems


@dataclass(frozen=True)
class _Refused:
    """A folder that is nothing usable: what its family raised, the families that take it instead, and the run that it is, or is of."""

    error: DistillError
    owners: tuple[str, ...]
    run: Path | None

    def said(self, role: str, key: str) -> str:
        """What is wrong, on one line. ``key``: where the run names the role's family."""
        if self.run is not None:
            return (
                f"{self.run} is a run, and no model: name what `distill export` makes of it; or the folder that its role started from, "
                f"and roles.{role}.checkpoint.run: {self.run}"
            )
        message = str(self.error).replace("\n", " ")
        if not self.owners:
            return message
        remedy = f"set {key}: {self.owners[0]}, or name another folder"
        return f"{message}; {' and '.join(self.owners)} would take it: {remedy}"


def _looked_at(model: ModelSpec, options: Options | None, path: str, index: PluginIndex) -> ModelFacts | _Refused:
    """What a folder says to its family. ``options``: None if they are wrong themselves."""
    try:
        facts = facts_of(model, path)
        return facts if options is None else settled_facts(model, facts, options)
    except DistillError as error:
        return _Refused(error, owners(path, error, index), run_at(Path(path)))


def run_at(folder: Path) -> Path | None:
    """The run directory that a folder is, or is a checkpoint of."""
    return next((place for place in (folder, folder.parent.parent) if (place / RUN_RECORD).is_file()), None)
