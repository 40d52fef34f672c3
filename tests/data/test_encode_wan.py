"""`distill data encode` with a real, tiny pipeline: what comes out fits the model that it was made with."""

from __future__ import annotations

from pathlib import Path

import torch

from distill_core.cli.encoding import EncodeRequest, carry_out
from distill_core.config.schema import Data
from distill_core.data.encoding.encoder_keys import encoder_keys
from distill_core.data.reading.dataset import open_dataset
from distill_core.data.reading.fit import fitting_shapes
from distill_core.video.writing import write_mp4
from distill_model_wan.folder import inspect
from distill_model_wan.testing import make_tiny_pipeline


def test_a_clip_through_a_real_pipeline_fits_it(tmp_path: Path) -> None:
    make_tiny_pipeline(tmp_path / "model")
    write_mp4(tmp_path / "videos" / "a.mp4", torch.full((6, 48, 32, 3), 200, dtype=torch.uint8), fps=16)
    (tmp_path / "videos" / "a.txt").write_text("a red square moves left")
    carry_out(EncodeRequest(tmp_path / "videos", str(tmp_path / "model"), tmp_path / "out", family="wan"))
    dataset = open_dataset(tmp_path / "out", latents=True)
    facts = inspect(str(tmp_path / "model"))
    assert set(fitting_shapes(dataset.summary(), facts, Data(path="out")).values()) == {(2, 16, 6, 4)}
    assert dataset[0].text_LD.shape[1] == facts.text_width
    assert dataset[0].text_LD.abs().sum(dim=1).all()  # no padding is stored


def test_other_denoisers_with_the_same_encoders_have_the_same_key_and_other_encoders_another(tmp_path: Path) -> None:
    make_tiny_pipeline(tmp_path / "model")
    key = encoder_keys(inspect(str(tmp_path / "model"))).whole
    change_last_byte(tmp_path / "model" / "transformer" / "diffusion_pytorch_model.safetensors")
    assert encoder_keys(inspect(str(tmp_path / "model"))).whole == key
    change_last_byte(tmp_path / "model" / "vae" / "diffusion_pytorch_model.safetensors")
    assert encoder_keys(inspect(str(tmp_path / "model"))).whole != key


def change_last_byte(file: Path) -> None:
    """Another weight."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
