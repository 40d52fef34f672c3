"""LightX2V: the YAML of lightx2v_train, for DMD and for flow matching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distill_importers.tables import NOTHING, Config, Default, Key, Trainer, UnlikeError
from distill_importers.values import (
    ORIGINAL_FORMAT,
    full_if_true,
    hub_folder,
    or_none_if_zero,
    pair,
    precision,
    schedule,
)

_PROCESSES = "one process here; for the batch of several, raise training.gradient_accumulation_steps"
_ITS_OWN = "is the trainer's own, and has no counterpart here"
_ITERATION = "an iteration there is one update of the student and several of the critic, a step here one of the critic: as many more steps"
_LORA = "a LoRA is `lora` of the role here, with rank, alpha and targets; without it the role is trained whole"
_OF_A_LORA = "a LoRA's rate there, ten to a hundred times that of a whole model: give the role `lora` here, too"


def _ratio(config: Config) -> int:
    return int(config.get("training.dmd.fake_update_ratio", 5)) if _is_dmd(config) else 1


def _is_dmd(config: Config) -> bool:
    return config.get("training.method") == "dmd"


def _of_dmd(value: Any) -> Any:
    return lambda config: value if _is_dmd(config) else NOTHING


def _method(value: Any, _: Config) -> str:
    methods = {"dmd": "dmd2", "flow": "finetune"}
    if value not in methods:
        raise UnlikeError(f"there is no method here for {value!r}; `distill plugins list` shows those there are")
    return methods[value]


def _family(value: Any, _: Config) -> str:
    if value != "wan_t2v":
        raise UnlikeError(f"there is no model family here for {value!r}; `distill plugins list` shows those there are")
    return "wan"


def _in_steps(value: Any, config: Config) -> int:
    return int(value) * _ratio(config)


def _more(_: Any, config: Config) -> bool:
    return _ratio(config) > 1


def _grid(value: Any, _: Config) -> list[float]:
    return [round(1000.0 * (1.0 - index / int(value)), 6) for index in range(int(value))]


def _prompts(value: Any, _: Config) -> Any:
    return value[0] if isinstance(value, list) else value


def _axis(index: int) -> Any:
    def size(config: Config) -> Any:
        """A number of the one shape that is generated."""
        shapes = config.get("training.dmd.generation_shapes")
        if isinstance(shapes, list) and shapes and isinstance(shapes[0], dict):
            return int(shapes[0]["value"][index])
        return NOTHING

    return size


def _is_lora(role: str) -> Callable[[Any, Config], bool]:
    """Whether a role is trained as a LoRA there."""
    return lambda _, config: config.get(f"training.{role}.train_type") == "lora"


def _learning_rate(role: str) -> tuple[Key, ...]:
    """The optimizer of a role."""
    at, here = f"training.{role}.optimizer", "training" if role == "student" else "roles.critic"
    return (
        Key(f"{at}.learning_rate", (f"{here}.learning_rate",), _OF_A_LORA, matters=_is_lora(role)),
        Key(f"{at}.adam_beta1", (f"{here}.betas",), "", pair(f"{at}.adam_beta1", f"{at}.adam_beta2")),
        Key(f"{at}.adam_beta2", (f"{here}.betas",), "", pair(f"{at}.adam_beta1", f"{at}.adam_beta2")),
        Key(f"{at}.weight_decay", (f"{here}.weight_decay",)),
        Key(f"{at}.adam_epsilon", (f"{here}.adam_epsilon",)),
        Key(f"training.{role}.train_type", (), _LORA, matters=lambda value, _: value != "full"),
        Key(f"training.{role}.**", (), _LORA),
    )


KEYS = (
    Key("model.name", ("recipe.family",), value=_family),
    Key("model.pretrained_model_name_or_path", ("roles.student.path",), ORIGINAL_FORMAT, hub_folder),
    Key("model.fake.pretrained_model_name_or_path", ("roles.critic.path",), ORIGINAL_FORMAT, hub_folder),
    Key("model.teacher.pretrained_model_name_or_path", ("roles.teacher.path",), ORIGINAL_FORMAT, hub_folder),
    Key("model.max_sequence_length", ("pipeline_config.text_length",)),
    Key("model.running_dtype", ("training.precision",), "", precision),
    Key("model.transformer_param_dtype", (), "trained weights are always held in fp32 here", matters=lambda value, _: value != "fp32"),
    Key("model.**", (), _ITS_OWN),
    Key("distributed.**", (), _PROCESSES),
    Key(
        "data.train.data_path", ("data.path",),
        "a list of prompts there; make a data set of it by `distill data encode FILE --captions-only`", _prompts,
    ),
    Key("data.train.num_workers", ("data.num_workers",), "threads here, processes there"),
    Key(
        "data.val.**", (), "prompts are a list here, validation.prompts; left out, they are captions of the data"),
    Key("data.**", (), _ITS_OWN),
    Key("scheduler.min_sigma", ("method_config.min_timestep_ratio",)),
    Key("scheduler.max_sigma", ("method_config.max_timestep_ratio",)),
    Key("scheduler.time_shift_settings.time_shift_mu", ("pipeline_config.flow_shift",)),
    Key(
        "scheduler.time_shift_settings.shift_type", (), "the shift is s·u / (1 + (s - 1)·u) here",
        matters=lambda value, _: value != "linear",
    ),
    Key(
        "scheduler.timestep_distribution", (), "scores are drawn uniformly and shifted here",
        matters=lambda value, _: value != "uniform",
    ),
    Key("scheduler.**", (), _ITS_OWN),
    Key("training.method", ("recipe.method",), value=_method),
    Key("training.max_train_iters", ("training.max_train_steps",), _ITERATION, _in_steps, _more),
    Key("training.gradient_accumulation_iters", ("training.gradient_accumulation_steps",)),
    Key("training.gradient_checkpointing", ("training.enable_gradient_checkpointing_type",), "", full_if_true),
    Key("training.max_grad_norm", ("training.max_grad_norm",), "", or_none_if_zero),
    Key("training.lr_scheduler", ("training.lr_scheduler",), "", schedule),
    Key("training.lr_warmup_iters", ("training.lr_warmup_steps",)),
    Key("training.save_every_iters", ("checkpoint.interval",), _ITERATION, _in_steps, _more),
    Key("training.save_total_limit", ("checkpoint.keep_last",)),
    Key("training.output_dir", ("output_dir",)),
    Key(
        "training.dmd.num_inference_steps", ("method_config.dmd_denoising_steps",), "evenly spaced and then shifted, there and here",
        _grid,
    ),
    Key(
        "training.dmd.fake_update_ratio", ("method_config.generator_update_interval",),
        "updates of the critic to one of the student, there and here",
    ),
    Key("training.dmd.norm_clip_min", ("method_config.normalizer_floor",)),
    Key("training.dmd.generation_shapes", (), "", matters=lambda value, _: False),
    Key("training.dmd.ida.enabled", (), "the critic is not moved towards the student here", matters=lambda value, _: bool(value)),
    Key("training.dmd.div_loss.enabled", (), "method_config.regression_weight keeps variety here", matters=lambda value, _: bool(value)),
    Key(
        "training.dmd.ts_schedule", (), "method_config.score_floor bounds the timesteps of scores from below here",
        matters=lambda value, _: bool(value),
    ),
    Key("training.dmd.*.enabled", (), "is not there", matters=lambda value, _: bool(value)),
    Key("training.dmd.**", (), _ITS_OWN),
    *_learning_rate("student"),
    *_learning_rate("fake"),
    Key("training.teacher.guidance_scale", ("method_config.guidance_scale",), "is s of uncond + s·(cond - uncond), there and here"),
    Key("training.teacher.cfg_norm", (), "guidance is not renormalised here", matters=lambda value, _: value != "none"),
    Key("training.**", (), _ITS_OWN),
    Key("inference.infer_every_iters", ("validation.interval",), _ITERATION, _in_steps, _more),
    Key("inference.fps", ("validation.fps",)),
    Key("inference.seed", ("validation.seeds",), "", lambda value, _: [int(value)]),
    Key("inference.negative_prompt", ("pipeline_config.negative_prompt",)),
    Key("inference.**", (), "a student is sampled as it was trained here"),
    Key("logging.train_log_every_iters", ("tracking.log_interval",)),
    Key("logging.**", (), _ITS_OWN),
    Key("resume.**", (), "the same command goes on from the newest good checkpoint of output_dir here"),
)  # fmt: skip

LIGHTX2V = Trainer(
    "lightx2v", "LightX2V", "The YAML of `lightx2v_train` with `training.method: dmd` or `flow`.", KEYS,
    lambda config: "training.method" in config and any(name.startswith("scheduler.time_shift_settings") for name in config),
    (
        Default("roles.teacher.trainable", _of_dmd(False), "the teacher is frozen"),
        Default("method_config.warp_denoising_steps", _of_dmd(True), "the timesteps are shifted there"),
        Default("method_config.rollout_move", _of_dmd("ode"), "the rollout goes by Euler steps there"),
        Default("method_config.critic_reuses_student_sample", _of_dmd(False), "the critic makes samples of its own, as there"),
        Default("data.num_frames", _axis(0), "what it generates"),
        Default("data.num_height", _axis(1), "what it generates"),
        Default("data.num_width", _axis(2), "what it generates"),
    ),
)  # fmt: skip
