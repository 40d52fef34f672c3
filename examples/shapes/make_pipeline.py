"""Make the small Wan pipeline of the shapes world, in diffusers format: a trained VAE, random text, an untrained denoiser.

Stages: draw clips, train the VAE, measure it, save the folder. Each leaves its result in the work folder, so that a run that was
stopped goes on where it was. The denoiser is trained afterwards, by distill's own finetune method.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

import diffusers
import numpy as np
import numpy.typing as npt
import torch
import transformers
from clips import CAPTIONS_FILE, read_clips, write_folder
from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel
from text_encoder import TEXT_WIDTH, make_text_encoder, make_tokenizer
from vae import LATENT_CHANNELS, Progress, VaeTraining, latent_statistics, psnr, reconstruct, train_vae

from distill_core.errors import DistillError, RunDirectoryError
from distill_metric_shapes.captions import SMALL, HeldOut, vocabulary
from distill_metric_shapes.measure import Accuracy, accuracy, measure
from distill_metric_shapes.world import make_clip
from distill_model_wan.published import published_scheduler

TRAINING_CLIPS = 2004
EVALUATION_CLIPS = 288
EVALUATION_SEED = 1_000_000  # added to the seed: clips that training never sees, held-out compositions among them
DTYPES = {"float16": torch.float16, "float32": torch.float32}


def main() -> None:
    """Run the stages that are not done yet; exit with the error's own status, and one line, where it cannot be done."""
    parser = argparse.ArgumentParser(description="Make the small Wan pipeline of the shapes world.")
    parser.add_argument("--output", type=Path, required=True, help="a new folder for the diffusers pipeline")
    parser.add_argument("--work", type=Path, help="where stages keep their results (default: OUTPUT.work)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vae-steps", type=int, default=VaeTraining.steps, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop the VAE's training, to go on later")
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="of the stored weights")
    arguments = parser.parse_args()
    if arguments.vae_steps < 1 or arguments.seed < 0 or not arguments.seconds > 0:
        parser.error("--vae-steps starts at 1, --seed at 0, and --seconds is positive")
    work = arguments.work or arguments.output.with_name(f"{arguments.output.name}.work")
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    diffusers.logging.disable_progress_bar()
    try:
        training = VaeTraining(steps=arguments.vae_steps, seed=arguments.seed)
        make(arguments.output, work, training, arguments.seconds, DTYPES[arguments.dtype])
    except DistillError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def make(output: Path, work: Path, training: VaeTraining, seconds: float, dtype: torch.dtype) -> None:
    """All stages in order.

    Raises:
        RunDirectoryError: ``output`` already holds something.
    """
    if output.exists() and any(output.iterdir()):
        raise RunDirectoryError(f"{output} is not empty; name a new folder for the pipeline, or remove this one")
    frames_NFHW3 = _stack(_clips_folder(work, training.seed, TRAINING_CLIPS, "exclude"))
    vae, steps = train_vae(frames_NFHW3, training, work / "vae.pt", lambda progress: _show(progress, training), seconds)
    if steps < training.steps:
        print(f"[vae] stopped at step {steps} of {training.steps}; the same command goes on")
        return
    mean, std = latent_statistics(vae, frames_NFHW3)
    vae.register_to_config(latents_mean=mean, latents_std=std)
    save(make_pipeline(vae, training.seed), output, dtype)
    _evaluate(output, _clips_folder(work, training.seed + EVALUATION_SEED, EVALUATION_CLIPS, "include"))


def make_pipeline(vae: AutoencoderKLWan, seed: int) -> WanPipeline:
    """A complete WanPipeline around a VAE, with fixed random text features and an untrained transformer."""
    tokenizer = make_tokenizer(vocabulary())
    return WanPipeline(
        tokenizer=tokenizer,
        text_encoder=make_text_encoder(tokenizer, seed),
        vae=vae,
        scheduler=published_scheduler(flow_shift=1.0),
        transformer=new_transformer(seed),
    )


def new_transformer(seed: int) -> WanTransformer3DModel:
    """An untrained WanTransformer3DModel of 0.61 M parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=3,
            attention_head_dim=32,
            in_channels=LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            text_dim=TEXT_WIDTH,
            freq_dim=256,
            ffn_dim=256,
            num_layers=4,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            rope_max_seq_len=64,
        )


def _clips_folder(work: Path, seed: int, count: int, held_out: HeldOut) -> Path:
    """A folder of drawn clips, drawn now unless it is complete."""
    folder = work / f"clips-{seed}-{count}"
    if not (folder / CAPTIONS_FILE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        clips = (make_clip(SMALL, seed, index, held_out) for index in range(count))
        write_folder(folder, ((clip.frames_FHW3, clip.caption) for clip in clips), SMALL.fps)
        print(f"[clips] drew {count} into {folder}", flush=True)
    return folder


def _stack(folder: Path) -> npt.NDArray[np.uint8]:
    return np.stack([frames_FHW3 for frames_FHW3, _ in read_clips(folder, SMALL)])


def _show(progress: Progress, training: VaeTraining) -> None:
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    print(
        f"[vae] step {progress.step}/{training.steps}  loss {progress.loss:.4f}  {progress.rate:.1f} steps/s  "
        f"{minutes}:{seconds:02d} left",
        flush=True,
    )


def save(pipeline: WanPipeline, output: Path, dtype: torch.dtype) -> None:
    """Write beside and rename, so that a folder of this name is always complete."""
    partial = output.with_name(f"{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for module in (pipeline.vae, pipeline.text_encoder, pipeline.transformer):
        for parameter in module.parameters():  # module.to would warn of parts that a float16 run keeps in float32
            parameter.data = parameter.data.to(dtype)
    pipeline.save_pretrained(partial)
    if output.exists():
        output.rmdir()
    os.replace(partial, output)
    size = sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    print(f"[pipeline] {output}, {size / 1e6:.2f} MB in {str(dtype).removeprefix('torch.')}")


def _evaluate(output: Path, clips: Path) -> None:
    """Print how well the stored VAE, loaded again in float32, reconstructs clips it was not trained on."""
    vae = AutoencoderKLWan.from_pretrained(output, subfolder="vae").float().eval()
    real = list(read_clips(clips, SMALL))
    frames_NFHW3 = np.stack([frames_FHW3 for frames_FHW3, _ in real])
    made_NFHW3 = reconstruct(vae, frames_NFHW3)
    remade = zip(made_NFHW3, (caption for _, caption in real), strict=True)
    print(f"[vae] {len(real)} clips not seen in training: PSNR {psnr(made_NFHW3, frames_NFHW3):.1f} dB")
    print(f"[judge] real clips       {_line(accuracy(measure(real, SMALL)))}")
    print(f"[judge] reconstructions  {_line(accuracy(measure(remade, SMALL)))}")


def _line(figures: Accuracy) -> str:
    return (
        f"all {figures.all:.3f}  colour {figures.colour:.3f}  shape {figures.shape:.3f}  motion {figures.motion:.3f}  "
        f"size {figures.size:.3f}  fit {figures.iou:.3f}"
    )


if __name__ == "__main__":
    main()
