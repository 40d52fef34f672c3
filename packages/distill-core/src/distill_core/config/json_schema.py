"""One JSON Schema (draft 2020-12) of run.yaml with the installed plugins' options, from which an editor completes and checks it.

It says less than ``distill config check``: what depends on folders, and rules that span several keys, is checked there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from distill_core.config.schema import RunConfig

if TYPE_CHECKING:
    from distill_core.plugins.index import PluginIndex
    from distill_core.plugins.specs import MethodSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _WithoutTitles(GenerateJsonSchema):
    """A key's title only repeats the key."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        return False


def run_schema(index: PluginIndex) -> dict[str, Any]:
    """The schema. ``pipeline_config``, ``method_config`` and ``roles`` follow from the names under ``recipe``."""
    schema = RunConfig.model_json_schema(schema_generator=_WithoutTitles)
    definitions: dict[str, Any] = schema["$defs"]
    recipe = definitions["Recipe"]["properties"]
    conditions: list[dict[str, Any]] = []
    models, methods = sorted(index.models.items()), sorted(index.methods.items())
    families = [("family", "pipeline_config", name, model.options) for name, model in models]
    for key, section, name, options in [
        *families,
        *(("method", "method_config", name, spec.options) for name, spec in methods),
    ]:
        recipe[key].setdefault("enum", []).append(name)
        _define(definitions, f"{section}.{name}", options)
        conditions.append(_when(key, name, {section: {"$ref": f"#/$defs/{section}.{name}"}}))
    for name, _ in models:
        schema["properties"]["families"].setdefault("properties", {})[name] = {
            "$ref": f"#/$defs/pipeline_config.{name}"
        }
    for name, metric in sorted(index.metrics.items()):
        _define(definitions, f"metrics.{name}", metric.options)
        schema["properties"]["metrics"].setdefault("properties", {})[name] = {"$ref": f"#/$defs/metrics.{name}"}
    for name, reward in sorted(index.rewards.items()):
        _define(definitions, f"rewards.{name}", reward.options)
        schema["properties"]["rewards"].setdefault("properties", {})[name] = {"$ref": f"#/$defs/rewards.{name}"}
    conditions += [_when("method", name, {"roles": _roles(spec)}) for name, spec in methods]
    described = {
        "$schema": DIALECT,
        "title": "run.yaml of distill",
        **{key: schema[key] for key in schema if key != "title"},
    }
    return {**described, "allOf": conditions} if conditions else described


def _define(definitions: dict[str, Any], name: str, options: type[BaseModel]) -> None:
    """Add a plugin's options, and what they refer to, under a name of their own."""
    own = options.model_json_schema(schema_generator=_WithoutTitles, ref_template=f"#/$defs/{name}.{{model}}")
    for inner, schema in own.pop("$defs", {}).items():
        definitions[f"{name}.{inner}"] = schema
    definitions[name] = own


def _when(key: str, name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """``properties`` for runs whose ``recipe`` says ``key: name``."""
    recipe = {"type": "object", "properties": {key: {"const": name}}, "required": [key]}
    condition = {"type": "object", "properties": {"recipe": recipe}, "required": ["recipe"]}
    return {"if": condition, "then": {"properties": dict(properties)}}


def _roles(method: MethodSpec) -> dict[str, Any]:
    """The roles of one method. ``trainable`` is true by default, so a frozen role must say false."""
    roles: dict[str, Any] = {}
    for name, need in method.roles.items():
        roles[name] = {"properties": {"trainable": {"const": need.trainable}}}
        if not need.trainable:
            roles[name]["required"] = ["trainable"]
        if not need.sourceless:
            roles[name]["anyOf"] = [{"required": ["path"]}, {"required": ["base"]}]
    required = [name for name, need in method.roles.items() if not (need.optional or need.sourceless)]
    return {"properties": roles, "required": required, "propertyNames": {"enum": list(method.roles)}}
