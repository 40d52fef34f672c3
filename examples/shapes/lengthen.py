"""A pipeline whose VAE decodes longer clips than it was trained on.

A causal decoder that never saw a fourth latent frame gives it other colours: there, what it remembers comes from further back than any
frame of its training had. Only the decoder is trained here, on clips of another setting: the encoder, and so every latent, is what it was,
and data, teachers and students go on fitting. A training that was stopped goes on by the same command, from the state beside its output.

Shapes in names: N clips, B batch, C latent channels, T latent frames, F frames, H height, W width, 3 = RGB in [-1, 1].
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file, save_file
from torch import Tensor
from vae import LATENT_NOISE, decode_unclamped, load_state, pixel_weight, save_state, to_video

from distill_core.data.encoding.keys import hash_file
from distill_core.durable import SEAL
from distill_core.errors import DistillError, RunDirectoryError
from distill_diffusers.export_record import RECORD
from distill_metric_shapes.captions import MEDIUM, SETTINGS, Setting
from distill_metric_shapes.world import make_clip

WEIGHTS = Path("vae", "diffusion_pytorch_model.safetensors")
STRIDE = 4
"""Pixels of a latent's side, and frames of every latent frame but the first.

As many pixels at each border of a cutting do not count: the decoder knows it as the border of a clip, and it is none.
"""
KEPT = 20
"""Steps after which the training says how far it is, and keeps it."""


@dataclass(frozen=True)
class Lengthening:
    """How long, how fast, and on what: cuttings of ``cut`` latents a side. The learning rate falls linearly to zero."""

    steps: int = 400
    clips: int = 64
    batch: int = 4
    cut: int = 8
    learning_rate: float = 1e-3
    clip_norm: float = 1.0
    seed: int = 0


def main() -> None:
    """Do what the command line asks for; exit with the error's own status, and one line, where it cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pipeline", type=Path, help="a diffusers pipeline of the shapes world")
    parser.add_argument(
        "--output", type=Path, required=True, help="a new folder: the same pipeline with the other decoder"
    )
    parser.add_argument("--setting", choices=SETTINGS, default=MEDIUM.name, help="whose clips it is to decode")
    parser.add_argument("--frames", type=int, help="how long they are, 4n + 1 (default: the setting's own)")
    parser.add_argument("--steps", type=int, default=Lengthening.steps, help="default: %(default)s")
    parser.add_argument("--clips", type=int, default=Lengthening.clips, help="default: %(default)s")
    arguments = parser.parse_args()
    if arguments.steps < 1 or arguments.clips < 1:
        parser.error("--steps and --clips start at 1")
    setting = SETTINGS[arguments.setting]
    frames = setting.frames if arguments.frames is None else arguments.frames
    if frames < 1 or frames % STRIDE != 1:
        parser.error(f"--frames is 4n + 1, as the VAE has it: {max(1, frames - (frames - 1) % STRIDE)}, not {frames}")
    torch.set_num_threads(1)
    training = Lengthening(arguments.steps, arguments.clips)
    try:
        lengthen(arguments.pipeline, arguments.output, replace(setting, frames=frames), training)
    except DistillError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def lengthen(pipeline: Path, output: Path, setting: Setting, training: Lengthening) -> None:
    """Write ``pipeline`` to ``output``, its decoder trained on clips of a setting.

    Raises:
        RunDirectoryError: ``output`` is there already.
        CheckpointError: what is kept beside it is of another training, or cannot be read.
    """
    if output.exists():
        raise RunDirectoryError(f"{output} is there already; name a new folder, or remove this one")
    vae = AutoencoderKLWan.from_pretrained(pipeline, subfolder="vae").float()
    output.parent.mkdir(parents=True, exist_ok=True)
    state_file = output.with_name(f"{output.name}.state.pt")
    identity = {**asdict(training), **asdict(setting), "vae": hash_file(pipeline / WEIGHTS)}
    trained = train_decoder(vae, setting, training, state_file, identity).state_dict()
    stored = load_file(pipeline / WEIGHTS)
    part = output.with_name(f"{output.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(pipeline, part)
    weights = {name: trained[name].to(tensor.dtype).contiguous() for name, tensor in stored.items()}
    save_file(weights, part / WEIGHTS, metadata={"format": "pt"})
    _forget_hashes(part / RECORD)
    part.rename(output)
    state_file.unlink()


def _forget_hashes(record: Path) -> None:
    """Leave the hashes of what was exported out of an export's record: the decoder is another."""
    if record.is_file():
        said = json.loads(record.read_text(encoding="utf-8"))
        left = {key: value for key, value in said.items() if key not in ("files", SEAL)}
        record.write_text(json.dumps(left, indent=2), encoding="utf-8")


def train_decoder(
    vae: AutoencoderKLWan, setting: Setting, training: Lengthening, state_file: Path, identity: Mapping[str, object]
) -> AutoencoderKLWan:
    """The same VAE, trained where it decodes; ``identity`` is all that its steps follow from, and ``state_file`` where they are kept."""
    videos, latents = _encoded(vae, setting, training)
    vae.requires_grad_(False)
    trained = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained, lr=training.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    begin = load_state(state_file, vae, optimizer, identity)
    if begin:
        print(f"[decoder] going on from step {begin} of {training.steps}", flush=True)
    for step in range(begin, training.steps):
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate * (1.0 - step / training.steps)
        video_B3FHW, latents_BCTHW = _cut(videos, latents, training, step)
        error = decode_unclamped(vae, latents_BCTHW) - video_B3FHW
        weighted = pixel_weight(video_B3FHW) * (2.0 * error.square() + 0.5 * error.abs())
        edge = STRIDE if training.cut < latents.shape[-1] else 0
        weighted[..., edge : weighted.shape[-2] - edge, edge : weighted.shape[-1] - edge].mean().backward()
        torch.nn.utils.clip_grad_norm_(trained, training.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % KEPT == 0 or step + 1 == training.steps:
            last = error.detach()[:, :, -STRIDE:].abs().mean().item()
            print(f"[decoder] step {step + 1} of {training.steps}: error of the last frames {last:.3f}", flush=True)
            save_state(state_file, vae, optimizer, identity, step + 1)
    return vae.requires_grad_(False)


@torch.no_grad()
def _encoded(vae: AutoencoderKLWan, setting: Setting, training: Lengthening) -> tuple[Tensor, Tensor]:
    """Clips [N, 3, F, H, W], and the means of their latents [N, C, T, H, W]."""
    drawn = (make_clip(setting, training.seed, index, "exclude") for index in range(training.clips))
    videos = torch.cat([to_video(clip.frames_FHW3[None]) for clip in drawn])
    return videos, torch.cat([vae.encode(video[None]).latent_dist.mean for video in videos])


def _cut(videos: Tensor, latents: Tensor, training: Lengthening, step: int) -> tuple[Tensor, Tensor]:
    """The cuttings of a step, and their latents with noise that the decoder is to bear: a function of (seed, step) alone."""
    rng = np.random.default_rng([training.seed, step])
    rows, columns = (latents.shape[axis] - training.cut + 1 for axis in (-2, -1))
    found = []
    for clip in rng.integers(len(videos), size=training.batch):
        y, x = int(rng.integers(rows)), int(rng.integers(columns))
        pixels = slice(STRIDE * y, STRIDE * (y + training.cut)), slice(STRIDE * x, STRIDE * (x + training.cut))
        found.append((videos[clip][..., *pixels], latents[clip][..., y : y + training.cut, x : x + training.cut]))
    latents_BCTHW = torch.stack([latent for _, latent in found])
    noise = torch.from_numpy(rng.standard_normal(latents_BCTHW.shape, dtype=np.float32))
    return torch.stack([video for video, _ in found]), latents_BCTHW + LATENT_NOISE * noise


if __name__ == "__main__":
    main()
