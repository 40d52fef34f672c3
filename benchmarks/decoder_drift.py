"""What a VAE's decoder alone adds to the drift of long clips: real clips of the shapes world, slowed, encoded and decoded.

The first line of each length is of the clips as they were drawn. Seconds a clip on one CPU thread. With ``--samples``, clips that
`distill sample` wrote are measured alike, e.g. a student's by one decoder and by another (``--base``).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from distill_core.protocols import SampledVideo
from distill_core.video.reading import read_video
from distill_metric_drift.config import DriftOptions
from distill_metric_drift.metric import DriftMetric
from distill_metric_shapes.captions import SETTINGS, SMALL
from distill_metric_shapes.world import make_clip

SEED = 555


def main() -> None:
    """Print a line of figures for each length and pipeline."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pipelines", nargs="*", type=Path, help="diffusers folders with a VAE of the shapes world")
    parser.add_argument("--setting", choices=SETTINGS, default=SMALL.name, help="whose clips (default: %(default)s)")
    parser.add_argument("--frames", type=int, nargs="+", default=(9, 17, 33), help="4n + 1 (default: 9 17 33)")
    parser.add_argument("--clips", type=int, default=24, help="default: %(default)s")
    parser.add_argument("--samples", nargs="+", type=Path, default=(), help="folders of mp4 files, measured besides")
    arguments = parser.parse_args()
    if not arguments.pipelines and not arguments.samples:
        parser.error("nothing to measure; name pipelines, or --samples")
    torch.set_num_threads(1)
    for frames in arguments.frames if arguments.pipelines else ():
        setting = replace(SETTINGS[arguments.setting], frames=frames)
        drawn = [make_clip(setting, SEED, index).frames_FHW3 for index in range(arguments.clips)]
        videos = [torch.from_numpy(clip) for clip in drawn]
        tell(frames, "as drawn", videos)
        for pipeline in arguments.pipelines:
            vae = AutoencoderKLWan.from_pretrained(pipeline, subfolder="vae").float()
            tell(frames, str(pipeline), (through(vae, video) for video in videos))
    for folder in arguments.samples:
        sampled = [read_video(path).frames for path in sorted(folder.glob("*.mp4"))]
        if not sampled:
            parser.error(f"{folder} has no mp4 files; `distill sample` writes some")
        tell(len(sampled[0]), str(folder), sampled)


@torch.no_grad()
def through(vae: AutoencoderKLWan, video_FHW3: Tensor) -> Tensor:
    """A uint8 clip [F, H, W, 3], encoded and decoded."""
    unit_13FHW = video_FHW3.permute(3, 0, 1, 2)[None].float() / 127.5 - 1.0
    back_13FHW = vae.decode(vae.encode(unit_13FHW).latent_dist.mean).sample
    frames_FHW3: Tensor = ((back_13FHW[0] + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 3, 0)
    return frames_FHW3.contiguous()


def tell(frames: int, name: str, videos: Iterable[Tensor]) -> None:
    """Print the drift of clips."""
    figures = DriftMetric(DriftOptions()).measure([SampledVideo("", 0, video, 0) for video in videos])
    shown = "  ".join(f"{key} {figures[key]:.3f}" for key in ("colour", "contrast", "saturation", "place"))
    print(f"{frames:3} frames  {name:40}  {shown}", flush=True)


if __name__ == "__main__":
    main()
