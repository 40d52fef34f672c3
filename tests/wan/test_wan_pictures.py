"""Image-to-video Wan: what it is shown, as diffusers shows it; what data hold of it; and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import WanImageToVideoPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.commands.conftest import Command, distill  # noqa: F401  the fixture
from tests.wan.conftest import CPU
from torch import Tensor

from distill_core import flow
from distill_core.config.document import write_yaml
from distill_core.data.reading.dataset import open_dataset
from distill_core.errors import ConfigError, DataError, ModelFolderError
from distill_core.protocols import Ask, ModelRequest, Prompt, Row, ValidationRequest
from distill_core.training.roles import RoleHandle
from distill_model_wan.config import WanOptions
from distill_model_wan.folder import inspect
from distill_model_wan.model import WanModel
from distill_model_wan.testing import Variant, make_tiny_pipeline

pytestmark = pytest.mark.xdist_group("wan pictures")  # what they share is made once

OF_PICTURES: tuple[Variant, ...] = ("i2v", "flf2v", "i2v-a14b", "ti2v-i2v")
FRAMES, STEPS = 9, 3
Noise = Callable[..., Tensor]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[Variant, Path]:
    """A pipeline of each member that is shown pictures."""
    root = tmp_path_factory.mktemp("pictures")
    return {variant: make_tiny_pipeline(root / variant, variant) for variant in OF_PICTURES}


def picture(height: int, width: int, seed: int) -> Tensor:
    """Smooth colours, uint8 [H, W, 3]."""
    coarse = torch.rand(1, 3, 3, 4, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (fine[0].permute(1, 2, 0) * 255).round().to(torch.uint8)


def model_of(path: Path, **options: object) -> WanModel:
    return WanModel(inspect(str(path)), WanOptions.model_validate(options), CPU, torch.float32)


def role_of(model: WanModel, **asked: object) -> RoleHandle:
    request = replace(ModelRequest(model.facts, False, torch.float32), **asked)  # type: ignore[arg-type]
    return RoleHandle("student", model.load_modules(request), model.adapter, trainable=False)


def pixels_of(variant: Variant) -> int:
    return 64 if variant.startswith("ti2v") else 32


def test_pictures_are_encoded_in_float32_though_a_run_computes_in_bf16(shown: dict[Variant, Path]) -> None:
    """They are encoded at the first prediction that is shown them, and must not be within its precision."""
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        model = WanModel(inspect(str(shown["i2v"])), WanOptions(), CPU, dtype)
        text = model.adapter.encode_condition([Prompt("a cat", first_frame=picture(40, 56, 1))])
        noisy = torch.zeros(1, 3, 16, 4, 4)
        role_of(model).predict_velocity(noisy, torch.tensor([500.0], dtype=torch.float64), text)
        assert text.pictures is not None
        found.append(text.pictures.latents((3, 4, 4)))
    assert found[1].equal(found[0])


@pytest.mark.parametrize("padding", ["fold", "full"])
@pytest.mark.parametrize("variant", OF_PICTURES)
def test_a_sample_is_that_of_diffusers_own_pipeline(
    shown: dict[Variant, Path], tmp_path: Path, variant: Variant, padding: str
) -> None:
    size = pixels_of(variant)
    pictures = [picture(40, 56, seed) for seed in (1, 2)]
    files = []
    for name, pixels in zip(("first.png", "last.png"), pictures, strict=True):
        Image.fromarray(pixels.numpy()).save(tmp_path / name)
        files.append(str(tmp_path / name))
    model = model_of(shown[variant], text_padding=padding)
    last = variant == "flf2v"
    request = ValidationRequest(
        "student", "ode", steps=STEPS, guidance_scale=4.0, seeds=(3,), prompts=("a cat",),
        first_frames=(files[0],), last_frames=(files[1],) if last else None,
    )  # fmt: skip
    channels = model.facts.latent_space.channels
    (video,) = model.sampler.sample(role_of(model), request, (3, channels, 4, 4))
    pipeline = WanImageToVideoPipeline.from_pretrained(shown[variant])
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        image=Image.open(files[0]),
        last_image=Image.open(files[1]) if last else None,
        prompt="a cat",
        negative_prompt="",
        height=size,
        width=size,
        num_frames=FRAMES,
        num_inference_steps=STEPS,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(3),
        output_type="np",
    ).frames[0]
    levels = (torch.from_numpy(expected) * 255).round()
    assert (video.frames.float() - levels).abs().max() <= 1
    assert video.frames.shape == (FRAMES, size, size, 3)


@pytest.mark.parametrize("variant", OF_PICTURES)
def test_data_hold_what_the_pictures_of_a_clip_become(
    shown: dict[Variant, Path], variant: Variant, noise: Noise
) -> None:
    """A condition of the columns predicts what a condition of the clip's own first (and last) frame does; so does their dropped caption."""
    model, size = model_of(shown[variant]), pixels_of(variant)
    role = role_of(model)
    clip = torch.stack([picture(size, size, seed) for seed in range(FRAMES)])
    columns = model.encode_columns(clip, "a cat")
    for column in model.facts.columns:
        assert column.misshape(columns[column.name].shape, (model.facts.latent_space.channels, 3, 4, 4)) is None
    (text_LD,) = model.encode_caption(["a cat"])
    of_row = model.adapter.prepare_condition([Row("one", "a cat", text_LD, tensors=columns)])
    prompt = Prompt("a cat", clip[0], clip[-1] if variant == "flf2v" else None)
    of_prompt = model.adapter.encode_condition([prompt])
    other = model.adapter.encode_condition([replace(prompt, first_frame=255 - clip[0])])
    noisy = noise(1, 3, model.facts.latent_space.channels, 4, 4)
    time = torch.tensor([600.0], dtype=torch.float64)
    everyone = torch.tensor([True])

    def velocity(condition: object) -> Tensor:
        return role.predict_velocity(noisy, time, condition)  # type: ignore[arg-type]

    torch.testing.assert_close(velocity(of_row), velocity(of_prompt), atol=1e-5, rtol=1e-5)
    assert not velocity(other).allclose(velocity(of_prompt), atol=1e-5)
    adapter = model.adapter
    for changed in (adapter.unconditional, lambda condition: adapter.drop_condition(condition, everyone)):
        torch.testing.assert_close(velocity(changed(of_row)), velocity(changed(of_prompt)), atol=1e-5, rtol=1e-5)
        assert not velocity(changed(of_row)).allclose(velocity(changed(other)), atol=1e-5)


