"""The work list of the zoo: which recipe of the shapes world makes which student, where it begins, and what comes first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

RECIPES = "examples/shapes"


@dataclass(frozen=True)
class Start:
    """A role that begins where another job's run ended.

    Attributes:
        role: the role.
        job: the other job; of the same seed.
        theirs: its role there; None: the one that its method samples.
    """

    role: str
    job: str
    theirs: str | None = None


@dataclass(frozen=True)
class Job:
    """One student.

    Attributes:
        name: what the table calls it.
        recipe: its run.yaml, of ``examples/shapes``.
        data: the data set that ``--prepare`` makes and the recipe trains on; None: the captions that ship.
        starts: roles that begin at other jobs.
        scaled: options counted in training steps, which shrink with a shorter run.
        overrides: what else differs from the recipe.
        teacher: whether the teacher's own rows of the recipe are sampled too.
        experts: the roles whose model is the two-expert teacher that ``--prepare`` makes.
    """

    name: str
    recipe: str
    data: Literal["train", "paths"] | None = None
    starts: tuple[Start, ...] = ()
    scaled: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    teacher: bool = False
    experts: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The run.yaml, from the repository's root."""
        return f"{RECIPES}/{self.recipe}.yaml"

    @property
    def after(self) -> frozenset[str]:
        """The jobs that have to be done before."""
        return frozenset(start.job for start in self.starts)

    @property
    def needs(self) -> frozenset[str]:
        """What ``--prepare`` makes for it, by the name of its folder."""
        return frozenset({*([] if self.data is None else [self.data]), *(["experts"] if self.experts else [])})

    def changed(self, folder: Path, seed: int) -> list[str]:
        """Overrides of the recipe, but for how long it trains and what is compared."""
        found = [f"training.seed={seed}", "validation.interval=null", "validation.at_start=false", *self.overrides]
        if self.data is not None:
            found.append(f"data.path={folder / self.data}")
        found += [f"roles.{role}.path={folder / 'experts'}" for role in self.experts]
        for start in self.starts:
            origin = {"run": str(run_folder(folder, start.job, seed))}
            origin |= {} if start.theirs is None else {"role": start.theirs}
            found.append(f"roles.{start.role}.checkpoint={json.dumps(origin)}")
        return found

    def alone(self, folder: Path) -> list[str]:
        """The same where nothing has run yet: enough to plan it."""
        data = [] if self.data is None else [f"data.path={folder / self.data}"]
        return [*self.overrides, *data, *(f"roles.{start.role}.checkpoint=null" for start in self.starts)]


def run_folder(folder: Path, job: str, seed: int) -> Path:
    """Where a job trains."""
    return folder / "runs" / f"{job.replace(', ', '-').replace(' ', '-')}-seed{seed}"


WARM = "training.lr_warmup_steps"
STAGES, TANGENT = "method_config.stage_steps", "method_config.tangent_warmup_steps"

EXACT = ("method_config.derivative=jvp",)
MIDDLE = ("method_config.logit_std=1.0", "method_config.interval_share=0.5")
AFTER_CAUSAL = (Start("student", "teacher-forcing"),)
FASTER = (
    "roles.student.learning_rate=5.0e-4",
    "method_config.guidance_scale=2.0",
    "training.max_train_steps=330",
)
"""Self-forcing as its recipe first was: right, and little varied."""
UNTRAINED = ("roles.student.learning_rate=1.0e-30", "training.max_train_steps=1")
"""One step at a rate that moves no weight: what a causal student begins at, as it is sampled, is no other role that a row could sample."""

