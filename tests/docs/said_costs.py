"""What the methods' READMEs say that an update costs: their words, and the forwards that those come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TWO = {"dmd_denoising_steps": [1000, 500]}
EACH = {"generator_update_interval": 1}
OWN_ROLLOUT = {**TWO, "critic_reuses_student_sample": False}
BLOCKS = {"block": 1, **TWO, "same_step_across_blocks": True}

Costs = Mapping[str, Mapping[str, tuple[float, float]]]
"""By loss and role: forwards without a graph (N) and forwards with one, gone back through once (G), in a step that has that loss."""
SCORED = {"critic": (1, 0), "teacher": (2, 0)}
"""Beside a student that matches scores: the critic, and the teacher with guidance."""


@dataclass(frozen=True)
class Case:
    """A method under options, what its README says of that, and what that comes to.

    Attributes:
        package: whose README.
        says: words of it.
        method: a method of the package.
        costs: what those words come to under ``options``.
        options: of the method.
        average: whether what is said is an average over drawn steps.
    """

    package: str
    says: str
    method: str
    costs: Costs
    options: Mapping[str, Any] = field(default_factory=dict)
    average: bool = False


SAMPLED = "(K - 1) / 2 N on average + 1 G + 1 N of the critic + 2 N of the teacher"
CASES = (
    Case("dmd2", SAMPLED, "dmd2", {"student_loss": {"student": (0.5, 1), **SCORED}}, {**TWO, **EACH}, average=True),
    Case(
        "dmd2",
        "1 G of the critic; a rollout of (K + 1) / 2 N beside it",
        "dmd2",
        {"critic_loss": {"student": (1.5, 0), "critic": (0, 1)}},
        OWN_ROLLOUT,
        average=True,
    ),
    Case(
        "dmd2",
        "unless it takes the student's sample",
        "dmd2",
        {"critic_loss": {"critic": (0, 1)}},
        EACH,
    ),
    Case(
        "dmd2",
        "the student's: the teacher's conditional forward with backward to its input; the critic's: 2 N of the teacher, 3 with R1",
        "dmd2",
        {
            "student_loss": {"student": (0.5, 1), "critic": (1, 0), "teacher": (1, 1)},
            "discriminator_loss": {"teacher": (3, 0)},
        },
        {**TWO, **EACH, "gan_weight": 0.1, "gan_r1_weight": 1.0},
        average=True,
    ),
    Case(
        "dmd2",
        "`diversity_anchor` guided forwards of the teacher + 1 G",
        "dmd2",
        {"diversity_loss": {"student": (0, 1), "teacher": (6, 0)}},
        {**EACH, "diversity_weight": 1.0, "diversity_anchor": 3},
    ),
    Case(
        "dmd2",
        "`regression_steps` guided forwards of the teacher + 1 G",
        "dmd2",
        {"regression_loss": {"student": (0, 1), "teacher": (10, 0)}},
        {**EACH, "regression_weight": 1.0, "regression_interval": 1, "regression_steps": 5},
    ),
    Case(
        "fdistill",
        "of the teacher 1 forward with backward to its input (score and features) and 1 without; 1 of the critic",
        "fdistill",
        {"student_loss": {"student": (0.5, 1), "critic": (1, 0), "teacher": (1, 1)}},
        {**TWO, **EACH},
        average=True,
    ),
    Case(
        "fdistill",
        "1 forward with backward of it, 2 of the teacher for the discriminator (3 with R1), and a rollout of its own",
        "fdistill",
        {"critic_loss": {"student": (1.5, 0), "critic": (0, 1)}, "discriminator_loss": {"teacher": (2, 0)}},
        OWN_ROLLOUT,
        average=True,
    ),
    Case(
        "phased-dmd",
        "of the high phase (K_high - 1)/2 forwards on average and 1 with backward; of the low one K_high + (K_low - 1)/2 and 1 "
        "with backward; 1 forward of the critic and 2 of the guided teacher",
        "phased-dmd",
        {
            "student_loss_high": {"student": (0.5, 1), **SCORED},
            "student_loss_low": {"student": (2.5, 1), **SCORED},
            "critic_loss_high": {"critic": (0, 1)},
            "critic_loss_low": {"critic": (0, 1)},
        },
        {**EACH, "boundary": 600},
        average=True,
    ),
    Case(
        "sid",
        "with backward to their input 1 of the critic and, for `sid`, 2 of the teacher",
        "sid",
        {"student_loss": {"student": (0.5, 1), "critic": (0, 1), "teacher": (0, 2)}, "critic_loss": {"critic": (0, 1)}},
        {**TWO, **EACH},
        average=True,
    ),
    Case(
        "sid",
        "for `sgmd` the teacher's 2 are without",
        "sgmd",
        {"student_loss": {"student": (0.5, 1), "critic": (0, 1), "teacher": (2, 0)}},
        {**TWO, **EACH},
        average=True,
    ),
    Case(
        "ladd",
        "Per update of the student: 1 forward with backward of it, 1 of the teacher with backward to its input. Per update of the "
        "discriminator: 1 forward of the student, 2 of the teacher (3 with R1)",
        "ladd",
        {
            "student_loss": {"student": (0, 1), "teacher": (0, 1)},
            "discriminator_loss": {"student": (1, 0), "teacher": (3, 0)},
        },
    ),
    Case(
        "ladd",
        "Under `rollout: simulate`, (K - 1)/2 forwards of the student more on average",
        "ladd",
        {
            "student_loss": {"student": (0.5, 1), "teacher": (0, 1)},
            "discriminator_loss": {"student": (1.5, 0), "teacher": (2, 0)},
        },
        {**TWO, "rollout": "simulate", "gan_r1_weight": 0.0},
        average=True,
    ),
    Case(
        "kd",
        "1 forward with backward | none if `trajectories: stored`, else `teacher_steps` and one more for each of the student's that is "
        "none of them, twice that where it is guided",
        "kd",
        {"loss": {"student": (0, 1), "teacher": (16, 0)}},
        {"teacher_steps": 8},
    ),
    Case(
        "kd",
        "none if `trajectories: stored`",
        "kd",
        {"loss": {"student": (0, 1)}},
        {"trajectories": "stored", "teacher_steps": 8},
    ),
    Case(
        "kd",
        "one forward with backward for each step, in one graph",
        "kd",
        {"loss": {"student": (0, 3), "teacher": (8 + 2, 0)}},
        {"loss": "chain", "denoising_steps": [1000, 600, 300], "teacher_steps": 8, "guidance_scale": 1.0},
    ),
    Case(
        "consistency",
        "consistency | 1 G + 1 N | 2 N with guidance",
        "consistency",
        {"loss": {"student": (1, 1), "teacher": (2, 0)}},
    ),
    Case(
        "consistency",
        "1 N at `guidance_scale: 1`",
        "consistency",
        {"loss": {"student": (1, 1), "teacher": (1, 0)}},
        {"guidance_scale": 1},
    ),
    Case(
        "consistency",
        "none with `pair: data`",
        "consistency",
        {"loss": {"student": (1, 1)}},
        {"pair": "data"},
    ),
    Case(
        "consistency",
        "tcm | 1 G + 1 N, 1 N of the first stage | the same",
        "tcm",
        {"loss": {"student": (1, 1), "first_stage": (1, 0), "teacher": (2, 0)}},
    ),
    Case(
        "consistency",
        "scm, `derivative: jvp` | 1 G + a forward-mode pass",
        "scm",
        {"loss": {"student": (1, 1), "teacher": (2, 0)}},
    ),
    Case(
        "consistency",
        "scm, `derivative: differences` | 1 G + 2 N | the same",
        "scm",
        {"loss": {"student": (2, 1), "teacher": (2, 0)}},
        {"derivative": "differences"},
    ),
    Case(
        "meanflow",
        "1 G + a forward-mode pass",
        "meanflow",
        {"loss": {"student": (1, 1), "teacher": (2, 0)}},
    ),
    Case(
        "meanflow",
        "1 G + 2 N with `derivative: differences`; the teacher 2 N, 1 N at `guidance_scale: 1`",
        "meanflow",
        {"loss": {"student": (2, 1), "teacher": (1, 0)}},
        {"derivative": "differences", "guidance_scale": 1},
    ),
    Case(
        "meanflow",
        "`mixed` 2 N of the student",
        "meanflow",
        {"loss": {"student": (4, 1)}},
        {"derivative": "differences", "velocity": "mixed", "guidance_mixture": 0.5},
    ),
    Case(
        "anyflow",
        "the map 1 G + 2 N of differences + 1 N for guidance",
        "anyflow",
        {"map_loss": {"student": (3, 1)}},
    ),
    Case(
        "anyflow",
        "(2 N of a teacher)",
        "anyflow",
        {"map_loss": {"student": (2, 1), "teacher": (2, 0)}},
        {"velocity": "teacher"},
    ),
    Case(
        "anyflow",
        "On-policy 3 G in one graph (2 where the drawn step is the first or the last) + 1 N of the critic + 2 N of the teacher, and "
        "1 G for the critic, besides the map's",
        "anyflow-on-policy",
        {
            "map_loss": {"student": (3, 1)},
            "matching_loss": {"student": (0, 2.5), **SCORED},
            "critic_loss": {"critic": (0, 1)},
        },
        average=True,
    ),
    Case(
        "rcm",
        "1 G + 2 N of the teacher + a forward-mode pass",
        "rcm",
        {"consistency_loss": {"student": (1, 1), "teacher": (2, 0)}},
    ),
    Case(
        "rcm",
        "or 2 N with `derivative: differences`",
        "rcm",
        {"consistency_loss": {"student": (2, 1), "teacher": (2, 0)}},
        {"derivative": "differences"},
    ),
    Case(
        "rcm",
        "(K - 1) / 2 N + 1 G + 1 N of the critic + 2 N of the teacher | | the critic's | (K + 1) / 2 N + 1 G",
        "rcm",
        {
            "matching_loss": {"student": (0.5, 1), **SCORED},
            "critic_loss": {"student": (1.5, 0), "critic": (0, 1)},
        },
        {**TWO, "generator_update_interval": 2, "consistency_steps": 0},
        average=True,
    ),
    Case(
        "nft",
        "`nft` K G forwards of the old policy, G decodings, and G · `timesteps_per_clip` times 1 forward with backward of the student, "
        "1 of the old policy, 1 of the reference",
        "nft",
        {"nft_loss": {"old": (3 * 4 + 4 * 2, 0), "student": (0, 4 * 2), "reference": (4 * 2, 0)}},
        {"sampling_steps": 3, "group_size": 4, "timesteps_per_clip": 2},
    ),
    Case(
        "nft",
        "`reward-gradient`: K forwards, `through` of them with backward, 1 decoding with backward, 1 forward of the reference",
        "reward-gradient",
        {"reward_loss": {"student": (3, 2), "reference": (1, 0)}},
        {"sampling_steps": 5, "through": 2},
    ),
    Case("finetune", "An update costs one forward with backward", "finetune", {"loss": {"student": (0, 1)}}),
    Case("causal", "student | latents | 1G |", "diffusion-forcing", {"loss": {"student": (0, 1)}}, {"block": 1}),
    Case(
        "causal", "student | latents | 1G of 2 T frames", "teacher-forcing", {"loss": {"student": (0, 1)}}, {"block": 1}
    ),
    Case(
        "causal",
        "1G + up to 2 (`teacher_steps` + steps) N",
        "causal-kd",
        {"loss": {"student": (0, 1), "teacher": (2 * (5 + 2), 0)}},
        {"block": 1, "teacher_steps": 5, "denoising_steps": [1000, 700, 350]},
    ),
    Case(
        "causal",
        "1G on stored paths",
        "causal-kd",
        {"loss": {"student": (0, 1)}},
        {"block": 1, "trajectories": "stored"},
    ),
    Case(
        "causal",
        "1G + 3N of 2 T frames",
        "causal-consistency",
        {"loss": {"student": (0, 1), "target": (1, 0), "teacher": (2, 0)}},
        {"block": 1},
    ),
    Case(
        "self-forcing",
        "`self-forcing`, `dmd` | b (e − 1) N + b G + (b − 1) N to remember | 1N critic + 2N teacher",
        "self-forcing",
        {"student_loss": {"student": (4 * 0.5 + 3, 4), **SCORED}, "critic_loss": {"critic": (0, 1)}},
        {**BLOCKS, **EACH},
        average=True,
    ),
    Case(
        "self-forcing",
        "the critic | the same with N for G; none where it takes the student's sample",
        "self-forcing",
        {"critic_loss": {"student": (4 * 0.5 + 4 + 3, 0), "critic": (0, 1)}},
        {**BLOCKS, "critic_reuses_student_sample": False},
        average=True,
    ),
    Case(
        "self-forcing",
        "`causvid`, `dmd` | 1G | 1N critic + 2N teacher",
        "causvid",
        {"student_loss": {"student": (0, 1), **SCORED}, "critic_loss": {"critic": (0, 1)}},
        {"block": 1, **EACH},
    ),
    Case(
        "self-forcing",
        "`sid` | the same | and the graph through critic and guided teacher: 3 more backwards",
        "causvid",
        {"student_loss": {"student": (0, 1), "critic": (0, 1), "teacher": (0, 2)}},
        {"block": 1, **EACH, "student_loss": "sid"},
    ),
    Case(
        "self-forcing",
        "`gan` | the same | teacher's features with graph",
        "causvid",
        {"student_loss": {"student": (0, 1), "teacher": (0, 1)}},
        {"block": 1, **EACH, "student_loss": "gan"},
    ),
    Case(  # one step a block, so that nothing is drawn: 4 blocks, then 4 told again and 3 new, and so on
        "self-forcing",
        "Their stream is told again at each step from those frames, under the weights of now: one forward a block of history",
        "streaming-long-tuning",
        {"student_loss": {"student": ((3 + 4 + 2) / 2, (4 + 3) / 2), **SCORED}, "critic_loss": {"critic": (0, 1)}},
        {"block": 1, "overlap": 1, "max_frames": 7, "dmd_denoising_steps": [1000, 0], **EACH},
    ),
)
