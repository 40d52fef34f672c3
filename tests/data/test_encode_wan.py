"""`distill data encode` with a real, tiny pipeline: what comes out fits the model that it was made with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from distill_core.cli.encoding import EncodeRequest, carry_out
from distill_core.cli.late_encoder import EncoderWhenNeeded
from distill_core.config.schema import Data
from distill_core.data.encoding import encoder_keys as encoder_keys_module
from distill_core.data.encoding.encoder_keys import encoder_keys
from distill_core.data.reading.dataset import open_dataset
from distill_core.data.reading.fit import fitting_shapes
from distill_core.errors import RunDirectoryError
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
    change(tmp_path / "model", "transformer")
    assert encoder_keys(inspect(str(tmp_path / "model"))).whole == key
    change(tmp_path / "model", "vae", "encoder.")
    assert encoder_keys(inspect(str(tmp_path / "model"))).whole != key


@dataclass
class Encoded:
    """A folder with one captioned clip, encoded again and again; what was asked of the encoders."""

    root: Path
    asked: list[str] = field(default_factory=list)

    def again(self, *, captions: bool = False, overwrite: bool = False) -> list[str]:
        """Encode, and what was asked of the encoders for it."""
        self.asked.clear()
        source, output = ("a.txt", "captions") if captions else ("", "clips")
        request = EncodeRequest(
            self.root / "videos" / source,
            str(self.root / "model"),
            self.root / output,
            captions_only=captions,
            overwrite=overwrite,
        )
        carry_out(request)
        return sorted(self.asked)


@pytest.fixture
def encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Encoded:
    """Encoded once, as a clip and as a caption alone."""
    made = Encoded(tmp_path)
    make_tiny_pipeline(tmp_path / "model")
    write_mp4(tmp_path / "videos" / "a.mp4", torch.full((5, 32, 32, 3), 200, dtype=torch.uint8), fps=16)
    (tmp_path / "videos" / "a.txt").write_text("a red square moves left")
    for name in ("encode_video", "encode_caption"):
        real = getattr(EncoderWhenNeeded, name)
        monkeypatch.setattr(
            EncoderWhenNeeded,
            name,
            lambda self, given, name=name, real=real: made.asked.append(name) or real(self, given),
        )
    assert made.again() == ["encode_caption", "encode_video"]
    assert made.again(captions=True) == ["encode_caption"]
    return made


def test_captions_alone_read_nothing_of_the_vae(encoded: Encoded, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    real = encoder_keys_module._hash_of_encoding
    monkeypatch.setattr(
        encoder_keys_module, "_hash_of_encoding", lambda facts, name: hashed.append(name) or real(facts, name)
    )
    assert encoded.again(captions=True) == []
    assert {name.partition("/")[0] for name in hashed} == {"text_encoder", "tokenizer"}
    hashed.clear()
    assert encoded.again() == []
    assert {name.partition("/")[0] for name in hashed} == {"text_encoder", "tokenizer", "vae"}


def test_another_decoder_encodes_nothing_anew(encoded: Encoded) -> None:
    before = (encoded.root / "clips" / "data-00000.parquet").read_bytes()
    for begins in ("decoder.", "post_quant_conv."):
        change(encoded.root / "model", "vae", begins)
        assert encoded.again() == encoded.again(captions=True) == []
    assert (encoded.root / "clips" / "data-00000.parquet").read_bytes() == before


def test_another_encoder_of_videos_is_refused_by_name_and_leaves_captions_as_they_were(encoded: Encoded) -> None:
    change(encoded.root / "model", "vae", "encoder.")
    assert encoded.again(captions=True) == []
    with pytest.raises(RunDirectoryError, match=r"data of other settings \(the model's vae\)"):
        encoded.again()
    assert encoded.again(overwrite=True) == ["encode_video"]
    assert encoded.again() == []


def test_another_encoder_of_captions_is_refused_by_name_and_leaves_latents_as_they_were(encoded: Encoded) -> None:
    change(encoded.root / "model", "text_encoder")
    for captions in (False, True):
        with pytest.raises(RunDirectoryError, match=r"data of other settings \(the model's text_encoder\)"):
            encoded.again(captions=captions)
        assert encoded.again(captions=captions, overwrite=True) == ["encode_caption"]
        assert encoded.again(captions=captions) == []


def change(model: Path, part: str, begins: str = "") -> None:
    """Other weights where their names begin so."""
    (file,) = (model / part).glob("*.safetensors")
    tensors = load_file(file)
    chosen = {name: tensor + 1 for name, tensor in tensors.items() if name.startswith(begins)}
    assert chosen
    save_file({**tensors, **chosen}, file, metadata={"format": "pt"})
