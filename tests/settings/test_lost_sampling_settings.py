"""The rows of the table of lost settings that a real family has a part in: what it settles on, records, exports and samples by."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from tests.commands.conftest import Command
from tests.settings.conftest import Resolve
from tests.settings.snippets import run_snippet
from tests.wan.conftest import MakeModel, MakeRole
from torch import Tensor

from distill_core.errors import ConfigError, ModelFolderError
from distill_core.finished.sample import SampleOrder, load
from distill_core.flow import shifted_uniform_grid
from distill_core.flow.guided import GuidedVelocity
from distill_core.protocols import ValidationRequest
from distill_core.protocols.validator import SamplerKind
from distill_diffusers import few_step_grid
from distill_diffusers.few_step_grid import solve_grid
from distill_diffusers.model_card import OLDEST
from distill_diffusers.options import completed
from distill_model_wan.config import WanOptions, settled
from distill_model_wan.folder import WanFolder, inspect
from distill_model_wan.model import WanModel
from distill_model_wan.testing import Variant

PUBLISHED = {
    "uniform": (1000.0, 750.0, 500.0, 250.0),
    "shift-5": (1000.0, 937.5, 2500.0 / 3.0, 625.0),
    "fastwan": (1000.0, 757.0, 522.0),
    "one": (1000.0,),
}

# flow_shift: null


def test_the_flow_shift_that_a_run_settles_on_is_written_down(resolve: Resolve, shifted: Path) -> None:
    assert resolve("finetune").to_mapping()["pipeline_config"]["flow_shift"] == 3.0
    run = resolve("finetune", student=shifted)
    assert run.to_mapping()["pipeline_config"]["flow_shift"] == 5.0
    assert run.to_mapping()["pipeline_config"]["text_length"] == 512
    assert run.notes == ()


def test_roles_whose_folders_record_other_flow_shifts_are_a_note(resolve: Resolve, shifted: Path) -> None:
    (note,) = resolve("dmd2", teacher=shifted).notes
    assert note.startswith("the run's flow shift is 3, which the folder of student records; others record teacher 5; ")
    assert resolve("dmd2", "pipeline_config.flow_shift=5", teacher=shifted).notes == ()


# a grid that export will refuse

REFUSED = {
    "the RFC's": "[999, 750, 500, 250, 0]",
    "FastGen's": "[999, 937, 833, 624]",
    "Self-Forcing's of five steps": "[1000, 750, 500, 250, 125]",
    "FastVideo's of eight steps": "[1000, 850, 700, 550, 350, 275, 200, 125]",
}


@pytest.mark.parametrize("grid", REFUSED.values(), ids=REFUSED)
def test_a_grid_that_export_will_refuse_is_a_note_and_the_one_that_is_advised_is_not(
    resolve: Resolve, grid: str
) -> None:
    (note,) = resolve("dmd2", f"method_config.dmd_denoising_steps={grid}").notes
    assert note.startswith("`distill export` will refuse the result: no diffusers scheduler follows the timesteps ")
    (advised,) = re.findall(r"nearest grid is (\[[^]]+\])", note)
    assert resolve("dmd2", f"method_config.dmd_denoising_steps={advised}").notes == ()
    solve_grid(tuple(json.loads(advised)))


def test_what_the_method_left_open_is_judged_as_the_validation_section_says(resolve: Resolve) -> None:
    assert resolve("finetune").notes == ()
    (note,) = resolve("finetune", "validation.guidance_scale=0.5").notes
    assert note.startswith(
        "`distill export` will refuse the result: diffusers applies no guidance scale below 1, got 0.5; "
    )


@pytest.mark.parametrize("grid", ["[1000, 757, 522]", "[1000, 750, 500, 250]", "[1000]"])
def test_a_grid_that_export_takes_is_no_note(resolve: Resolve, grid: str) -> None:
    assert resolve("dmd2", f"method_config.dmd_denoising_steps={grid}").notes == ()


def test_a_warped_grid_is_judged_as_it_is_warped(resolve: Resolve) -> None:
    warped = ("method_config.warp_denoising_steps=true", "pipeline_config.flow_shift=5")
    assert resolve("dmd2", *warped).notes == ()
    uneven = "method_config.dmd_denoising_steps=[1000, 937.5, 833.3333333, 625]"
    assert resolve("dmd2", uneven).notes == ()
    (note,) = resolve("dmd2", *warped, "method_config.dmd_denoising_steps=[1000, 937.5, 900, 250]").notes
    assert "follows the timesteps 1000, 986.842105, 978.26087, 625: " in note


def test_a_diffusers_that_shifts_its_spacing_once_is_solved_for_too(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = shifted_uniform_grid(4, 5.0)
    now = solve_grid(grid)

    class Mended(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]  # as the issue's pull requests have it
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.sigma_min, self.sigma_max = 1e-3, 1.0

    monkeypatch.setattr(few_step_grid, "FlowMatchEulerDiscreteScheduler", Mended)
    mended = solve_grid(grid)
    assert mended.shift != pytest.approx(now.shift, abs=1e-4)
    assert few_step_grid.scheduler_grid(mended, 4) == pytest.approx(grid, abs=few_step_grid.TOLERANCE)


# two experts, steps all on one side of the boundary


@pytest.mark.parametrize(
    ("grid", "idle"),
    [
        ("[1000, 960, 900]", ["transformer_2 denoises below 875"]),
        ("[860, 500]", ["transformer denoises from 875"]),
        ("[1000, 500]", []),
        ("[875, 500]", []),
    ],
)
def test_an_expert_that_no_step_trains_is_a_note(resolve: Resolve, experts: Path, grid: str, idle: list[str]) -> None:
    folders = dict.fromkeys(("student", "teacher", "critic"), experts)
    overrides = (f"method_config.dmd_denoising_steps={grid}", "method_config.rollout=data_latent")
    notes = [note for note in resolve("dmd2", *overrides, **folders).notes if "denoises" in note]
    assert [note.partition(", where none")[0] for note in notes] == idle


@pytest.mark.parametrize("low_noise", [None, 3.0, 1.0])
def test_each_expert_is_guided_by_its_own_scale(
    make_model: MakeModel, make_role: MakeRole, low_noise: float | None
) -> None:
    model = make_model("a14b")
    role = make_role(model, "a14b")
    request = ValidationRequest("student", guidance_scale=5.0, low_noise_guidance_scale=low_noise)
    text = next(model.adapter.kept_texts(["a cat"]))
    guided = GuidedVelocity(role, request, text, None, role.boundary)
    x = torch.randn(1, 2, 16, 4, 4, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        for t, scale in ((875.0, 5.0), (874.0, 5.0 if low_noise is None else low_noise)):
            t_B = torch.tensor([t], dtype=torch.float64)
            cond, uncond = (role.predict_velocity(x, t_B, each) for each in (text, role.unconditional(text)))
            torch.testing.assert_close(guided(x, t_B), uncond + scale * (cond - uncond))
    assert guided.evaluations == (3 if low_noise == 1.0 else 4)


def test_the_guidance_of_a_second_expert_is_exported_and_stands_in_the_readmes_snippet(
    make_model: MakeModel, make_role: MakeRole, folders: dict[Variant, WanFolder], tmp_path: Path
) -> None:
    model = make_model("a14b")
    request = ValidationRequest("student", "ode", steps=3, guidance_scale=4.0, low_noise_guidance_scale=3.0)
    modules = make_role(model, "a14b").modules
    model.export(modules, folders["a14b"], request, (2, 16, 4, 4), tmp_path / "out", torch.float32)
    facts = inspect(str(tmp_path / "out"))
    assert facts.sampling is not None
    assert facts.sampling.low_noise_guidance_scale == 3.0
    assert "\n    guidance_scale_2=3.0," in (tmp_path / "out" / "README.md").read_text()
    assert run_snippet(tmp_path / "out").shape == (5, 32, 32, 3)
    unguided = replace(request, guidance_scale=1.0)
    unguided = replace(request, guidance_scale=1.0)
    with pytest.raises(ModelFolderError, match="guides no expert where the first has a guidance scale of 1"):
        model.export(modules, folders["a14b"], unguided, (2, 16, 4, 4), tmp_path / "no", torch.float32)


def test_a_guidance_of_an_expert_that_is_not_there_is_said_to_do_nothing(resolve: Resolve) -> None:
    (note,) = resolve("finetune", "validation.low_noise_guidance_scale=3").notes
    assert note == "validation.low_noise_guidance_scale has no effect: no role has a second expert"
    with pytest.raises(ConfigError, match="other tools call `guidance_scale_2` is `low_noise_guidance_scale` here"):
        resolve("finetune", "validation.guidance_scale_2=3")


# one flow_shift for score draws, training and sampling


def test_sampling_has_a_shift_of_its_own_that_an_export_keeps(
    make_model: MakeModel, make_role: MakeRole, folders: dict[Variant, WanFolder], tmp_path: Path
) -> None:
    model = make_model(flow_shift=8.0, sampling_shift=3.0)
    role = make_role(model)
    request = ValidationRequest("student", "ode", steps=4, guidance_scale=1.0, seeds=(7,), prompts=("a cat",))
    model.export(role.modules, folders["t2v"], request, (2, 16, 4, 4), tmp_path / "out", torch.float32)
    assert json.loads((tmp_path / "out/scheduler/scheduler_config.json").read_text())["flow_shift"] == 3.0
    facts = inspect(str(tmp_path / "out"))
    assert (facts.flow_shift, facts.sampling_shift) == (8.0, 3.0)
    options = completed(settled(facts, WanOptions()), WanOptions())
    assert (options.flow_shift, options.sampling_shift) == (8.0, 3.0)
    by_one = frames_of(make_model(flow_shift=3.0), make_role, request)
    assert frames_of(model, make_role, request).equal(by_one)
    assert not frames_of(make_model(flow_shift=8.0), make_role, request).equal(by_one)


def frames_of(model: WanModel, make_role: MakeRole, request: ValidationRequest) -> Tensor:
    (video,) = model.sampler.sample(make_role(model), request, (2, 16, 4, 4))
    return video.frames


# pipeline_config.negative_prompt


def test_a_negative_prompt_that_is_asked_for_takes_the_place_of_the_models(
    make_model: MakeModel, make_role: MakeRole
) -> None:
    request = ValidationRequest("student", "ode", steps=2, guidance_scale=4.0, seeds=(7,), prompts=("a cat",))
    plain, blurred = make_model(), make_model(negative_prompt="low quality, blurred, static")
    asked = frames_of(plain, make_role, replace(request, negative_prompt="low quality, blurred, static"))
    assert asked.equal(frames_of(blurred, make_role, request))
    assert not asked.equal(frames_of(plain, make_role, request))
    empty = frames_of(blurred, make_role, replace(request, negative_prompt=""))
    assert empty.equal(frames_of(plain, make_role, request))


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_run_and_its_export_are_sampled_alike_negative_prompt_and_all(
    distill: Command, run_yaml: Callable[..., Path], tmp_path: Path, guidance: float
) -> None:
    blurred = "low quality, blurred, static"
    run = run_yaml(
        "finetune", training={"max_train_steps": 1}, pipeline_config={"negative_prompt": blurred, "sampling_shift": 2.0},
        validation={"guidance_scale": guidance, "sampling_steps": 2},
    )  # fmt: skip
    assert distill("run", run).code == 0
    assert distill("export", tmp_path / "run", "--output", tmp_path / "out").code == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert (f"negative_prompt={blurred!r}," in card) == (guidance != 1.0)
    record = json.loads((tmp_path / "out" / "distill.json").read_text())
    assert record["sampling"]["negative_prompt"] == blurred
    sampled = [video_of(str(tmp_path / source), tmp_path / f"videos-{source}") for source in ("run", "out")]
    assert sampled[0].equal(sampled[1])
    (asked,) = [video_of(str(tmp_path / "out"), tmp_path / "asked", negative_prompt="a cat")]
    assert asked.equal(sampled[0]) == (guidance == 1.0)


def video_of(source: str, output: Path, negative_prompt: str | None = None) -> Tensor:
    """The one video of an order, as it is sampled."""
    order = SampleOrder(
        source=source, output=output, prompts=("red",), seeds=(3,), steps=None, timesteps=None,
        negative_prompt=negative_prompt, guidance_scale=None, low_noise_guidance_scale=None, sampler=None,
        num_frames=None, height=None, width=None, fps=16.0, role=None, step=None,
    )  # fmt: skip
    sampling = load(order)
    (video,) = sampling.source.model.sampler.sample(
        sampling.source.role, sampling.request, sampling.source.latent_shape
    )
    return video.frames


def test_a_negative_prompt_without_guidance_is_said_to_do_nothing(distill: Command, tiny: Path, tmp_path: Path) -> None:
    small = ("--num-frames", "5", "--height", "16", "--width", "16", "--steps", "1", "--output", tmp_path / "out")
    told = distill("sample", tiny, "--prompt", "red", "--negative-prompt", "blue", "--guidance", "1", *small)
    assert told.code == 0, told.err
    assert "--negative-prompt does nothing without guidance" in told.err


# the export's README


@pytest.mark.parametrize("kind", ["sde", "ode"])
def test_the_readme_names_the_diffusers_that_sample_it_and_its_snippet_runs_there(
    make_model: MakeModel, make_role: MakeRole, folders: dict[Variant, WanFolder], tmp_path: Path, kind: SamplerKind
) -> None:
    model = make_model(negative_prompt="blurred")
    few = ValidationRequest("student", kind, timesteps=(1000.0, 500.0), guidance_scale=3.0)
    model.export(make_role(model).modules, folders["t2v"], few, (2, 16, 4, 4), tmp_path / "out", torch.float32)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"It takes diffusers {OLDEST} or newer, and was made and checked with {version('diffusers')}." in card
    assert ("0.33 and older sample it deterministically" in card) == (kind == "sde")
    frames = run_snippet(tmp_path / "out")
    assert frames.shape == (5, 32, 32, 3)


def test_the_oldest_diffusers_that_a_readme_names_is_the_oldest_that_is_allowed() -> None:
    project = Path(__file__).parents[2] / "packages" / "distill-diffusers" / "pyproject.toml"
    assert f'"diffusers>={OLDEST},<1"' in project.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("requirement", [f"diffusers=={OLDEST}.*", "diffusers<1"], ids=["oldest", "newest"])
def test_exports_are_sampled_right_by_the_oldest_and_by_the_newest_diffusers(
    make_model: MakeModel, make_role: MakeRole, folders: dict[Variant, WanFolder], tmp_path: Path, requirement: str
) -> None:
    model = make_model()
    for name, grid in PUBLISHED.items():
        few = ValidationRequest("student", "sde", timesteps=grid, guidance_scale=1.0)
        model.export(make_role(model).modules, folders["t2v"], few, (2, 16, 4, 4), tmp_path / name, torch.float32)
    install = ["uv", "pip", "install", "--no-deps", "--target", str(tmp_path / "site"), requirement]
    subprocess.run(install, check=True, timeout=300)
    script = Path(__file__).parent / "sample_exports.py"
    command = [sys.executable, str(script), *(str(tmp_path / name) for name in PUBLISHED)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(Path(__file__).parents[2])]),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("sampled") == len(PUBLISHED)


# where all this is told


@pytest.mark.parametrize("command", [("config", "check"), ("run", "--dry-run")])
def test_notes_are_shown_before_training(
    distill: Command, run_yaml: Callable[..., Path], command: tuple[str, ...]
) -> None:
    method_config = {"dmd_denoising_steps": [999, 750, 500, 250], "real_score_guidance_scale": 4.5}
    told = distill(*command, run_yaml("dmd2", method_config=method_config, training={"max_train_steps": 5}))
    assert told.code == 0, told.err
    assert (
        "note: `distill export` will refuse the result: no diffusers scheduler follows the timesteps 999, 750, 500, 250: "
        in told.err
    )
    assert "s = 5.5 of uncond + s·(cond - uncond)" in told.err


@pytest.mark.parametrize(
    ("timesteps", "said"),
    [
        ("0.999,0.937", "did you mean × 1000, [999, 937]?"),
        ("500,1000", "is no falling list of numbers in (0, 1000]"),
        ("1000,x", "is no falling list of numbers in (0, 1000]"),
    ],
)
def test_timesteps_on_the_command_line_are_in_the_unit_of_a_run(
    distill: Command, tiny: Path, tmp_path: Path, timesteps: str, said: str
) -> None:
    told = distill("sample", tiny, "--prompt", "red", "--timesteps", timesteps, "--output", tmp_path / "out")
    assert (told.code, said in told.err) == (2, True), told.err
    both = distill(
        "sample", tiny, "--prompt", "red", "--timesteps", "1000", "--steps", "2", "--output", tmp_path / "out"
    )
    assert "the timesteps say how many; leave out --steps" in both.err


def test_an_option_that_another_takes_the_effect_of_is_noted(resolve: Resolve) -> None:
    (note,) = resolve("dmd2", "method_config.gan_r1_scale=0.2").notes
    assert note == "method_config.gan_r1_scale has no effect: gan_weight is 0"
