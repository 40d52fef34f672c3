"""Options that say something to no effect are told by name, with what takes their effect away."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from distill_core.plugins import Options
from distill_core.plugins.discovery import discover

ROOT = Path(__file__).resolve().parents[2]
METHODS = discover().methods

IDLE = [
    ("anyflow", {"derivative": "jvp", "difference_step": 0.05}, ["difference_step"]),
    ("anyflow-on-policy", {"map_weight": 0, "diffusion_share": 0.3}, ["diffusion_share"]),
    ("consistency", {"pair": "data", "guidance_scale": 2}, ["guidance_scale"]),
    ("consistency", {"distance": "squared", "huber_constant": 0.1}, ["huber_constant"]),
    ("consistency", {"target_decay": 0.5, "logit_mean": 1}, ["target_decay", "logit_mean"]),
    ("diffusion-forcing", {"logit_std": 2}, ["logit_std"]),
    ("dmd2", {"gan_r1_weight": 0.1, "gan_layers": [0]}, ["gan_layers", "gan_r1_weight"]),
    ("dmd2", {"gan_weight": 0.1, "gan_r1_scale": 0.2}, ["gan_r1_scale"]),
    ("dmd2", {"regression_steps": 4, "diversity_steps": 20}, ["regression_steps", "diversity_steps"]),
    ("dmd2", {"dmd_denoising_steps": [1000], "score_floor": 0.5}, ["score_floor"]),
    ("dmd2", {"score_timesteps": {"logit_mean": 1}}, ["score_timesteps.logit_mean"]),
    ("dmd2", {"normalizer": "none", "normalizer_floor": 0.1}, ["normalizer_floor"]),
    ("dmd2", {"guidance_scale": 1, "guidance_range": [0, 500]}, ["guidance_range"]),
    ("fdistill", {"divergence": "rkl", "ratio_max": 9}, ["ratio_max"]),
    ("fdistill", {"weight_mean": "none", "weight_keep": 0.5}, ["weight_keep"]),
    ("finetune", {"weighting_scheme": "mode", "logit_mean": 1}, ["logit_mean"]),
    ("meanflow", {"velocity": "data", "guidance_scale": 2}, ["guidance_scale"]),
    ("nft", {"timesteps": [1000, 500], "sampling_steps": 5}, ["sampling_steps"]),
    ("phased-dmd", {"critic_rests": True, "critic_reuses_student_sample": False}, ["critic_reuses_student_sample"]),
    ("reward-gradient", {"gradient": "drawn_step", "through": 2}, ["through"]),
    ("scm", {"difference_step": 0.05}, ["difference_step"]),
    ("self-forcing", {"sid_alpha": 2}, ["sid_alpha"]),
    ("self-forcing", {"student_loss": "gan", "critic_loss": "x0"}, ["critic_loss"]),
]


def told(options: Options) -> list[str]:
    return [
        note.partition(" has no effect: ")[0].removeprefix("method_config.")
        for note in options.without_effect("method_config")
    ]


@pytest.mark.parametrize(("method", "options", "expected"), IDLE)
def test_what_the_other_options_take_the_effect_of_is_told(
    method: str, options: dict[str, object], expected: list[str]
) -> None:
    assert told(METHODS[method].options.model_validate(options)) == expected


@pytest.mark.parametrize("method", METHODS)
def test_defaults_say_nothing_to_no_effect_and_idle_options_exist(method: str) -> None:
    options = METHODS[method].options()
    assert told(options) == []
    assert {name for _, names in options.idle() for name in names} <= set(type(options).model_fields)


@pytest.mark.parametrize("recipe", sorted((ROOT / "examples").glob("*/*.yaml")), ids=lambda path: path.stem)
def test_no_shipped_recipe_says_anything_to_no_effect(recipe: Path) -> None:
    run = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    assert told(METHODS[run["recipe"]["method"]].options.model_validate(run.get("method_config", {}))) == []
