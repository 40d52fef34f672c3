"""Wan's operations on tiny real transformers: batches, conditions, predictions, routing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
from tests.wan.conftest import CPU, encoded
from torch import Tensor

from distill_core.errors import ConfigError, DataError, ModelFolderError
from distill_core.protocols import Ask, Batch, ModelRequest, Row
from distill_core.protocols.adapter import OPERATIONS, PARTS, Adapter
from distill_core.training.batches import Batches
from distill_core.training.roles import RoleHandle
from distill_model_wan.folder import WanFolder
from distill_model_wan.model import WanModel
from distill_model_wan.plugin import OPERATIONS as DECLARED
from distill_model_wan.testing import TEXT_WIDTH, Variant

MakeModel = Callable[..., WanModel]
MakeRole = Callable[..., RoleHandle]
Draw = Callable[..., Tensor]
SHAPE = (3, 16, 4, 4)


def timesteps(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def row(name: str, text: Tensor, latent: Tensor | None = None) -> Row:
    return Row(name, "a caption", text, latent)


def test_it_offers_every_operation_that_its_spec_declares(make_model: MakeModel) -> None:
    adapter: Adapter = make_model().adapter
    for name in DECLARED - {"predict", *PARTS}:
        assert isinstance(adapter, OPERATIONS[name]), name


# Batches


@pytest.fixture
def prepared(make_model: MakeModel, folders: dict[Variant, WanFolder]) -> Callable[..., Batch]:
    """``prepared(rows, shape)``: rows as a batch of a run whose only family this is."""
    batches = Batches({"wan": make_model().adapter}, folders["t2v"].latent_space, CPU)
    return batches.prepare


def test_latents_are_normalised_and_permuted(
    prepared: Callable[..., Batch], folders: dict[Variant, WanFolder], noise: Draw
) -> None:
    space = folders["t2v"].latent_space
    raw_CTHW = noise(16, 3, 4, 4)
    batch = prepared([row("a", noise(5, TEXT_WIDTH), raw_CTHW)], SHAPE)
    assert batch.latents.shape == (1, *SHAPE)
    assert batch.latents.dtype == torch.float32
    for t, c, h, w in ((0, 0, 0, 0), (2, 7, 1, 3), (1, 15, 3, 2)):
        expected = (raw_CTHW[c, t, h, w].item() - space.mean[c]) / space.std[c]
        assert batch.latents[0, t, c, h, w].item() == pytest.approx(expected, abs=1e-6)


def test_longer_latents_keep_their_first_frames(prepared: Callable[..., Batch], noise: Draw) -> None:
    raw = noise(16, 5, 4, 4)
    cut = prepared([row("a", noise(5, TEXT_WIDTH), raw)], SHAPE).latents
    whole = prepared([row("a", noise(5, TEXT_WIDTH), raw)], (5, 16, 4, 4)).latents
    assert cut.equal(whole[:, :3])


def test_captions_alone_make_a_batch_without_latents(prepared: Callable[..., Batch], noise: Draw) -> None:
    batch = prepared([row("a", noise(5, TEXT_WIDTH)), row("b", noise(2, TEXT_WIDTH))], SHAPE)
    assert batch.clean_latents is None
    assert batch.latent_shape == SHAPE
    assert batch.size == 2


def test_stored_padding_is_taken_off(make_model: MakeModel, noise: Draw) -> None:
    adapter, text = make_model().adapter, noise(5, TEXT_WIDTH)
    padded = torch.cat([text, torch.zeros(507, TEXT_WIDTH)])
    bare, stored = (adapter.prepare_condition([row("a", each)]) for each in (text, padded))
    assert stored.embeds_BLD.equal(bare.embeds_BLD)
    assert stored.embeds_BLD.shape[1] == 8


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(5, TEXT_WIDTH, (16, 2, 4, 4))], "row 0: its latent has 2 frames, this run needs 3"),
        (
            [(5, TEXT_WIDTH, (8, 3, 4, 4))],
            r"row 0: its latent has the shape \[8, 3, 4, 4\], this run needs \[16, 3 or more, 4, 4\]",
        ),
        ([(5, TEXT_WIDTH, (16, 3, 4, 6))], r"row 0: its latent has the shape \[16, 3, 4, 6\]"),
        ([(5, TEXT_WIDTH, (16, 3, 4))], r"row 0: its latent has the shape \[16, 3, 4\]"),
        ([(5, 7, None)], "row 0: its text has 7 features, the model takes 32"),
        ([(513, TEXT_WIDTH, None)], "row 0: its text has 513 tokens, the model attends 512"),
        (
            [(5, TEXT_WIDTH, (16, 3, 4, 4)), (5, TEXT_WIDTH, None)],
            "row 1 has no latent and others of its batch have one",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    prepared: Callable[..., Batch], noise: Draw, rows: list[tuple[int, int, tuple[int, ...] | None]], words: str
) -> None:
    made = [
        row(str(index), noise(tokens, width), None if shape is None else noise(*shape))
        for index, (tokens, width, shape) in enumerate(rows)
    ]
    with pytest.raises(DataError, match=words):
        prepared(made, SHAPE)


# Conditions


def test_the_negative_prompt_is_encoded_once(make_model: MakeModel) -> None:
    adapter = make_model(negative_prompt="low quality").adapter
    expected = encoded(adapter, ["low quality"])
    with patch.object(adapter, "kept_texts", wraps=adapter.kept_texts) as encode:
        assert len(adapter.unconditional(expected.repeated(3))) == 3
        assert len(adapter.unconditional(expected)) == 1
    encode.assert_called_once_with(["low quality"])
    assert adapter.unconditional(expected.repeated(2)).embeds_BLD[1].equal(expected.embeds_BLD[0])


def test_dropped_captions_become_the_empty_one(make_model: MakeModel) -> None:
    adapter = make_model().adapter
    text = encoded(adapter, ["a red square moves left", "a cat"])
    dropped = adapter.drop_condition(text, torch.tensor([True, False]))
    empty = encoded(adapter, [""])
    width = empty.embeds_BLD.shape[1]
    assert dropped.embeds_BLD[0, :width].equal(empty.embeds_BLD[0])
    assert dropped.embeds_BLD[0, width:].eq(0).all()
    assert dropped.embeds_BLD[1].equal(text.embeds_BLD[1])


# Predictions


def test_x0_follows_from_the_velocity(make_model: MakeModel, make_role: MakeRole, noise: Draw) -> None:
    model = make_model()
    role = make_role(model, trainable=False)
    noisy, t_B, text = noise(2, *SHAPE), timesteps(900.0, 250.0), encoded(model.adapter, ["a cat", "a red square"])
    velocity = role.predict_velocity(noisy, t_B, text)
    sigma = torch.tensor([0.9, 0.25]).view(2, 1, 1, 1, 1)
    assert velocity.dtype == torch.float32
    assert velocity.shape == noisy.shape
    torch.testing.assert_close(role.predict_x0(noisy, t_B, text), noisy - sigma * velocity, rtol=0, atol=1e-6)


def test_the_velocity_is_that_of_the_bare_transformer(make_model: MakeModel, make_role: MakeRole, noise: Draw) -> None:
    model = make_model(text_padding="full")
    role = make_role(model, trainable=False)
    noisy, text = noise(1, *SHAPE), encoded(model.adapter, ["a cat"])
    with torch.no_grad():
        expected = role.modules["transformer"](
            noisy.transpose(1, 2), torch.tensor([900.0]), text.embeds_BLD, return_dict=False
        )[0]
    assert role.predict_velocity(noisy, timesteps(900.0), text).equal(expected.transpose(1, 2))


def test_caption_and_timestep_both_matter(make_model: MakeModel, make_role: MakeRole, noise: Draw) -> None:
    model = make_model()
    role = make_role(model, trainable=False)
    noisy, cat, square = noise(1, *SHAPE), *(encoded(model.adapter, [text]) for text in ("a cat", "a red square"))
    base = role.predict_velocity(noisy, timesteps(900.0), cat)
    assert (role.predict_velocity(noisy, timesteps(900.0), square) - base).abs().max() > 1e-4
    assert (role.predict_velocity(noisy, timesteps(100.0), cat) - base).abs().max() > 1e-4


@pytest.mark.parametrize("variant", ["t2v", "a14b", "ti2v"])
def test_mixed_timesteps_equal_one_by_one(
    make_model: MakeModel, make_role: MakeRole, folders: dict[Variant, WanFolder], noise: Draw, variant: Variant
) -> None:
    model = make_model(variant)
    role = make_role(model, variant, trainable=False)
    noisy = noise(4, 3, folders[variant].latent_space.channels, 4, 4)
    t_B = timesteps(400.0, 999.0, 875.0, 20.0)
    captions = ["a cat", "a red square moves left", "", "a blue triangle moves up"]
    together = role.predict_velocity(noisy, t_B, encoded(model.adapter, captions))
    for index, caption in enumerate(captions):
        one = slice(index, index + 1)
        alone = role.predict_velocity(noisy[one], t_B[one], encoded(model.adapter, [caption]))
        torch.testing.assert_close(together[one], alone, rtol=0, atol=2e-6)


def test_each_expert_takes_its_own_timesteps(make_model: MakeModel, make_role: MakeRole, noise: Draw) -> None:
    model = make_model("a14b")
    role = make_role(model, "a14b", trainable=False)
    calls: dict[str, list[list[float]]] = {name: [] for name in role.modules}
    for name, module in role.modules.items():
        module.register_forward_pre_hook(lambda _, inputs, name=name: calls[name].append(inputs[1].tolist()))
    text = encoded(model.adapter, ["a cat"]).repeated(4)
    role.predict_velocity(noise(4, *SHAPE), timesteps(874.999, 875.0, 1000.0, 0.0), text)
    assert calls["transformer"] == [[875.0, 1000.0]]
    assert calls["transformer_2"] == [[pytest.approx(874.999), 0.0]]
    role.predict_velocity(noise(2, *SHAPE), timesteps(900.0, 950.0), text.select(torch.tensor([0, 1])))
    assert len(calls["transformer"]) == 2
    assert len(calls["transformer_2"]) == 1


def test_a_role_without_experts_meets_one_with_them(make_model: MakeModel, make_role: MakeRole, noise: Draw) -> None:
    model = make_model("t2v")
    dense, experts = make_role(model, "t2v", trainable=False), make_role(model, "a14b", trainable=False)
    text = encoded(model.adapter, ["a cat"])
    for role in (dense, experts):
        assert role.predict_velocity(noise(1, *SHAPE), timesteps(500.0), text).shape == (1, *SHAPE)


def test_a_timestep_per_sample_is_a_timestep_per_token(make_model: MakeModel, make_role: MakeRole, noise: Draw) -> None:
    """WanPipeline gives TI2V one timestep per token, all the same; one per sample is the same number."""
    model = make_model("ti2v", text_padding="full")
    role = make_role(model, "ti2v", trainable=False)
    noisy, text = noise(1, 3, 48, 4, 4), encoded(model.adapter, ["a cat"])
    with torch.no_grad():
        per_token = role.modules["transformer"](
            noisy.transpose(1, 2), torch.full((1, 3 * 2 * 2), 700.0), text.embeds_BLD, return_dict=False
        )[0]
    per_sample = role.predict_velocity(noisy, timesteps(700.0), text).transpose(1, 2)
    torch.testing.assert_close(per_sample, per_token, rtol=0, atol=1e-6)


def test_sparse_attention_is_refused_not_dropped(make_model: MakeModel, make_role: MakeRole, noise: Draw) -> None:
    model = make_model()
    role = make_role(model)
    with pytest.raises(
        ConfigError, match=r"attn_kind: is 'vsa', and this role was loaded for dense attention; set attn_kind: dense"
    ):
        role.predict_x0(noise(1, *SHAPE), timesteps(500.0), encoded(model.adapter, ["a cat"]), Ask("vsa"))


def test_the_flow_shift_is_the_runs(make_model: MakeModel) -> None:
    assert make_model().adapter.flow_shift(SHAPE) == 3.0
    assert make_model(flow_shift=1.0).adapter.flow_shift(SHAPE) == 1.0


def test_a_role_shifts_by_it(make_model: MakeModel, make_role: MakeRole) -> None:
    assert make_role(make_model()).shift_timestep(timesteps(500.0)).tolist() == [750.0]


def test_a_role_trained_with_another_text_length_is_refused(
    make_model: MakeModel, folders: dict[Variant, WanFolder]
) -> None:
    other = replace(folders["t2v"], text_length=16, recorded_text_length=16)
    with pytest.raises(ModelFolderError, match="padded text length of 16, this run conditions on 512"):
        make_model().load_modules(ModelRequest(other, False, torch.float32))