@pytest.mark.parametrize("variant", OF_PICTURES)
def test_rows_are_predicted_together_as_alone(shown: dict[Variant, Path], variant: Variant, noise: Noise) -> None:
    model, size = model_of(shown[variant]), pixels_of(variant)
    role = role_of(model)
    last = variant == "flf2v"
    prompts = [Prompt("a cat", picture(size, size, s), picture(size, size, 9 + s) if last else None) for s in (1, 2, 3)]
    noisy = noise(3, 3, model.facts.latent_space.channels, 4, 4)
    times = torch.tensor([990.0, 500.0, 100.0], dtype=torch.float64)  # of two experts, both
    together = role.predict_velocity(noisy, times, model.adapter.encode_condition(prompts))
    for row, prompt in enumerate(prompts):
        own = slice(row, row + 1)
        alone = role.predict_velocity(noisy[own], times[own], model.adapter.encode_condition([prompt]))
        torch.testing.assert_close(together[own], alone, atol=1e-5, rtol=1e-4)


def test_a_frame_that_is_given_in_place_is_predicted_as_it_is(shown: dict[Variant, Path], noise: Noise) -> None:
    """x_t - σ v is the picture, at every timestep, by itself and along a direction; so a loss on it is nothing."""
    model = model_of(shown["ti2v-i2v"])
    role = role_of(model)
    condition = model.adapter.encode_condition([Prompt("a cat", picture(64, 64, 1))] * 2)
    assert condition.pictures is not None
    given = condition.pictures.latents((3, 4, 4))
    noisy, times = noise(2, 3, 48, 4, 4), torch.tensor([1000.0, 20.0], dtype=torch.float64)
    x0 = role.predict_x0(noisy, times, condition)
    torch.testing.assert_close(x0[:, :1], given, atol=1e-5, rtol=1e-5)
    assert role.predict_velocity(noisy, torch.zeros(2, dtype=torch.float64), condition)[:, 0].abs().max() == 0
    frames = torch.tensor([[1000.0, 900.0, 800.0]] * 2, dtype=torch.float64)
    by_frame = flow.x0_of(noisy, role.predict(noisy, frames, condition, Ask()).velocity, frames)
    torch.testing.assert_close(by_frame[:, :1], given, atol=1e-5, rtol=1e-5)


def test_what_a_model_is_not_shown_is_refused_by_name(
    shown: dict[Variant, Path], make_model: Callable[..., WanModel]
) -> None:
    pixels = picture(32, 32, 1)
    with pytest.raises(ConfigError, match="from text alone, and is shown first_frame"):
        make_model("t2v").adapter.encode_condition([Prompt("a cat", pixels)])
    with pytest.raises(ConfigError, match="of a first frame, and is shown no picture"):
        model_of(shown["i2v"]).adapter.encode_condition([Prompt("a cat")])
    with pytest.raises(ConfigError, match="of a first frame and a last frame, and is shown first_frame"):
        model_of(shown["flf2v"]).adapter.encode_condition([Prompt("a cat", pixels)])
    with pytest.raises(ModelFolderError, match="shown pictures beside the whole video, and has no blocks, stream"):
        role_of(model_of(shown["i2v"]), operations=frozenset({"blocks", "stream"}))
    with pytest.raises(DataError, match="a caption alone has none"):
        model_of(shown["i2v"]).encode_columns(None, "a cat")


