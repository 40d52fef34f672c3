"""``distill import CONFIG``: another trainer's config as a run.yaml."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distill_core.printable import visible
from distill_core.terminal import document, remark

if TYPE_CHECKING:
    from distill_core.plugins.index import PluginIndex
    from distill_core.protocols.importer import Translation


def import_config(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG", exists=True, dir_okay=False, help="A YAML, TOML or Python config.", show_default=False
        ),
    ],
    trainer: Annotated[
        str | None,
        typer.Option("--from", metavar="TRAINER", help="Whose config it is. Default: found out.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="RUN.yaml", help="The file to make. Default: print it.", show_default=False),
    ] = None,
) -> None:
    """Write the run.yaml that a config of another trainer is.

    A remark stands at every key that does not mean the same here or has no counterpart, and at each default of that trainer that differs.
    Nothing of the file is executed. What is still to be set right is said on stderr.
    """
    from distill_core.config.imported import run_yaml_of
    from distill_core.plugins.discovery import discover

    index = discover()
    translation = _fitted(_translation(config, trainer, index), index)
    text = run_yaml_of(translation, config.name)
    if output is None:
        document(visible(text))
    else:
        _write(output, text)
    lost = sum(each.ours is None for each in translation.remarks)
    remark(f"{len(translation.remarks) - lost} remarks at keys, {lost} keys without a counterpart")
    for problem in _still_wrong(text, config, index):
        remark(f"still to be set right: {problem}")


def _translation(path: Path, trainer: str | None, index: PluginIndex) -> Translation:
    """What the one importer that knows the file makes of it. Raises ConfigError where none does, or several do."""
    from distill_core.errors import ConfigError, Problem
    from distill_core.plugins.border import plugin_border
    from distill_core.plugins.loading import load_target
    from distill_core.protocols.importer import Importer

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError([Problem("", "is not UTF-8 text")], str(path)) from error
    asked = index.importers if trainer is None else {trainer: index.importer(trainer)}
    found: dict[str, Translation] = {}
    for name, spec in asked.items():
        read: Importer = load_target(spec.build, f"importer {name!r}")
        with plugin_border(f"importer {name!r}"):
            translation = read(text, path.name, partial(_beside, path.parent))
        if translation is not None:
            found[name] = translation
    if len(found) > 1:
        raise ConfigError([Problem("", f"may be of {' or of '.join(found)}; say which with --from")], str(path))
    if not found:
        whose = (
            f"no config of {trainer}"
            if trainer is not None
            else f"no config of a trainer that is known here: {', '.join(index.importers) or 'none is'}"
        )
        raise ConfigError([Problem("", f"is {whose}")], str(path))
    return next(iter(found.values()))


def _fitted(translation: Translation, index: PluginIndex) -> Translation:
    """The run as the plugins that it names can have it."""
    from distill_core.config.imported import fitted

    recipe, options = translation.run.get("recipe", {}), {}
    if recipe.get("method") in index.methods:
        method = index.method(recipe["method"])
        options["method_config"] = (f"{method.name!r}", method.options.model_fields)
    if recipe.get("family") in index.models:
        model = index.model(recipe["family"])
        options["pipeline_config"] = (f"{model.name!r}", model.options.model_fields)
    return fitted(translation, options)


def _beside(folder: Path, name: str) -> str | None:
    """The text of a file that a config in this folder names, by its path or by its bare name."""
    for place in (folder / name, folder / Path(name).name):
        try:
            return place.read_text(encoding="utf-8")
        except (OSError, ValueError):  # none, not to be read, no text, no possible name
            continue
    return None


def _write(output: Path, text: str) -> None:
    from distill_core.errors import RunDirectoryError

    if output.exists():
        raise RunDirectoryError(f"{output} is there already; name another file, or remove it")
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunDirectoryError(
            f"cannot write {output}: {error.strerror}; name a file in a folder that exists"
        ) from error


def _still_wrong(text: str, source: Path, index: PluginIndex) -> list[str]:
    """The faults of the run.yaml in itself and in the eyes of its plugins: what could not be translated, and has to be said."""
    from pydantic import ValidationError

    from distill_core.config.chosen import ChosenPlugins
    from distill_core.config.document import read_document
    from distill_core.config.faults import problems_of, validated
    from distill_core.config.schema import RunConfig

    document = read_document(text, source.name)
    faults = []
    try:
        validated(RunConfig, document.data)
    except ValidationError as error:
        faults = problems_of(error, RunConfig, document)
    return [f"{problem.key}: {problem.message}" for problem in [*faults, *ChosenPlugins(document, index).problems]]
