"""``method_config`` of DMD2."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from distill_method_dmd2.config import Dmd2Options


def test_trailing_zero_is_an_end_marker_and_no_step() -> None:
    assert Dmd2Options(dmd_denoising_steps=(999, 750, 500, 250, 0)).steps == (999, 750, 500, 250)


def test_a_single_step_is_kept() -> None:
    assert Dmd2Options(dmd_denoising_steps=(1000,)).steps == (1000,)


@pytest.mark.parametrize("steps", [(250, 500), (500, 500), (1000, 0, 0), (0,), (1000, 0, 500), (1001,), (-1,), ()])
def test_denoising_steps_out_of_order_or_range_are_refused(steps: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        Dmd2Options(dmd_denoising_steps=steps)


def test_guidance_is_standard_and_the_other_convention_adds_one() -> None:
    assert Dmd2Options().scale == 4.5
    assert Dmd2Options(guidance_scale=3.0).scale == 3.0
    assert Dmd2Options(real_score_guidance_scale=3.5).scale == 4.5


def test_both_guidance_conventions_at_once_are_refused() -> None:
    with pytest.raises(ValidationError, match="two conventions"):
        Dmd2Options(guidance_scale=3.0, real_score_guidance_scale=3.0)


def test_exchanged_timestep_ratios_are_refused() -> None:
    with pytest.raises(ValidationError, match="exchange"):
        Dmd2Options(min_timestep_ratio=0.9, max_timestep_ratio=0.1)


def test_unknown_option_and_interval_of_zero_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Dmd2Options(generator_update_intervall=5)
    with pytest.raises(ValidationError):
        Dmd2Options(generator_update_interval=0)
