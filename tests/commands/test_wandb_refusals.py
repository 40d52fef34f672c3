"""W&B that cannot start, each in a process of its own: wandb keeps one session a process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Start = Callable[..., subprocess.CompletedProcess[str]]

SCRIPT = """\
import sys
from pathlib import Path
from distill_core.config.schema import Tracking
from distill_core.errors import ConfigError
from distill_core.tracking import wandb

wandb.INIT_TIMEOUT = 1.0
settings = Tracking(trackers=("wandb",), wandb_mode="online")
try:
    wandb.WandbTracker(settings, Path(sys.argv[1]), "a-run", {})
except ConfigError as error:
    print(error)
"""


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts an online run against a port that nobody listens on; the home holds no login."""

    def run(**variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(tmp_path), "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_MODE": "offline"}
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / "tracker")]
        return subprocess.run(
            command,
            env={**environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

    return run


def test_a_missing_key_is_refused_without_a_question(start: Start) -> None:
    done = start()
    assert done.stdout.strip() == (
        "run.yaml: tracking.trackers: W&B did not start: there is no API key here; "
        "run `wandb login` once, or set tracking.wandb_mode: offline"
    )
    assert done.stderr == ""


def test_a_server_that_cannot_be_reached_is_one_line_with_the_remedy_and_soon(start: Start) -> None:
    done = start(WANDB_API_KEY="a" * 40)
    (line,) = done.stdout.splitlines()
    assert "connection refused" in line
    assert "set tracking.wandb_mode: offline and upload later with `wandb sync`" in line
    assert done.stderr == ""
