"""Streaming long tuning: which chunk comes when, what is kept and told again, what counts, and that it resumes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tests.core.conftest import ToyWorld, world
from tests.self_forcing.test_self_forcing_rollouts import Calls, spec

from distill_core.config.document import write_yaml
from distill_core.config.resolve import open_run
from distill_core.errors import ConfigError, DataError
from distill_core.plugins import RunSize
from distill_core.plugins.index import PluginIndex
from distill_core.protocols import RowKey
from distill_core.running.preparation import Prepared, prepare
from distill_core.testing.contracts import LATENT_SHAPE, check_method, toy_batch, toy_draw, toy_roles
from distill_core.testing.toy_spec import TOY
from distill_core.training.roles import RoleHandle
from distill_method_self_forcing.config import LongTuningOptions
from distill_method_self_forcing.long_tuning import LongTuning
from distill_method_self_forcing.schedule import Chunk, chunk_at, chunks
from distill_method_self_forcing.sequences import CAPTION_BYTES, Sequences

__all__ = ["world"]

NAME = "streaming-long-tuning"
OPTIONS = LongTuningOptions(
    block=2, overlap=2, max_frames=8, generator_update_interval=2, dmd_denoising_steps=(1000, 500)
)


def made(options: LongTuningOptions = OPTIONS) -> tuple[dict[str, RoleHandle], LongTuning]:
    roles = toy_roles(spec(NAME), options)
    return roles, LongTuning(roles, options)


def test_sequences_grow_by_chunks_until_they_are_given_up() -> None:
    """FastVideo's own case: chunks of 3 with one frame of overlap, up to 6: 3, 5, 6, and a new one."""
    assert [chunk_at(step, 3, 1, 6).stop for step in range(1, 8)] == [3, 5, 6, 3, 5, 6, 3]
    assert chunks(9, 3, 39)[:3] == (Chunk(0, 9), Chunk(9, 15), Chunk(15, 21))
    assert chunks(9, 3, 39)[-1] == Chunk(33, 39)
    assert [each.new for each in chunks(9, 3, 39)] == [9, 6, 6, 6, 6, 6]


def test_it_keeps_the_contract_with_its_sequences_in_the_checkpoint() -> None:
    check_method(spec(NAME), OPTIONS, steps=4)


def test_a_step_goes_on_from_the_frames_that_were_kept_told_again_block_by_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Step 2 tells the blocks at 0 and at 2 again, makes the one at 4, and remembers nothing of it: no block follows."""
    _, method = made()
    list(method.losses(toy_batch(latents=False), toy_draw(1)))
    first = method.sequences.frames(0, 4)
    student = method.student
    assert isinstance(student, RoleHandle)
    with monkeypatch.context() as patch:
        calls = Calls(patch)
        generator = method.losses(toy_batch(latents=False), toy_draw(2))
        next(generator)
    rollout = [call for call in calls.made if call[0] == 2]
    last = toy_draw(2).shared_index("exit", 2)
    own = [(2, 1000.0, False, False)] * last + [(2, (1000.0, 500.0)[last], True, False)]
    assert rollout == [(2, 0.0, False, True), (2, 0.0, False, True), *own]
    assert method.sequences.frames(0, 4).equal(first)
    assert method.sequences.frames(4, 6).any()


def test_new_frames_alone_count_and_the_first_is_encoded_again() -> None:
    roles, method = made()
    batch = toy_batch(latents=False)
    list(method.losses(batch, toy_draw(1)))
    before = method.sequences.frames(0, 4)
    chunk, draw = chunk_at(2, 4, 2, 8), toy_draw(2)
    with torch.no_grad():
        made_BTCHW = method._extended(method._shown(batch), draw, chunk)
        sample = method._window(made_BTCHW, batch, draw, chunk)
    assert sample.x_BTCHW.shape[1] == LATENT_SHAPE[0]
    assert sample.first == 2
    assert sample.x_BTCHW[:, 2:].equal(made_BTCHW)
    assert sample.x_BTCHW[:, 1].equal(before[:, 3])
    student = roles["student"]
    torch.testing.assert_close(
        sample.x_BTCHW[:, :1], student.encode_pixels(student.decode_pixels(before[:, :3])[:, -1:])
    )


def test_the_student_has_a_graph_on_its_steps_alone_and_the_critic_learns_the_same_chunk() -> None:
    _, method = made()
    losses = {step: [each.name for each in method.losses(toy_batch(latents=False), toy_draw(step))] for step in (1, 2)}
    assert losses == {1: ["critic_loss"], 2: ["student_loss", "critic_loss"]}


def test_a_sequence_shows_the_captions_that_it_began_with_until_it_is_given_up() -> None:
    _, method = made()
    rows = [
        tuple(RowKey(f"{step} {place}", f"caption {step}, {place} ü", 8.0) for place in range(3)) for step in range(5)
    ]
    shown = []
    for step in range(1, 5):
        list(method.losses(replace(toy_batch(latents=False), rows=rows[step]), toy_draw(step)))
        shown.append(method.sequences.texts()[2])
    assert shown == ["caption 1, 2 ü"] * 3 + ["caption 4, 2 ü"]


def test_a_caption_that_has_no_room_is_refused_and_not_cut() -> None:
    sequences = Sequences({}, OPTIONS, RunSize(LATENT_SHAPE, 1))
    sequences.begin([RowKey("fits", "x" * CAPTION_BYTES)])
    assert sequences.texts() == ("x" * CAPTION_BYTES,)
    with pytest.raises(DataError, match=r"row long has 8193 bytes.*shorten it"):
        sequences.begin([RowKey("long", "x" * (CAPTION_BYTES + 1))])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 4}, "overlap: 4 is no multiple of block: 3; set it to 3"),
        ({"max_frames": 100}, "max_frames: 100 is no multiple of block: 3; set it to 99"),
        ({"max_frames": 3}, "no sequence would grow"),
        ({"gan_weight": 0.1}, "leave gan_weight out"),
        ({"extra_blocks": 1}, "0"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_remedy(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LongTuningOptions.model_validate(options)


def prepared(world: ToyWorld, **sections: Any) -> Prepared:
    """A run on the toy world, whose clips have 3 latent frames."""
    mapping = world.mapping("dmd2", method_config={"block": 1, "overlap": 1, "max_frames": 6}, **sections)
    mapping["recipe"]["method"] = NAME
    path = world.root / "run.yaml"
    path.write_text(write_yaml(mapping), encoding="utf-8")
    return prepare(open_run(path, (), PluginIndex.of(models=[TOY], methods=[spec(NAME)], metrics=[])))


def test_places_that_are_not_one_are_refused_before_any_weight(world: ToyWorld) -> None:
    assert prepared(world).run.demands.by_place
    with pytest.raises(
        ConfigError, match=r"gradient_accumulation_steps: the method keeps something for each place.*set it to 1"
    ):
        prepared(world, training={"gradient_accumulation_steps": 2})