JOBS: tuple[Job, ...] = (
    Job("teacher-forcing", "teacher-forcing", "train", scaled=(WARM,)),
    Job("consistency", "consistency", "train", scaled=(WARM, STAGES)),
    Job("anyflow", "anyflow", "train", scaled=(WARM,), teacher=True),
    Job("scm", "scm", "train", scaled=(WARM, TANGENT)),
    Job("rcm", "rcm", "train", scaled=("method_config.consistency_steps",)),
    Job("sid", "sid"),
    Job("sgmd", "sgmd"),
    Job("phased-dmd", "phased-dmd"),
    Job("nft", "nft"),
    Job("reward-gradient", "reward-gradient"),
    Job("diffusion-forcing", "diffusion-forcing", "train", scaled=(WARM,)),
    Job("causal-kd", "causal-kd"),
    Job(
        "phased-dmd, two experts",
        "phased-dmd",
        overrides=("method_config.dmd_denoising_steps=[1000, 499, 0]",),
        experts=("student", "teacher", "critic"),
    ),
    Job("kd", "kd", "paths", overrides=("method_config.stored_steps=[1000]",)),
    Job(
        "tcm after consistency",
        "tcm",
        "train",
        (Start("student", "consistency"), Start("first_stage", "consistency")),
        (WARM,),
    ),
    Job("anyflow-on-policy after anyflow", "anyflow-on-policy", "train", (Start("student", "anyflow"),), (WARM,)),
    Job(
        "causal-consistency after teacher-forcing",
        "causal-consistency",
        "train",
        (Start("student", "teacher-forcing"), Start("teacher", "teacher-forcing")),
    ),
    Job("causvid after teacher-forcing", "causvid", "train", (Start("student", "teacher-forcing"),)),
    Job("self-forcing after teacher-forcing", "self-forcing", starts=AFTER_CAUSAL),
    Job(
        "streaming-long-tuning after self-forcing",
        "streaming-long-tuning",
        starts=(
            Start("student", "self-forcing after teacher-forcing"),
            Start("critic", "self-forcing after teacher-forcing", "critic"),
        ),
    ),
    Job("causal-kd, untrained", "causal-kd", overrides=UNTRAINED),
    Job(
        "causal-consistency after teacher-forcing, untrained",
        "causal-consistency",
        "train",
        (Start("student", "teacher-forcing"), Start("teacher", "teacher-forcing")),
        overrides=UNTRAINED,
    ),
    Job("dmd2, 2 steps", "dmd2-2step"),
    Job("dmd2, 1 step", "dmd2"),
    Job("dmd2, 1 step after kd", "dmd2", starts=(Start("student", "kd"),)),
    Job("meanflow", "meanflow", "train", scaled=(WARM, TANGENT)),
    Job("fdistill", "fdistill", "train"),
    Job("ladd", "ladd", "train"),
    Job("meanflow, times in the middle", "meanflow", "train", scaled=(WARM, TANGENT), overrides=MIDDLE),
    Job("scm, exact derivative", "scm", "train", scaled=(WARM, TANGENT), overrides=EXACT),
    Job("sgmd, no correction", "sgmd", overrides=("method_config.correction_weight=0",)),
    Job("sgmd, times as in dmd2", "sgmd", overrides=("method_config.score_timesteps={}",)),
    Job("self-forcing, faster student", "self-forcing", overrides=(*FASTER, "roles.student.checkpoint=null")),
    Job("self-forcing after teacher-forcing, faster student", "self-forcing", starts=AFTER_CAUSAL, overrides=FASTER),
    Job(
        "self-forcing after teacher-forcing, GAN",
        "self-forcing",
        "train",
        AFTER_CAUSAL,
        overrides=("method_config.gan_weight=0.01",),
    ),
    Job("self-forcing after causal-kd", "self-forcing", starts=(Start("student", "causal-kd"),)),
    Job("rcm, exact derivative", "rcm", "train", scaled=("method_config.consistency_steps",), overrides=EXACT),
    Job("dmd2, LoRA", "dmd2-lora"),
    Job("dmd2, varied", "dmd2-varied", teacher=True),
    Job(
        "reward-gradient after dmd2, varied",
        "dmd2-rewarded",
        starts=(Start("student", "dmd2, varied"), Start("reference", "dmd2, varied")),
    ),
)
"""Every student once, in the order of the first seed: those that others begin at, those that had no figure, their followers, the others,
what was tried besides."""

SHOWN = tuple(
    sorted(
        (job.name for job in JOBS),
        key=(
            "dmd2, 1 step",
            "dmd2, LoRA",
            "dmd2, varied",
            "reward-gradient after dmd2, varied",
            "dmd2, 1 step after kd",
            "dmd2, 2 steps",
            "sgmd",
            "sgmd, no correction",
            "sgmd, times as in dmd2",
            "sid",
            "fdistill",
            "phased-dmd",
            "phased-dmd, two experts",
            "ladd",
            "kd",
            "rcm",
            "rcm, exact derivative",
            "scm",
            "scm, exact derivative",
            "consistency",
            "tcm after consistency",
            "meanflow",
            "meanflow, times in the middle",
            "anyflow",
            "anyflow-on-policy after anyflow",
            "nft",
            "reward-gradient",
            "teacher-forcing",
            "diffusion-forcing",
            "causal-kd, untrained",
            "causal-kd",
            "causal-consistency after teacher-forcing, untrained",
            "causal-consistency after teacher-forcing",
            "causvid after teacher-forcing",
            "self-forcing after teacher-forcing",
            "self-forcing after teacher-forcing, GAN",
            "self-forcing after causal-kd",
            "self-forcing after teacher-forcing, faster student",
            "self-forcing, faster student",
            "streaming-long-tuning after self-forcing",
        ).index,
    )
)
"""Every student, in the order of the table: those that match distributions, those on maps of the flow, rewards, causal ones."""

CENTRAL = (
    "dmd2, 1 step",
    "dmd2, 2 steps",
    "kd",
    "consistency",
    "meanflow",
    "fdistill",
    "ladd",
    "self-forcing after teacher-forcing",
    "dmd2, 1 step after kd",
)
"""Those that further seeds begin with."""


@dataclass(frozen=True)
class Task:
    """A job with a seed."""

    job: Job
    seed: int

    @property
    def key(self) -> str:
        """The job and the seed, in one line."""
        return f"{self.job.name} #{self.seed}"


def tasks(seeds: Sequence[int], only: Sequence[str] = ()) -> Iterator[Task]:
    """What is to be done, the most urgent first; ``only``: these jobs, and those that they begin at."""
    wanted = _with_origins(only) if only else {job.name for job in JOBS}
    by_name = {job.name: job for job in JOBS}
    for place, seed in enumerate(seeds):
        later = [by_name[name] for name in CENTRAL] + [job for job in JOBS if job.name not in CENTRAL]
        yield from (Task(job, seed) for job in (later if place else JOBS) if job.name in wanted)


def _with_origins(names: Sequence[str]) -> set[str]:
    found, by_name = set(names), {job.name: job for job in JOBS}
    while more := {origin for name in found for origin in by_name[name].after} - found:
        found |= more
    return found
