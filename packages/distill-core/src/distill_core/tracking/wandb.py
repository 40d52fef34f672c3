"""Weights & Biases. Its own capture of the command line, code, git state and console is off: secrets travel that way."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_core.config.schema import Tracking
from distill_core.errors import ConfigError, Problem

INIT_TIMEOUT = 30.0
"""Seconds that W&B may take to answer before the run is refused."""


class WandbTracker:
    """One W&B run, which a resumed run goes on with: its id is kept in the run directory."""

    def __init__(self, settings: Tracking, folder: Path, run_name: str, config: Mapping[str, Any]) -> None:
        import wandb

        self._wandb = wandb
        folder.mkdir(parents=True, exist_ok=True)
        identity = folder / "id"
        if not identity.exists():
            identity.write_text(secrets.token_hex(4), encoding="utf-8")
        try:
            self.run = wandb.init(
                project=settings.project,
                entity=settings.entity,
                name=run_name if settings.run_name is None else settings.run_name,
                id=identity.read_text(encoding="utf-8"),
                resume="allow" if settings.wandb_mode == "online" else None,
                mode=settings.wandb_mode,
                dir=str(folder),
                config=dict(config),
                settings=wandb.Settings(
                    console="off",
                    disable_code=True,
                    disable_git=True,
                    x_disable_meta=True,
                    x_disable_stats=True,
                    silent=True,
                    init_timeout=INIT_TIMEOUT,
                ),
            )
        except wandb.errors.AuthenticationError as error:
            message = f"W&B refuses the login: {error}; run `wandb login`, or set tracking.wandb_mode: offline"
            raise ConfigError([Problem("tracking.trackers", message)]) from error
        except wandb.errors.CommError as error:
            message = (
                f"W&B cannot be reached: {error}; set tracking.wandb_mode: offline, and upload later with `wandb sync`"
            )
            raise ConfigError([Problem("tracking.trackers", message)]) from error
        except wandb.errors.Error as error:
            message = f"W&B did not start: {error}; log in with `wandb login`, or set tracking.wandb_mode: offline"
            raise ConfigError([Problem("tracking.trackers", message)]) from error

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Scalars of one step."""
        self.run.log(dict(metrics), step=step)

    def video(self, name: str, path: Path, caption: str, step: int) -> None:
        """An mp4 file, playable in the browser."""
        self.run.log({name: self._wandb.Video(str(path), caption=caption, format="mp4")}, step=step)

    def file(self, path: Path, name: str) -> None:
        """Upload a file under Files. W&B links to what lies outside its folder, so it gets a copy inside."""
        copy = Path(self.run.dir) / name
        shutil.copyfile(path, copy)
        self.run.save(str(copy), base_path=self.run.dir, policy="now")

    def finish(self) -> None:
        """Upload the rest and close."""
        self.run.finish()
