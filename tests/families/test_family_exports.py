"""What each family samples is what vanilla diffusers makes of its export, called as the export's card says."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.families.conftest import Family
from torch import Tensor

from distill_core.errors import ModelFolderError
from distill_core.plugins.loading import load_target
from distill_core.protocols import ValidationRequest
from distill_diffusers.loading import part_class

FEW = ValidationRequest(
    "student", "ode", timesteps=(1000.0, 750.0, 500.0), guidance_scale=1.0, seeds=(7,), prompts=("a cat",)
)
MANY = replace(FEW, timesteps=None, steps=4)


def said_by_the_card(folder: Path) -> dict[str, Any]:
    """The arguments of the pipeline's call in an export's README."""
    code = (folder / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    (call,) = [
        node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call) and ast.unparse(node.func) == "pipe"
    ]
    return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}


def vanilla(family: Family, folder: Path) -> Tensor:
    """Frames [F, H, W, 3] of the export through nothing but diffusers; a stochastic scheduler shares the pipeline's generator."""
    theirs = family.vanilla(folder)
    theirs.set_progress_bar_config(disable=True)
    generator = torch.Generator("cpu").manual_seed(7)
    if theirs.scheduler.config.get("stochastic_sampling"):
        theirs.scheduler.step = partial(theirs.scheduler.step, generator=generator)
    said = {**said_by_the_card(folder), "prompt": "a cat"}
    (made,) = theirs(**said, generator=generator, output_type="pt", return_dict=False)
    pixels_FCHW = made if family.facts.max_frames == 1 else made[0]
    return (pixels_FCHW * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1)


def latents_decoded(family: Family, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What any VAE of the family is given to decode from now on, as it comes."""
    given: list[Tensor] = []
    vae = part_class(family.facts, "vae")
    decode = vae.decode

    def watched(self: object, latents: Tensor, *more: object, **named: object) -> object:
        given.append(latents.detach().clone())
        return decode(self, latents, *more, **named)

    monkeypatch.setattr(vae, "decode", watched)
    return given


@pytest.mark.parametrize(
    "request_",
    [FEW, replace(FEW, sampler="sde"), replace(FEW, timesteps=(1000.0,)), MANY, replace(MANY, guidance_scale=3.0)],
    ids=["euler", "sde", "one-step", "scheduler", "guided"],
)
def test_an_export_is_sampled_by_diffusers_within_one_level(
    family: Family, tmp_path: Path, request_: ValidationRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, decoded = family.model(), latents_decoded(family, monkeypatch)
    role = family.role(model)
    if model.own_steps is not None and request_.timesteps is not None:
        steps = max(model.own_steps.fewest, len(request_.timesteps))
        request_ = replace(request_, timesteps=model.own_steps.grid(steps), sampler="ode")
    model.export(role.modules, family.facts, request_, family.shape, tmp_path / "out", torch.float32)
    (video,) = model.sampler.sample(role, request_, family.shape)
    theirs = vanilla(family, tmp_path / "out")
    ours_at_last, theirs_at_last = decoded
    assert (ours_at_last - theirs_at_last).abs().max() <= 1e-4 * ours_at_last.std(), (
        "a decoder hides what levels do not show"
    )
    assert video.frames.shape == theirs.shape
    assert (video.frames.int() - theirs.int()).abs().max() <= 1
    assert video.frames.float().std() > 1.0, "a grey picture would agree with any other"
    assert family.look(tmp_path / "out").sampling is not None


@pytest.mark.parametrize("family", ["cogvideox", "cosmos2"], indirect=True)
def test_what_a_pipeline_of_steps_of_its_own_cannot_follow_is_refused_with_what_it_can(
    family: Family, tmp_path: Path
) -> None:
    model = family.model()
    role = family.role(model)
    for request, words in (
        (FEW, r"not 1000, 750, 500: of 3 steps it makes \d"),
        (replace(FEW, sampler="sde"), "never noises anew"),
    ):
        with pytest.raises(ModelFolderError, match=words):
            model.export(role.modules, family.facts, request, family.shape, tmp_path / "out", torch.float32)
        (video,) = model.sampler.sample(role, request, family.shape)
        assert len(video.frames) == family.frames[0], "distill itself samples it"


UNFOLLOWED: Mapping[str, ValidationRequest] = {
    "guidance": replace(MANY, guidance_scale=0.5),
    "guidance of 1.5": replace(MANY, guidance_scale=1.5, negative_prompt="blurred"),
    "grid": replace(FEW, timesteps=(999.0, 750.0, 500.0, 250.0)),
    "jumps": replace(FEW, until=True, guidance_scale=0.5),
    "all": replace(FEW, sampler=None, timesteps=(999.0, 750.0, 500.0, 250.0), guidance_scale=0.5),
}
"""What some pipelines do not follow, or none."""


@pytest.mark.parametrize("request_", UNFOLLOWED.values(), ids=UNFOLLOWED)
def test_a_note_before_training_says_all_that_an_export_will_be_refused_for(
    family: Family, tmp_path: Path, request_: ValidationRequest
) -> None:
    options = family.spec.options.model_validate({"sampler_kind": "sde"})
    facts = family.spec.settle(family.facts, options)
    noted = list(load_target(family.spec.notes)(facts, options, request_))
    model = family.model(sampler_kind="sde")
    told = list[str]()
    try:
        model.export(family.role(model).modules, family.facts, request_, family.shape, tmp_path / "out", torch.float32)
    except ModelFolderError as refusal:
        told = str(refusal).splitlines()
    assert noted == [f"`distill export` will refuse the result: {reason}" for reason in told]
    if request_ is UNFOLLOWED["all"]:
        assert len(told) == 2 + (model.own_steps is not None)
    elif request_ not in (UNFOLLOWED["guidance of 1.5"], UNFOLLOWED["grid"]):
        assert told