def test_folders_that_are_half_of_pictures_are_refused(shown: dict[Variant, Path], tmp_path: Path) -> None:
    for name, change, message in (
        ("text", {"_class_name": "WanPipeline"}, "takes an image; name the folder of a WanImageToVideoPipeline"),
        ("blind", {"image_encoder": [None, None]}, "lacks image_encoder, and its transformer attends"),
    ):
        folder = tmp_path / name
        shutil.copytree(shown["i2v"], folder)
        index = json.loads((folder / "model_index.json").read_text()) | change
        (folder / "model_index.json").write_text(json.dumps(index))
        with pytest.raises(ModelFolderError, match=message):
            inspect(str(folder))


@pytest.mark.parametrize("variant", ["i2v", "flf2v", "ti2v-i2v"])
def test_captions_with_pictures_train_without_a_clip(
    distill: Command,  # noqa: F811
    shown: dict[Variant, Path],
    tmp_path: Path,
    variant: Variant,
) -> None:
    """The columns are those that a clip which begins (and ends) so has, and DMD2 that simulates trains on them."""
    size, last = pixels_of(variant), variant == "flf2v"
    for seed in (1, 2):
        Image.fromarray(picture(size, size, seed).numpy()).save(tmp_path / f"{seed}.png")
    lines = [
        {"caption": "a cat", "image": f"{seed}.png", **({"last_image": "1.png"} if last else {})} for seed in (1, 2)
    ]
    words, data = tmp_path / "words.jsonl", tmp_path / "data"
    words.write_text("\n".join(map(json.dumps, [*lines, {"caption": "a dog"}])))
    order = ("data", "encode", words, "--captions-only", "--model", shown[variant], "--output", data)
    refused = distill(*order)
    assert refused.code == 65
    assert "say --num-frames, --height and --width" in refused.err
    encoded = distill(*order, "--num-frames", FRAMES, "--height", size, "--width", size)
    assert "encoded 2 of 3" in encoded.err
    assert "names no first_frame" in encoded.err
    model = model_of(shown[variant])
    clip = torch.stack([picture(size, size, seed) for seed in (1, 5, 1)]).repeat_interleave(3, 0)
    dataset = open_dataset(data, False, model.facts.columns)
    rows = {row.id: row for row in (dataset[index] for index in range(len(dataset)))}
    for name, tensor in model.encode_columns(clip, "a cat").items():
        assert rows["caption-000001"].tensors[name].equal(tensor), name
        assert not rows["caption-000002"].tensors[name].equal(tensor), name
    run = {
        "recipe": {"family": "wan", "method": "dmd2"},
        "roles": {
            name: {"path": str(shown[variant]), "trainable": name != "teacher"}
            for name in ("student", "teacher", "critic")
        },
        "data": {"path": str(data), "num_frames": FRAMES, "num_height": size, "num_width": size},
        "method_config": {"dmd_denoising_steps": [1000, 500], "generator_update_interval": 1},
        "training": {"max_train_steps": 1, "train_batch_size": 2, "device": "cpu"},
        "output_dir": str(tmp_path / "run"),
    }
    (tmp_path / "run.yaml").write_text(write_yaml(run))
    trained = distill("run", tmp_path / "run.yaml")
    assert trained.code == 0, trained.err
    again = distill(*order, "--num-frames", FRAMES, "--height", size, "--width", size)
    assert "(2 of them before)" in again.err
    Image.fromarray(picture(size, size, 7).numpy()).save(tmp_path / "2.png")
    assert "(1 of them before)" in distill(*order, "--num-frames", FRAMES, "--height", size, "--width", size).err
    order = (*order[:5], _with_another_vae(shown[variant], tmp_path / "other"), *order[6:], "--num-frames", FRAMES)
    refused = distill(*order, "--height", size, "--width", size)
    assert "data of other settings (the model's vae)" in refused.err
    assert "encoded 2 of 3 into" in distill(*order, "--height", size, "--width", size, "--overwrite").err


def _with_another_vae(model: Path, folder: Path) -> Path:
    """A copy of a model whose VAE encodes otherwise."""
    file = shutil.copytree(model, folder) / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    save_file({name: tensor * 1.1 for name, tensor in tensors.items()}, file, metadata={"format": "pt"})
    return folder
