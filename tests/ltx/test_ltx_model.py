"""LTX-Video on the layer: the numbers are those of LTXPipeline, alone and together, and an export is sampled as our sampler samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTXPipeline
from tests.ltx.conftest import CPU, SHAPE
from torch import Tensor

from distill_core.errors import ConfigError, DataError, ModelFolderError
from distill_core.plugins import Column
from distill_core.protocols import Ask, Prompt, Row, ValidationRequest
from distill_core.protocols.adapter import OPERATIONS
from distill_core.training.roles import RoleHandle
from distill_diffusers import spec
from distill_diffusers.facts import DiffusersFacts
from distill_model_ltx.folder import inspect
from distill_model_ltx.model import LtxModel
from distill_model_ltx.plugin import LtxOptions
from distill_model_ltx.testing import make_tiny_pipeline

MakeModel = Callable[..., LtxModel]
MakeRole = Callable[..., RoleHandle]
FEW = ValidationRequest(
    "student", "ode", timesteps=(1000.0, 750.0, 500.0), guidance_scale=1.0, seeds=(7,), prompts=("a cat",)
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def timesteps(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_adapter_offers_what_the_spec_declares(make_model: MakeModel) -> None:
    adapter = make_model().adapter
    assert all(isinstance(adapter, OPERATIONS[name]) for name in spec.OPERATIONS - {"predict"})


# Captions and pixels


@pytest.mark.parametrize("prompt", ["a cat", "", "a red square moves left"])
def test_captions_are_encoded_as_the_pipeline_does(make_model: MakeModel, pipeline: Path, prompt: str) -> None:
    theirs = LTXPipeline.from_pretrained(pipeline)
    with torch.no_grad():
        tokens, mask, _, _ = theirs.encode_prompt(prompt, do_classifier_free_guidance=False)
    (own,) = make_model().encode_caption([prompt])
    assert own.equal(tokens[0][mask[0]])
    assert 0 < len(own) < 128


def test_a_batch_is_as_long_as_its_longest_caption(make_model: MakeModel) -> None:
    condition = make_model().adapter.encode_condition([Prompt("a cat"), Prompt("a red square moves left")])
    lengths = condition["tokens_mask"].sum(dim=1)
    assert condition["tokens"].shape[1] == lengths.max() > lengths.min()
    assert not condition["tokens"][~condition["tokens_mask"]].any()


def test_a_clip_goes_through_the_vae_and_back(make_model: MakeModel) -> None:
    model = make_model()
    frames = torch.randint(0, 256, (9, 32, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    latent = model.encode_video(frames)
    assert latent.shape == (8, 3, 4, 8)
    assert model.adapter.decode_latents(noise(2, *SHAPE)).shape == (2, 9, 32, 64, 3)
    with pytest.raises(DataError, match=r"8 frames are not 1 \+ a multiple of 4"):
        model.encode_video(frames[:8])


def test_a_vae_that_denoises_while_it_decodes_gives_the_same_each_time(tmp_path: Path) -> None:
    folder = inspect(str(make_tiny_pipeline(tmp_path / "tiny", denoising_vae=True)))
    latents = noise(1, *SHAPE)
    decoded = [LtxModel(folder, LtxOptions(), CPU, torch.float32).adapter.decode_latents(latents) for _ in range(2)]
    assert decoded[0].equal(decoded[1])
    other = LtxModel(folder, LtxOptions(decode_noise_scale=0.5), CPU, torch.float32)
    assert not other.adapter.decode_latents(latents).equal(decoded[0])


# Predictions


def test_a_mixed_batch_equals_its_samples_one_by_one(make_model: MakeModel, make_role: MakeRole) -> None:
    model = make_model()
    role = make_role(model, trainable=False)
    captions, noisy, t_B = ["a cat", "a red square moves left", ""], noise(3, *SHAPE), timesteps(900.0, 500.0, 20.0)
    together = role.predict_velocity(noisy, t_B, model.adapter.encode_condition([Prompt(text) for text in captions]))
    assert together.dtype == torch.float32
    for index, caption in enumerate(captions):
        one, condition = slice(index, index + 1), model.adapter.encode_condition([Prompt(caption)])
        alone = role.predict_velocity(noisy[one], t_B[one], condition)
        torch.testing.assert_close(together[one], alone, rtol=0, atol=2e-6)


def test_rows_of_data_give_the_condition_of_their_caption(make_model: MakeModel) -> None:
    model = make_model()
    (tokens,) = model.encode_caption(["a cat"])
    row = Row("a", "a cat", torch.cat([tokens, torch.zeros(5, tokens.shape[1])]))
    assert model.adapter.prepare_condition([row])["tokens"].equal(
        model.adapter.encode_condition([Prompt("a cat")])["tokens"]
    )


def test_columns_that_a_family_declares_come_with_the_caption(facts: DiffusersFacts) -> None:
    column = Column("pooled", ("P",), "the caption as one vector", "a script")
    model = LtxModel(replace(facts, columns=(column,)), LtxOptions(), CPU, torch.float32)
    row = Row("a", "a cat", torch.ones(2, 32), tensors={"pooled": torch.tensor([1.0, 2.0])})
    condition = model.adapter.prepare_condition([row, row])
    assert condition["pooled"].tolist() == [[1.0, 2.0]] * 2
    assert condition["tokens"].shape == (2, 2, 32)


def test_dropped_captions_become_the_empty_one(make_model: MakeModel) -> None:
    adapter = make_model(negative_prompt="low quality").adapter
    both = adapter.encode_condition([Prompt("a cat"), Prompt("a cat")])
    dropped, empty = adapter.drop_condition(both, torch.tensor([False, True])), adapter.encode_condition([Prompt("")])
    length = empty["tokens"].shape[1]
    assert dropped["tokens"][0].equal(both["tokens"][0])
    assert dropped["tokens"][1, :length].equal(empty["tokens"][0])
    assert dropped["tokens_mask"][1].sum() == length
    assert len(adapter.unconditional(both)) == 2
    assert adapter.unconditional(both)["tokens"][1].equal(
        adapter.encode_condition([Prompt("low quality")])["tokens"][0]
    )


def test_the_shift_rises_with_the_number_of_tokens(make_model: MakeModel) -> None:
    adapter = make_model().adapter
    assert adapter.flow_shift(SHAPE) < adapter.flow_shift((21, 8, 16, 22))
    assert make_model(flow_shift=2.0).adapter.flow_shift(SHAPE) == 2.0


def test_sparse_attention_is_refused_not_dropped(make_model: MakeModel, make_role: MakeRole) -> None:
    model = make_model()
    condition = model.adapter.encode_condition([Prompt("a cat")])
    with pytest.raises(ConfigError, match="this family attends densely"):
        make_role(model).predict_x0(noise(1, *SHAPE), timesteps(500.0), condition, Ask("vsa"))


# Exports against vanilla diffusers


def vanilla(folder: Path, steps: int, guidance_scale: float, **decoding: float) -> Tensor:
    """The frames of the folder through nothing but diffusers; a stochastic scheduler shares the pipeline's generator."""
    theirs = LTXPipeline.from_pretrained(folder)
    theirs.set_progress_bar_config(disable=True)
    generator = torch.Generator("cpu").manual_seed(7)
    if theirs.scheduler.config.get("stochastic_sampling"):
        theirs.scheduler.step = partial(theirs.scheduler.step, generator=generator)
    frames_1FCHW = theirs(
        "a cat", height=32, width=64, num_frames=9, num_inference_steps=steps, guidance_scale=guidance_scale,
        generator=generator, output_type="pt", **decoding
    ).frames  # fmt: skip
    pixels: Tensor = (frames_1FCHW[0] * 255.0).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1)


