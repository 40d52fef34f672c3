"""docs/run-yaml.md, made from the schema and the installed plugins: ``python -m distill_core.config.reference > docs/run-yaml.md``.

Says nothing of its own but the introduction: every meaning is the docstring of the key in :mod:`distill_core.config.schema`, or in the
plugin's options.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from distill_core.config.document import write_yaml
from distill_core.config.schema import RunConfig
from distill_core.config.shape import Shape, shape_of

if TYPE_CHECKING:
    from distill_core.plugins.index import PluginIndex
    from distill_core.plugins.specs import Options

INTRODUCTION = """\
# run.yaml

This page is generated: `python -m distill_core.config.reference > docs/run-yaml.md`.

A run is one YAML file. `distill config check RUN.yaml` says all that is wrong with it at once, with line numbers, before any weight is
loaded; `distill config schema --output run.schema.json` writes a JSON Schema with the options of the installed plugins, and an editor
with the YAML language server completes and checks a file that starts with `# yaml-language-server: $schema=run.schema.json`.

- YAML 1.2: `1e-6` is a number, `no` and `on` are text, `010` is ten. A key given twice, a tag, a merge key `<<` and `${...}` are refused.
- A key that is not listed here is refused. A key without a default is required.
- `key.path=value` after the file's name on the command line overrides one value, by the same rules: `training.seed=1`,
  `roles.NAME.path=/models/x`, `method_config.list=[1, 2]`. Of several that set one key the last counts, and a note names the others.
- Paths are relative to the working directory; `~` is the home directory; a control character in one is refused.
"""


def reference(index: PluginIndex) -> str:
    """The page, in Markdown."""
    parts = [INTRODUCTION]
    for path, section in shape_of(RunConfig).sections():
        parts.append(f"## {f'`{path}`' if path else 'The top level'}\n\n{_table(section)}\n")
    for name, model in sorted(index.models.items()):
        parts += _plugin("pipeline_config", f"the model family `{name}`", model.summary, model.options)
    for name, method in sorted(index.methods.items()):
        parts += _plugin("method_config", f"the method `{name}`", method.summary, method.options)
    return "\n".join(parts)


def _plugin(key: str, owner: str, summary: str, options: type[Options]) -> Iterator[str]:
    yield f"## `{key}` of {owner}\n\n{summary[:1].upper()}{summary[1:]}.\n"
    for path, section in shape_of(options).sections():
        heading = f"### `{key}.{path}`\n\n" if path else ""
        yield f"{heading}{_table(section)}\n"


def _table(section: Shape) -> str:
    if not section.properties:
        return "No options."
    return "\n".join(["| Key | Type | Default | Meaning |", "| --- | --- | --- | --- |", *_rows(section)])


def _rows(section: Shape) -> Iterator[str]:
    for key, shape in section.properties.items():
        default = "required" if key in section.required else f"`{_default(shape)}`"
        cells = (f"`{key}`", shape.allowed(), default, shape.description)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(shape: Shape) -> str:
    """The default as it would be written; ``{}`` for a mapping whose keys all have their defaults."""
    value: Any = shape.schema.get("default")
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return write_yaml({"default": value}).removeprefix("default: ").rstrip("\n")


def main() -> None:
    """Print the page for the installed plugins."""
    from distill_core.plugins.discovery import discover

    sys.stdout.write(reference(discover()))


if __name__ == "__main__":
    main()
