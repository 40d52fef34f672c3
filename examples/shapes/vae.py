"""Training the small Wan VAE of the shapes world on drawn clips: model, loss, loop, and the measured latent statistics.

An autoencoder is no method of distill's, so this is a script of the example. It resumes from its own state file, and what
step k sees depends on (seed, k) alone. The loss and its weights were found on this world and claim nothing beyond it.

Shapes in names: B batch, C latent channels, T latent frames, F frames, H height, W width, 3 = RGB in [-1, 1].
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from torch import Tensor
from torch.nn import functional

from distill_core.errors import CheckpointError
from distill_metric_shapes.world import BACKGROUND

LATENT_CHANNELS = 8
LATENT_NOISE = 0.1  # standard deviation of the noise that the decoder is trained to bear
PRIOR_WEIGHT = 1e-3
PRIOR_LOGVAR = -4.6  # 2 log(0.1): the posterior's own spread says the same as LATENT_NOISE


@dataclass(frozen=True)
class VaeTraining:
    """How long and how fast: the learning rate is constant, then falls linearly to zero over ``decay`` of the steps."""

    steps: int = 3200
    batch: int = 4
    learning_rate: float = 2e-3
    decay: float = 0.6
    clip_norm: float = 1.0
    seed: int = 0

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of step ``step`` in [0, steps)."""
        remaining = (self.steps - step) / (self.decay * self.steps)
        return self.learning_rate * min(1.0, remaining)


def new_vae(seed: int) -> AutoencoderKLWan:
    """An untrained AutoencoderKLWan of 0.17 M parameters: 8 channels, 4 × 4 × 4 compression."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoencoderKLWan(
            base_dim=8,
            z_dim=LATENT_CHANNELS,
            dim_mult=[1, 2, 2],
            num_res_blocks=1,
            temperal_downsample=[True, True],
            scale_factor_spatial=4,
            scale_factor_temporal=4,
            latents_mean=[0.0] * LATENT_CHANNELS,
            latents_std=[1.0] * LATENT_CHANNELS,
        )


def to_video(frames_BFHW3: npt.NDArray[np.uint8]) -> Tensor:
    """uint8 frames as the VAE's input, [B, 3, F, H, W] in [-1, 1]."""
    return torch.from_numpy(frames_BFHW3).permute(0, 4, 1, 2, 3).float().div(127.5).sub(1.0)


def to_frames(video_B3FHW: Tensor) -> npt.NDArray[np.uint8]:
    """The inverse of `to_video`, rounded and clamped."""
    frames = video_B3FHW.add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 4, 1)
    return frames.contiguous().numpy()


def decode_unclamped(vae: AutoencoderKLWan, latents_BCTHW: Tensor) -> Tensor:
    """What ``vae.decode`` computes before it clamps to [-1, 1], where a clamped pixel would get no gradient."""
    hidden = vae.post_quant_conv(latents_BCTHW)
    cache = [None] * sum(isinstance(module, WanCausalConv3d) for module in vae.decoder.modules())
    chunks = [
        vae.decoder(chunk, feat_cache=cache, feat_idx=[0], first_chunk=index == 0)
        for index, chunk in enumerate(hidden.split(1, dim=2))
    ]
    return torch.cat(chunks, dim=2)


def pixel_weight(video_B3FHW: Tensor) -> Tensor:
    """The weight of each pixel, [B, 1, F, H, W]: 1 on the background, 4 on a shape, and more on edges.

    w = 1 + 3·foreground + 20·|x − blur₃(x)|, with x in [0, 1].
    """
    unit = video_B3FHW.add(1.0).div(2.0)
    foreground = (unit.amax(dim=1, keepdim=True) - BACKGROUND).clamp(min=0.0).gt(0.3).float()
    blurred = functional.avg_pool3d(
        functional.pad(unit, (1, 1, 1, 1, 0, 0), mode="replicate"), kernel_size=(1, 3, 3), stride=1
    )
    edge = (unit - blurred).abs().mean(dim=1, keepdim=True)
    return 1.0 + 3.0 * foreground + 20.0 * edge


def vae_loss(vae: AutoencoderKLWan, video_B3FHW: Tensor, noise_BCTHW: Tensor) -> Tensor:
    """Weighted reconstruction, 2·squared + ½·absolute error, and a weak pull of the posterior to N(0, 0.1²)."""
    posterior = vae.encode(video_B3FHW).latent_dist
    recon_B3FHW = decode_unclamped(vae, posterior.mean + LATENT_NOISE * noise_BCTHW)
    error = recon_B3FHW - video_B3FHW
    recon = (pixel_weight(video_B3FHW) * (2.0 * error.square() + 0.5 * error.abs())).mean()
    prior: Tensor = posterior.mean.square().mean() + (posterior.logvar - PRIOR_LOGVAR).square().mean()
    return recon + PRIOR_WEIGHT * prior


@dataclass(frozen=True)
class Progress:
    """What the loop reports: steps done, the mean loss since the last report, steps a second, seconds left at that rate."""

    step: int
    loss: float
    rate: float
    seconds_left: float


