"""Requests that a role cannot be sampled by: each fault on its own, and refused before a run trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.core.conftest import INDEX, ToyWorld

from distill_core.config.document import write_yaml
from distill_core.config.resolve import ResolvedRun, open_run
from distill_core.errors import ConfigError, DataError, MethodError
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.specs import Demands
from distill_core.protocols import Batch, Draw, Method, StagedLoss, ValidationRequest
from distill_core.running.preparation import prepare
from distill_core.running.requests import refuse_misfits
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train
from distill_core.sampling.requests import misfit
from distill_core.testing.toy_spec import TOY
from distill_method_finetune.method import Finetune

PLAIN = ValidationRequest("student")
BLOCKS = replace(PLAIN, blocks=2)
ALL = TOY.operations


def fault(request: ValidationRequest, operations: frozenset[str] = ALL) -> str:
    found = misfit(request, replace(TOY, dense_only=frozenset({"stream"})), operations)
    assert found is not None
    return found


def test_what_a_role_can_do_is_no_fault() -> None:
    for request in (PLAIN, BLOCKS, replace(BLOCKS, window=3, sink=1), replace(PLAIN, until=True, attn_kind="vsa")):
        assert misfit(request, TOY, ALL) is None


def test_what_the_family_does_not_offer_is_named() -> None:
    bare = replace(TOY, operations=frozenset({"predict"}))
    found = misfit(replace(BLOCKS, until=True), bare, ALL)
    assert found is not None
    assert "asks blocks, frame_timesteps, stream, until of role 'student', which model 'toy' does not offer" in found


def test_what_the_role_is_loaded_without_is_named() -> None:
    assert "asks until of role 'student', which is loaded without; add it to the role's operations" in fault(
        replace(PLAIN, until=True), ALL - {"until"}
    )


def test_what_goes_with_dense_attention_alone_is_named() -> None:
    assert "has no stream under 'vsa' attention; sample with attn_kind: dense" in fault(
        replace(BLOCKS, attn_kind="vsa")
    )


def test_counts_of_frames_are_counts() -> None:
    assert "blocks counts latent frames, and is less than 1" in fault(replace(PLAIN, blocks=0))
    assert "window counts latent frames, and is less than 1" in fault(replace(BLOCKS, window=0))
    assert "sink counts latent frames, and is less than 0" in fault(replace(BLOCKS, sink=-1))
    assert "it samples by no blocks; set blocks too" in fault(replace(PLAIN, window=4))


def test_a_sink_that_would_do_nothing_is_refused() -> None:
    assert "sink does nothing without a window" in fault(replace(BLOCKS, sink=1))
    assert misfit(replace(BLOCKS, sink=0), TOY, ALL) is None


# Before a run trains


class Asks:
    """A method that only says what to validate: the last request at the last step, the first before."""

    def __init__(self, *requests: ValidationRequest | None) -> None:
        self.requests = requests

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        return ()

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        yield from ()

    def validation(self, step: int) -> ValidationRequest | None:
        return self.requests[-1] if step == 12 else self.requests[0]


def refuse(world: ToyWorld, method: Method, **sections: Mapping[str, Any]) -> None:
    prepared = prepare(world.resolved(world.mapping("dmd2", **sections)))
    refuse_misfits(prepared.run, method, prepared.latent_shape)


def test_the_methods_first_and_last_validation_are_looked_at(world: ToyWorld) -> None:
    every_four = {"validation": {"interval": 4}}
    with pytest.raises(MethodError, match=r"method 'dmd2', asked what to validate at step 4: it asks blocks"):
        refuse(world, Asks(BLOCKS, PLAIN), **every_four)
    with pytest.raises(MethodError, match=r"asked what to validate at step 12: it asks until of role 'student'"):
        refuse(world, Asks(PLAIN, replace(PLAIN, until=True)), **every_four)
    refuse(world, Asks(PLAIN, None), **every_four)


def test_a_run_with_such_a_method_loads_no_checkpoint_and_trains_nothing(world: ToyWorld) -> None:
    spec = replace(
        next(method for method in INDEX.methods.values() if method.name == "finetune"),
        build="tests.core.test_requests:Blockwise",
    )
    index = PluginIndex.of(models=[TOY], methods=[spec], metrics=[])
    path = world.root / "run.yaml"
    path.write_text(write_yaml(world.mapping("finetune")), encoding="utf-8")
    run = open_run(path, (), index)
    directory = RunDirectory(Path(run.config.output_dir))
    directory.claim(run.to_mapping())
    with pytest.raises(MethodError, match="it asks blocks, frame_timesteps, stream of role 'student'"):
        train(prepare(run), directory, [], Console(quiet=True))
    assert not list(directory.checkpoints.glob("step-*"))


def test_clips_of_fewer_frames_than_the_method_needs_are_refused_before_any_weight(world: ToyWorld) -> None:
    """The data's clips have 3 latent frames."""
    (spec,) = (method for method in INDEX.methods.values() if method.name == "finetune")

    def resolved(least: int, whole: int = 1) -> ResolvedRun:
        needing = replace(spec, demands=lambda _: Demands(least_frames=least, frames_of=whole))
        path = world.root / "run.yaml"
        path.write_text(write_yaml(world.mapping("finetune")), encoding="utf-8")
        return open_run(path, (), PluginIndex.of(models=[TOY], methods=[needing], metrics=[]))

    prepare(resolved(3))
    with pytest.raises(
        DataError, match=r"method_config.*needs clips of 4 latent frames or more, and .* on some of 3; take longer"
    ):
        prepare(resolved(4))
    with pytest.raises(
        DataError, match=r"a multiple of 2 latent frames, and the run trains on some of 3; cut them to 2"
    ):
        prepare(resolved(1, 2))


class Blockwise(Finetune):
    """Fine-tuning whose result is sampled by blocks, which its spec does not say."""

    def validation(self, step: int) -> ValidationRequest:
        return BLOCKS


def test_rows_of_a_comparison_are_looked_at_as_they_will_be_sampled(world: ToyWorld) -> None:
    """A row samples as the method does, where it says nothing: here by blocks, which do not go with the attention that it says."""
    (spec,) = (method for method in INDEX.methods.values() if method.name == "finetune")
    need = replace(spec.roles["student"], operations=spec.roles["student"].operations | BLOCKS.parts)
    demands = Demands(attention={"student": ("dense", "vsa")})
    spec = replace(spec, roles={"student": need}, demands=lambda _: demands)
    index = PluginIndex.of(models=[replace(TOY, dense_only=frozenset({"stream"}))], methods=[spec], metrics=[])
    rows = {"mine": {"role": "student"}, "sparse": {"role": "student", "attn_kind": "vsa"}}
    path = world.root / "run.yaml"
    path.write_text(write_yaml(world.mapping("finetune", comparison={"rows": rows})), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"comparison\.rows\.sparse: model 'toy' has no stream under 'vsa'") as caught:
        refuse_misfits(open_run(path, (), index), Asks(BLOCKS), (3, 2, 4, 4))
    assert len(caught.value.problems) == 1
