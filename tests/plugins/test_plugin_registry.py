"""A mistake in a spec is reported where it is added."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.errors import PydanticSchemaGenerationError

from distill_core.plugins import MethodSpec, ModelSpec, Options, RoleNeed
from distill_core.plugins.registry import Registry

MODEL = ModelSpec("ltx", "a model", Options, "ltx.folder:inspect", "ltx.model:Ltx", frozenset({"predict"}))
METHOD = MethodSpec(
    "turbo", "a method", Options, "turbo.method:Turbo", {"pupil": RoleNeed(True, frozenset({"flow_shift"}))}
)


def test_what_is_added_is_kept_in_order() -> None:
    registry = Registry(ModelSpec)
    other = replace(MODEL, name="cosmos")
    registry.add(MODEL)
    registry.add(other)
    assert registry.specs == (MODEL, other)


def test_a_spec_of_the_other_kind_is_refused() -> None:
    registry: Any = Registry(ModelSpec)
    with pytest.raises(TypeError, match="wants a ModelSpec, got MethodSpec"):
        registry.add(METHOD)


class Loose(BaseModel):
    """Options that would swallow a typo."""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "two words"}, "is no name"),
        ({"name": ""}, "is no name"),
        ({"summary": "two\nlines"}, "summary must be one line"),
        ({"summary": None}, "summary must be one line"),
        ({"options": Loose}, "must be a subclass of plugins.Options"),
        ({"options": "turbo.config:Options"}, "must be a subclass of plugins.Options"),
        ({"build": "turbo.method.Turbo"}, "build must be 'module:Name'"),
        ({"build": "turbo.method:"}, "build must be 'module:Name'"),
        ({"roles": {"pupil": RoleNeed(True, frozenset({"predictt"}))}}, "did you mean 'predict'"),
        ({"roles": {"pupil": RoleNeed(True, frozenset({"fly"}))}}, "the operations are predict, frame_timesteps"),
    ],
)
def test_a_faulty_method_is_refused(change: dict[str, Any], message: str) -> None:
    registry = Registry(MethodSpec)
    with pytest.raises(ValueError, match=message):
        registry.add(replace(METHOD, **change))
    assert registry.specs == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inspect": "inspect"}, "inspect must be 'module:Name'"),
        ({"operations": frozenset({"predictt"})}, "did you mean 'predict'"),
    ],
)
def test_a_faulty_model_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Registry(ModelSpec).add(replace(MODEL, **change))


class Opaque:
    """What no YAML can say."""


class Unchecked(Options):
    """Options of which pydantic cannot check one."""

    thing: Opaque


def test_options_that_cannot_be_checked_are_refused_as_they_are_added_and_not_when_a_run_gives_them() -> None:
    registry = Registry(MethodSpec)
    with pytest.raises(PydanticSchemaGenerationError, match="Opaque"):
        registry.add(replace(METHOD, options=Unchecked))
    assert registry.specs == ()
