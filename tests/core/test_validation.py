"""The validator: what it fills in, which weights it samples with, and what it survives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tests.core.conftest import methods

from distill_core.config.sampled import Validation, completed
from distill_core.protocols import Role, SampledVideo, ValidationRequest
from distill_core.sampling import validator as validation
from distill_core.sampling.measures import Measures
from distill_core.sampling.validator import VideoValidator, slug
from distill_core.stopping import Stopping
from distill_core.testing.contracts import toy_roles
from distill_core.tracking import JsonlTracker
from distill_core.tracking.events import Events
from distill_core.tracking.progress import Progress
from distill_core.training.averages import WeightAverage
from distill_core.training.roles import RoleHandle


class WeightSampler:
    """Remembers the first weight that it was asked to sample with."""

    def __init__(self) -> None:
        self.weights: list[float] = []

    def sample(
        self, role: Role, request: ValidationRequest, latent_shape: tuple[int, int, int, int]
    ) -> Iterator[SampledVideo]:
        for prompt in request.prompts or ():
            for seed in request.seeds or ():
                self.weights.append(next(role.modules["denoiser"].parameters()).flatten()[0].item())
                yield SampledVideo(prompt, seed, torch.zeros(2, 16, 16, 3, dtype=torch.uint8), 1)


def rig(folder: Path) -> tuple[VideoValidator, WeightSampler, RoleHandle]:
    role = toy_roles(methods()[0])["student"]
    sampler = WeightSampler()
    validator = VideoValidator(
        sampler,
        {"student": role},
        Validation(seeds=(3, 4)),
        ("a red square", "../../etc/passwd"),
        (1, 2, 4, 4),
        folder / "samples",
        sparsity=0.5,
        tracker=JsonlTracker(folder / "metrics.jsonl"),
        events=Events(folder / "events.jsonl"),
        measures=Measures({}, ()),
        progress=Progress(Console(quiet=True)),
        stopping=Stopping(),
    )
    return validator, sampler, role


def test_it_samples_with_the_average_and_puts_the_weights_back(tmp_path: Path) -> None:
    validator, sampler, role = rig(tmp_path)
    parameters = role.trained_parameters()
    role.average = WeightAverage(parameters, decay=0.5)
    for shadow in role.average.shadow.values():
        shadow.fill_(7.0)
    before = [parameter.detach().clone() for parameter in parameters.values()]
    validator.validate(ValidationRequest(role="student"), 5)
    assert set(sampler.weights) == {7.0}
    assert all(torch.equal(a, b) for a, b in zip(before, parameters.values(), strict=True))


def test_one_video_per_prompt_and_seed_none_outside_its_folder(tmp_path: Path) -> None:
    validator, _, _ = rig(tmp_path)
    written = validator.validate(ValidationRequest(role="student"), 5)
    assert [path.name for path in written] == [
        "00-a-red-square-seed3.mp4", "01-a-red-square-seed4.mp4", "02-etc-passwd-seed3.mp4", "03-etc-passwd-seed4.mp4",
    ]  # fmt: skip
    assert {path.parent for path in written} == {tmp_path / "samples" / "step-00000005"}


def test_a_video_that_cannot_be_written_is_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(validation, "write_sample", full)
    validator, _, _ = rig(tmp_path)
    assert validator.validate(ValidationRequest(role="student"), 5) == []
    assert "No space left" in capsys.readouterr().err


def test_what_the_method_says_is_kept_and_the_rest_is_the_runs() -> None:
    settings = Validation(sampling_steps=9, guidance_scale=3.0, seeds=(1,))
    ours = completed(ValidationRequest("student", timesteps=(1000.0,), guidance_scale=1.0), settings, ("p",), 0.5)
    assert (ours.steps, ours.timesteps, ours.guidance_scale, ours.seeds, ours.prompts) == (
        None,
        (1000.0,),
        1.0,
        (1,),
        ("p",),
    )
    theirs = completed(ValidationRequest("student", seeds=(5,), prompts=("q",)), settings, ("p",), 0.5)
    assert (theirs.steps, theirs.guidance_scale, theirs.seeds, theirs.prompts) == (9, 3.0, (5,), ("q",))


@given(st.text())
def test_a_slug_is_a_file_name(prompt: str) -> None:
    name = slug(prompt)
    assert name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert len(name) <= 48
