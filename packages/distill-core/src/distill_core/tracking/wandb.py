"""Weights & Biases. Its own capture of the command line, code, git state and console is off: secrets travel that way."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from distill_core.config.schema import Tracking
from distill_core.durable import aside, read_signed, signed, write_text
from distill_core.errors import ConfigError, Problem
from distill_core.terminal import remark
from distill_core.video.samples import is_picture

INIT_TIMEOUT = 30.0
"""Seconds that W&B may take to answer before the run is refused."""


class WandbTracker:
    """One W&B run, which a resumed run goes on with: its id is kept in the run directory."""

    def __init__(self, settings: Tracking, folder: Path, run_name: str, config: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.run = started(settings, folder, run_name, identity_in(folder), config)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Scalars of one step."""
        self.run.log(dict(metrics), step=step)

    def video(self, name: str, path: Path, caption: str, step: int) -> None:
        """An mp4 file, playable in the browser, or a picture."""
        self.run.log({name: media(path, caption)}, step=step)

    def file(self, path: Path, name: str) -> None:
        """Upload a file under Files."""
        keep_file(self.run, path, name)

    def saved(self, step: int) -> None:
        """W&B has it already."""

    def go_back(self, step: int) -> None:
        """W&B cannot forget a step: its curves go on where the run gets further than it was."""

    def finish(self) -> None:
        """Upload the rest and close."""
        self.run.finish()


def media(path: Path, caption: str) -> wandb.Video | wandb.Image:
    """A sample as W&B shows it."""
    if is_picture(path):
        return wandb.Image(str(path), caption=caption)
    return wandb.Video(str(path), caption=caption, format="mp4")


def identity_in(folder: Path) -> str:
    """The id of the W&B run of a run directory, made where there is none."""
    identity = folder / "id"
    if identity.exists():
        try:
            return read_signed(identity).rstrip("\n")
        except ValueError:
            remark(f"warning: {identity} is damaged, and is now {aside(identity)}; W&B gets a new run")
    made = secrets.token_hex(4)
    write_text(identity, signed(f"{made}\n"))
    return made


def keep_file(run: wandb.sdk.wandb_run.Run, path: Path, name: str) -> None:
    """Keep a file with a W&B run. W&B links to what lies outside its folder, so it gets a copy inside."""
    copy = Path(run.dir) / name
    shutil.copyfile(path, copy)
    run.save(str(copy), base_path=run.dir, policy="now")


def started(
    settings: Tracking, folder: Path, run_name: str, identity: str, config: Mapping[str, Any]
) -> wandb.sdk.wandb_run.Run:
    """Start the run, or go on with it, without a word on the terminal and without asking there for a key.

    Raises ConfigError with the remedy, for a key that is missing or refused and for a server that does not answer.
    """
    mode = settings.wandb_mode
    wandb.setup(wandb.Settings(silent=True, mode=mode))
    try:
        if mode == "online" and not wandb.login(prompt=False, verify=False):
            raise _refusal("there is no API key here; run `wandb login` once, or set tracking.wandb_mode: offline")
        return wandb.init(
            project=settings.project,
            entity=settings.entity,
            name=run_name if settings.run_name is None else settings.run_name,
            id=identity,
            resume="allow" if mode == "online" else None,
            mode=mode,
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
    except wandb.errors.Error as error:
        remedies = (
            "where it cannot be reached set tracking.wandb_mode: offline and upload later with `wandb sync`, "
            "where it refuses the key run `wandb login --relogin`"
        )
        raise _refusal(f"{' '.join(str(error).split()).removesuffix('.')}; {remedies}") from error


def _refusal(message: str) -> ConfigError:
    return ConfigError([Problem("tracking.trackers", f"W&B did not start: {message}")])