def train_vae(
    frames_NFHW3: npt.NDArray[np.uint8],
    training: VaeTraining,
    state_file: Path,
    report: Callable[[Progress], None],
    seconds: float = float("inf"),
    every: int = 100,
) -> tuple[AutoencoderKLWan, int]:
    """Train until ``training.steps`` or until ``seconds`` of this call are over; the state file lets a later call go on.

    Returns:
        The VAE in evaluation mode, and the number of steps that it has been trained for in all.

    Raises:
        CheckpointError: the state file is of a training with other settings.
    """
    vae = new_vae(training.seed).train()
    _lay_channels_last(vae)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=training.learning_rate, betas=(0.9, 0.99), fused=True)
    step = load_state(state_file, vae, optimizer, asdict(training))
    started, first, total = time.monotonic(), step, 0.0
    while step < training.steps and time.monotonic() - started < seconds:
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate_at(step)
        loss = vae_loss(vae, *_draw_batch(frames_NFHW3, training, step))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), training.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        step, total = step + 1, total + loss.item()
        if step % every == 0 or step == training.steps:
            rate = (step - first) / (time.monotonic() - started)
            report(Progress(step, total / min(every, step - first), rate, (training.steps - step) / rate))
            save_state(state_file, vae, optimizer, asdict(training), step)
            total = 0.0
    save_state(state_file, vae, optimizer, asdict(training), step)
    trained = new_vae(training.seed)  # with contiguous weights again, which safetensors asks for
    trained.load_state_dict(vae.state_dict())
    return trained.eval(), step


def _lay_channels_last(vae: AutoencoderKLWan) -> None:
    """Store convolution weights as the CPU kernels read them: a fifth faster here."""
    for parameter in vae.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.to(memory_format=torch.channels_last_3d)


def _draw_batch(frames_NFHW3: npt.NDArray[np.uint8], training: VaeTraining, step: int) -> tuple[Tensor, Tensor]:
    """The clips and the latent noise of a step, a function of (seed, step) alone."""
    rng = np.random.default_rng([training.seed, step])
    video_B3FHW = to_video(frames_NFHW3[rng.integers(len(frames_NFHW3), size=training.batch)])
    batch, _, frames, height, width = video_B3FHW.shape
    shape = (batch, LATENT_CHANNELS, 1 + (frames - 1) // 4, height // 4, width // 4)
    return video_B3FHW, torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def save_state(
    state_file: Path,
    vae: AutoencoderKLWan,
    optimizer: torch.optim.Optimizer,
    training: Mapping[str, object],
    step: int,
) -> None:
    """Keep a training of which ``step`` steps are done, in place of what is there; ``training`` is what its steps follow from."""
    state = {"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "training": dict(training), "step": step}
    partial = state_file.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(state_file)


def load_state(
    state_file: Path, vae: AutoencoderKLWan, optimizer: torch.optim.Optimizer, training: Mapping[str, object]
) -> int:
    """Go on where :func:`save_state` left off: the steps that are done, 0 where nothing is kept.

    Raises:
        CheckpointError: the file cannot be read, or is of another training.
    """
    if not state_file.exists():
        return 0
    try:
        state = torch.load(state_file, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        raise CheckpointError(
            f"{state_file} cannot be read as the state of a training; remove it to begin anew"
        ) from error
    if state["training"] != dict(training):
        raise CheckpointError(
            f"{state_file} was trained with {state['training']}, not {dict(training)}; "
            "ask for the same settings, or name another folder"
        )
    vae.load_state_dict(state["vae"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def latent_statistics(vae: AutoencoderKLWan, frames_NFHW3: npt.NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """The mean and the standard deviation of each latent channel over these clips: the config's latents_mean and _std."""
    latents_NCTHW = encode(vae, frames_NFHW3)
    return latents_NCTHW.mean(dim=(0, 2, 3, 4)).tolist(), latents_NCTHW.std(dim=(0, 2, 3, 4)).tolist()


@torch.no_grad()
def encode(vae: AutoencoderKLWan, frames_NFHW3: npt.NDArray[np.uint8], batch: int = 32) -> Tensor:
    """The posterior means [N, C, T, H, W] of clips, not normalised."""
    starts = range(0, len(frames_NFHW3), batch)
    return torch.cat([vae.encode(to_video(frames_NFHW3[i : i + batch])).latent_dist.mean for i in starts])


@torch.no_grad()
def reconstruct(vae: AutoencoderKLWan, frames_NFHW3: npt.NDArray[np.uint8], batch: int = 32) -> npt.NDArray[np.uint8]:
    """What the VAE makes of clips, as uint8 frames."""
    latents_NCTHW = encode(vae, frames_NFHW3, batch)
    return np.concatenate([to_frames(vae.decode(chunk).sample) for chunk in latents_NCTHW.split(batch)])


def psnr(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of the mean squared error over all clips."""
    mean_square = np.square(one.astype(np.float64) - other.astype(np.float64)).mean()
    return float(10.0 * np.log10(255.0**2 / mean_square))
