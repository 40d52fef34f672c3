"""What Wan is published with and a folder must be made with."""

from __future__ import annotations

from diffusers import UniPCMultistepScheduler


def published_scheduler(flow_shift: float) -> UniPCMultistepScheduler:
    """The many-step scheduler that Wan is published with."""
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=flow_shift
    )
