"""distill_core.cli.encoding: signals while `distill data encode` works. The command as functions, in this process."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from data_command import run
from tiny_encoding import film
from torch import Tensor

from distill_core.data.reading.dataset import open_dataset
from distill_core.errors import StoppedError
from distill_core.testing.toy import ToyModel


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_clusters_signal_keeps_what_was_encoded_as_ctrl_c_does(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    for name in "abc":
        film(tmp_path / "in" / f"{name}.mp4", height=32 + 8 * ord(name) % 24)
    encoded = []
    encode_video = ToyModel.encode_video

    def signalled(model: ToyModel, frames: Tensor) -> Tensor:
        if len(encoded) == 2:
            os.kill(os.getpid(), number)
        encoded.append(frames.shape)
        return encode_video(model, frames)

    command: Sequence[object] = ("encode", tmp_path / "in", "--model", toy, "--output", tmp_path / "out")
    monkeypatch.setattr(ToyModel, "encode_video", signalled)
    with pytest.raises(StoppedError, match=f"{number.name} came; what is encoded is kept") as stopped:
        run(*command)
    assert stopped.value.exit_code == 128 + number
    assert len(encoded) == 2
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(ToyModel, "encode_video", encode_video)
    result = run(*command)
    assert result.stderr.splitlines()[0] == f"encoded 3 of 3 (2 of them before) into {tmp_path / 'out'}"
    assert len(open_dataset(tmp_path / "out", latents=True)) == 3
