"""Rectified flow, once for every family: what follows from a velocity by arithmetic, and the grids that samplers walk down."""

from distill_core.flow.arithmetic import (
    TRAIN_TIMESTEPS,
    add_noise,
    denoised,
    euler_step,
    move,
    noise_of,
    noised,
    shaped_like,
    shift_timestep,
    sigma_of,
    velocity_of,
    x0_of,
)
from distill_core.flow.derivative import predict_along
from distill_core.flow.grids import denoising_grid, shifted_uniform_grid
from distill_core.flow.guidance import (
    at_once,
    both_sides,
    flow_states,
    grid_through,
    guided_paths,
    guided_velocity,
    timestep_of,
)
from distill_core.flow.trig import TrigState, angle_of

__all__ = [
    "TRAIN_TIMESTEPS",
    "TrigState",
    "add_noise",
    "angle_of",
    "at_once",
    "both_sides",
    "denoised",
    "denoising_grid",
    "euler_step",
    "flow_states",
    "grid_through",
    "guided_paths",
    "guided_velocity",
    "move",
    "noise_of",
    "noised",
    "predict_along",
    "shaped_like",
    "shift_timestep",
    "shifted_uniform_grid",
    "sigma_of",
    "timestep_of",
    "velocity_of",
    "x0_of",
]
