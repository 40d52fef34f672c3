"""distill_core.config.json_schema, judged by a small evaluator of the keywords that it uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from run_yaml_specs import INDEX
from tests.config.conftest import RUN

from distill_core.config.document import read_document
from distill_core.config.json_schema import run_schema
from distill_core.plugins.index import PluginIndex

SCHEMA = run_schema(INDEX)
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": int | float,
    "null": type(None),
}


def _valid(value: Any, schema: Mapping[str, Any]) -> bool:
    if "$ref" in schema and not _valid(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]):
        return False
    if "type" in schema and (
        not isinstance(value, TYPES[schema["type"]]) or (value in (True, False) and schema["type"] == "integer")
    ):
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "anyOf" in schema and not any(_valid(value, option) for option in schema["anyOf"]):
        return False
    if not all(_valid(value, part) for part in schema.get("allOf", ())):
        return False
    if "if" in schema and _valid(value, schema["if"]) and not _valid(value, schema["then"]):
        return False
    return _valid_mapping(value, schema) if isinstance(value, dict) else True


def _valid_mapping(value: dict[str, Any], schema: Mapping[str, Any]) -> bool:
    properties = schema.get("properties", {})
    if any(name not in value for name in schema.get("required", ())):
        return False
    if any(name in value and not _valid(value[name], properties[name]) for name in properties):
        return False
    others = [item for name, item in value.items() if name not in properties]
    rest = schema.get("additionalProperties", True)
    if others and rest is False:
        return False
    if isinstance(rest, Mapping) and not all(_valid(item, rest) for item in others):
        return False
    return all(_valid(name, schema["propertyNames"]) for name in value) if "propertyNames" in schema else True


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(schema, Mapping):
        yield schema
        for part in schema.values():
            yield from _parts(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _parts(part)


def _accepts(text: str) -> bool:
    return _valid(read_document(text, "x").data, SCHEMA)


def test_the_dialect_is_named() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_reference_leads_somewhere() -> None:
    references = [part["$ref"] for part in _parts(SCHEMA) if isinstance(part.get("$ref"), str)]
    assert "#/$defs/pipeline_config.picture.Tiling" in references
    assert all(reference.removeprefix("#/$defs/") in SCHEMA["$defs"] for reference in references)


def test_every_key_of_core_and_of_the_options_has_a_description() -> None:
    for name, definition in SCHEMA["$defs"].items():
        for key, schema in definition["properties"].items():
            assert schema.get("description"), f"{name}.{key}"


@pytest.mark.parametrize(
    "text",
    [
        RUN,
        RUN + "method_config: {attn_kind: vsa, samples: 3}\npipeline_config: {tiling: {rows: 3}}\n",
        RUN.replace("  teacher", "  judge: {path: small, trainable: false}\n  teacher"),
        RUN.replace("picture", "needy") + "pipeline_config: {width: 3}\n",
    ],
)
def test_right_runs_are_accepted(text: str) -> None:
    assert _accepts(text)


@pytest.mark.parametrize(
    "text",
    [
        RUN.replace("picture", "pictures"),
        RUN.replace("turbo", "finetune"),
        RUN.replace("max_train_steps", "max_steps"),
        RUN.replace("  teacher: {path: small, trainable: false}\n", ""),
        RUN.replace(", trainable: false", ""),
        RUN.replace("{path: small}", "{path: small, trainable: false}"),
        RUN.replace("teacher:", "guide:"),
        RUN + "method_config: {attn_kind: sparse}\n",
        RUN + "method_config: {flow_shift: 3}\n",
        RUN + "pipeline_config: {tiling: {row: 3}}\n",
        RUN + "pipeline_config: {width: 3}\n",
        RUN + "surprise: 3\n",
    ],
)
def test_wrong_runs_are_not_accepted(text: str) -> None:
    assert text != RUN
    assert not _accepts(text)


def test_without_plugins_it_is_the_schema_of_core_alone() -> None:
    schema = run_schema(PluginIndex.of())
    assert "allOf" not in schema
    assert "enum" not in schema["$defs"]["Recipe"]["properties"]["family"]
