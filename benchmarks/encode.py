"""How much of the time of `distill data encode` is the VAE's: clips per second of the whole against a bare loop over the VAE.

    python benchmarks/encode.py [--clips 8] [--frames 17] [--size 96] [--vae-width 24] [--repeats 3]

Makes a tiny pipeline of real classes, with a VAE of the published shape at a quarter of its width, and that many mp4 files, and encodes
them twice over, in turns: by the code of the command (decode, resize, encode the caption, write parquet and report), and by calling the
VAE on frames that are in memory already. Both use one thread for the VAE; the command decodes ahead in another. Prints the ratio of the
best times: on the wall, which needs a second core that is free, and of the encoding thread alone, which does not.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan

from distill_core.data.encoding.clips import cut_clips
from distill_core.data.encoding.encode_videos import encode_videos
from distill_core.data.encoding.encoder import Encoding
from distill_core.data.encoding.encoder_keys import encoder_keys
from distill_core.data.encoding.folder import EncodingFolder
from distill_core.data.encoding.report import Fate
from distill_core.data.encoding.rules import clip_rules
from distill_core.data.encoding.shard import Shard
from distill_core.data.encoding.sources import find_sources
from distill_core.data.reading.origin import Origin
from distill_core.video.writing import write_mp4
from distill_model_wan.config import WanOptions
from distill_model_wan.folder import inspect
from distill_model_wan.model import WanModel
from distill_model_wan.testing import make_tiny_pipeline


def film(path: Path, frames: int, size: int, number: int) -> None:
    """A video of noise, a third larger than what it will be made into, and its caption."""
    side = size * 4 // 3
    pixels = torch.randint(
        0, 256, (frames, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(number)
    )
    write_mp4(path, pixels, 16.0)
    path.with_suffix(".txt").write_text(f"noise number {number}", encoding="utf-8")


def widen_vae(model: Path, width: int) -> None:
    """Give a pipeline a VAE of the published shape and this width (96 is the published one)."""
    vae = AutoencoderKLWan(base_dim=width, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=1)
    vae.save_pretrained(model / "vae")


@dataclass(frozen=True)
class Seconds:
    """How long a call takes: by the clock on the wall, and of the calling thread's time on a core."""

    wall: float
    thread: float

    @classmethod
    def of(cls, work: Callable[[], None]) -> Seconds:
        """Measure it."""
        wall, thread = time.perf_counter(), time.thread_time()
        work()
        return cls(time.perf_counter() - wall, time.thread_time() - thread)


def ignore(_: Sequence[Fate]) -> None:
    """Nobody listens."""


def main() -> None:
    """Print the two rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--vae-width", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_tiny_pipeline(folder / "model")
        widen_vae(folder / "model", arguments.vae_width)
        for number in range(arguments.clips):
            film(folder / "videos" / f"{number:03d}.mp4", arguments.frames, arguments.size, number)
        facts = inspect(str(folder / "model"))
        model = WanModel(facts, WanOptions(), torch.device("cpu"), torch.float32)
        rules = clip_rules(facts, num_frames=arguments.frames, height=arguments.size, width=arguments.size)
        sources = find_sources(folder / "videos")
        frames = [clip.frames for source in sources for clip in cut_clips(source.path, rules)]
        origin = Origin("wan", "model", encoder_keys(facts).whole)

        def command() -> None:
            shutil.rmtree(folder / "out", ignore_errors=True)
            target = EncodingFolder(folder / "out", Shard())
            with target.claimed():
                fates = encode_videos(sources, target, Encoding(model, facts, torch.float32, origin, ignore), rules)
                target.finish(fates)

        def bare() -> None:
            for pixels in frames:
                model.encode_video(pixels)

        bare()
        command()  # the encoders are loaded when first used
        times = [(Seconds.of(command), Seconds.of(bare)) for _ in range(arguments.repeats)]
    whole, alone = (min(taken.wall for taken in column) for column in zip(*times, strict=True))
    whole_thread, alone_thread = (min(taken.thread for taken in column) for column in zip(*times, strict=True))
    size = f"{arguments.size} x {arguments.size}"
    print(f"{arguments.clips} clips of {arguments.frames} frames, {size}, best of {arguments.repeats}")
    print(
        f"command {arguments.clips / whole:.2f} clips/s, VAE alone {arguments.clips / alone:.2f} clips/s: {alone / whole:.3f}"
    )
    print(f"of the encoding thread's time on its core: {alone_thread / whole_thread:.3f}")


if __name__ == "__main__":
    main()
