"""How a variance-preserving diffusion counts noise, and how near a flow's shift comes to it. Imports no torch.

A sample x_vp = √a x0 + √(1-a) ε is √a + √(1-a) times x_t = (1-σ) x0 + σ ε, with σ = √(1-a) / (√a + √(1-a)).
"""

from __future__ import annotations

import math
from itertools import accumulate
from operator import mul

from distill_core.errors import ModelFolderError
from distill_diffusers.json_files import SCHEDULER, Json, Repeats, parse
from distill_diffusers.pipeline_folder import PipelineFolder


class DiffusionNoise(Json):
    """scheduler/scheduler_config.json of CogVideoX's schedulers, with diffusers' defaults."""

    num_train_timesteps: Repeats = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.0120
    beta_schedule: str = "scaled_linear"
    prediction_type: str = "v_prediction"
    rescale_betas_zero_snr: bool = True
    snr_shift_scale: float = 3.0

    @property
    def middle_shift(self) -> float:
        """The flow shift that spreads timesteps most alike: it takes 500 to where the model's middle timestep lies.

        ``a`` is the model's table of ᾱ, of which the last is 0.
        """
        count = self.num_train_timesteps
        first, last = math.sqrt(self.beta_start), math.sqrt(self.beta_end)
        betas = ((first + (last - first) * step / max(1, count - 1)) ** 2 for step in range(count))
        kept = list(accumulate((1.0 - beta for beta in betas), mul))
        roots = [math.sqrt(a / (self.snr_shift_scale + (1.0 - self.snr_shift_scale) * a)) for a in kept]
        root = (roots[count // 2] - roots[-1]) * roots[0] / max(roots[0] - roots[-1], 1e-9)
        return math.sqrt(1.0 - root**2) / root


def noise_of_folder(folder: PipelineFolder) -> DiffusionNoise:
    """That of a folder. Raises ModelFolderError for noise that no flow can be seen in: another prediction, or one that leaves a signal."""
    noise = parse(DiffusionNoise, folder.scheduler, folder.path / SCHEDULER)
    for name, value in {
        "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "beta_schedule": "scaled_linear"
    }.items():  # fmt: skip
        if getattr(noise, name) != value:
            raise ModelFolderError(
                f"{folder.path}: its scheduler's {name} is {getattr(noise, name)}; supported is {value}, as published"
            )
    return noise
