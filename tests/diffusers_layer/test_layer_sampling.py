"""A folder's own scheduler, and the draws of a pipeline."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill_core.flow.walks import Velocity
from distill_diffusers.few_step_grid import few_step_scheduler
from distill_diffusers.sampling import PipelineNoise, scheduled
from distill_diffusers.schedule import Schedule, shift_of_tokens
from distill_diffusers.schedulers import asked, many_step_scheduler

CPU = torch.device("cpu")
SHAPE = (2, 16, 4, 4)
UNIPC = {"_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction", "use_flow_sigmas": True}


def noise_of(seed: int = 0) -> PipelineNoise:
    return PipelineNoise(SHAPE, torch.Generator().manual_seed(seed), CPU)


def walked(velocity: Velocity, steps: int) -> Tensor:
    scheduler = asked(many_step_scheduler(UNIPC, 3.0), "steps", steps, 3.0, CPU)
    return scheduled(velocity, scheduler, noise_of())


def test_the_scheduler_reaches_a_fixed_clean_video() -> None:
    """With the velocity of the straight line to x0 = 5, any sound flow solver arrives there (UniPC to 1e-2: it rounds timesteps)."""
    sample = walked(lambda x, t: (x - 5.0) / (t / 1000.0).float(), 6)
    torch.testing.assert_close(sample, torch.full_like(sample, 5.0), rtol=0, atol=1e-2)


def test_the_scheduler_walks_the_shifted_grid() -> None:
    asked: list[float] = []

    def velocity(x: Tensor, t_B: Tensor) -> Tensor:
        asked.append(t_B.item())
        return x

    walked(velocity, 4)
    assert asked == [999.0, 900.0, 750.0, 500.0]


def test_noise_is_drawn_in_the_pipelines_order() -> None:
    generator = torch.Generator().manual_seed(0)
    first, later = torch.randn(16, 2, 4, 4, generator=generator), torch.randn(2, 4, 4, 16, generator=generator)
    noise = PipelineNoise(SHAPE, torch.Generator().manual_seed(0), CPU, Schedule(later_noise="THWC"))
    assert noise.draw().equal(first.transpose(0, 1)[None])
    assert noise.draw().equal(later.movedim(-1, 1)[None])


DYNAMIC = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "use_dynamic_shifting": True,
    "base_shift": 0.95,
    "max_shift": 2.05,
}


@pytest.mark.parametrize("kind", ["exponential", "linear"])
def test_a_shift_by_the_number_of_tokens_is_the_schedulers(kind: str) -> None:
    config = {**DYNAMIC, "time_shift_type": kind, "base_image_seq_len": 1024}
    shift = shift_of_tokens(config, 3000)
    mu = 0.95 + 1.1 * (3000 - 1024) / (4096 - 1024)
    scheduler = many_step_scheduler(config, None)
    scheduler.set_timesteps(sigmas=[0.5], mu=mu)
    assert scheduler.timesteps.item() == pytest.approx(1000 * shift * 0.5 / (1 + (shift - 1) * 0.5), abs=1e-3)


def test_a_runs_own_shift_takes_the_schedulers_place() -> None:
    scheduler = asked(many_step_scheduler(DYNAMIC, 3.0), "sigmas", 2, 3.0, CPU)
    assert scheduler.timesteps.tolist() == pytest.approx([1000.0, 750.0])


@pytest.mark.parametrize(
    "grid", [(1000.0,), (1000.0, 500.0), (1000.0, 750.0, 500.0, 250.0), (1000.0, 937.5, 833.3333333, 625.0)]
)
def test_a_pipeline_that_asks_for_sigmas_can_be_made_to_follow_a_grid(grid: tuple[float, ...]) -> None:
    scheduler = few_step_scheduler(grid, "sigmas", stochastic=False)
    steps = len(grid)
    scheduler.set_timesteps(sigmas=[1.0 - k / steps for k in range(steps)])
    assert scheduler.timesteps.tolist() == pytest.approx(grid, abs=1e-3)