def test_an_export_says_how_it_is_sampled(
    make_model: MakeModel, make_role: MakeRole, facts: DiffusersFacts, tmp_path: Path
) -> None:
    model = make_model()
    model.export(make_role(model).modules, facts, FEW, SHAPE, tmp_path / "out", torch.bfloat16)
    found = inspect(str(tmp_path / "out"))
    assert found.sampling == ValidationRequest("", "ode", timesteps=FEW.timesteps, guidance_scale=1.0)
    assert (found.latent_shape, found.flow_shift) == (SHAPE, None)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "from diffusers import AutoencoderKLLTXVideo, LTXPipeline" in card
    assert "num_inference_steps=3" in card


def test_one_step_of_the_folders_own_schedule_is_refused_not_divided_by_zero(
    make_model: MakeModel, make_role: MakeRole
) -> None:
    model = make_model()
    request = ValidationRequest("role", prompts=("a cat",), seeds=(0,), steps=1, guidance_scale=1.0)
    with pytest.raises(ModelFolderError, match="ask for 2 steps or more, or name the timestep"):
        next(iter(model.sampler.sample(make_role(model), request, (2, 8, 2, 2))))


@pytest.mark.parametrize("request_", [FEW, replace(FEW, sampler="sde")], ids=["euler", "sde"])
def test_an_export_whose_vae_denoises_is_sampled_by_diffusers_within_one_level(
    make_role: MakeRole, tmp_path: Path, request_: ValidationRequest
) -> None:
    folder = inspect(str(make_tiny_pipeline(tmp_path / "tiny", denoising_vae=True)))
    model = LtxModel(folder, LtxOptions(), CPU, torch.float32)
    role = make_role(model)
    model.export(role.modules, folder, request_, SHAPE, tmp_path / "out", torch.float32)
    (video,) = model.sampler.sample(role, request_, SHAPE)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "decode_timestep=0.05,\n    decode_noise_scale=0.025," in card
    theirs = vanilla(tmp_path / "out", 3, 1.0, decode_timestep=0.05, decode_noise_scale=0.025)
    assert (video.frames.int() - theirs.int()).abs().max() <= 1


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_one_step_of_a_schedule_that_is_stretched_to_a_last_sigma_has_no_export(
    facts: DiffusersFacts, make_model: MakeModel
) -> None:
    """diffusers divides 0 by 0 for it."""
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(facts.folder.scheduler))
    scheduler.set_timesteps(sigmas=[1.0], mu=1.0)
    assert scheduler.sigmas[0].isnan()
    model = make_model()
    one, two = (replace(FEW, timesteps=None, steps=steps) for steps in (1, 2))
    (fault,) = model.export_faults(facts, one)
    assert "one step of the folder's own schedule is undefined" in fault
    assert "ask for 2 steps or more, or name the timestep" in fault
    assert not [*model.export_faults(facts, two)]
