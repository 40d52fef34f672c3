"""LightX2V: the YAML of lightx2v_train, for DMD and for flow matching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distill_importers.tables import NOTHING, Config, Default, Key, Trainer
from distill_importers.values import (
    ORIGINAL_FORMAT,
    PROCESSES,
    WHOLE_BATCH,
    family_of,
    full_if_true,
    hub_folder,
    lora_targets,
    method_of,
    or_none_if_zero,
    pair,
    precision,
    scaled,
    schedule,
)

_ITS_OWN = "is the trainer's own, and has no counterpart here"
_ITERATION = "an iteration there is one update of the student and several of the critic, a step here one of the critic: as many more steps"


_METHODS = {
    "dmd": "dmd2",
    "video_dmd": "dmd2",
    "video_ar_dmd": "self-forcing",
    "video_sgmd": "sgmd",
    "video_phased_dmd": "phased-dmd",
    "teacher_forcing": "teacher-forcing",
    "flow": "finetune",
}
_FAMILIES = {
    "wan_t2v": "wan",
    "wan_t2v_14b": "wan",
    "wan_t2v_a14b": "wan",
    "wan_ti2v_5b": "wan",
    "wan_t2v_ar": "wan",
    "wan_t2v_14b_ar": "wan",
    "wan_ti2v_5b_ar": "wan",
    "qwen_image": "qwenimage",
}
_MATCHING = frozenset({"dmd2", "self-forcing", "sgmd", "phased-dmd"})
_BLOCKWISE = frozenset({"self-forcing"})


def _method(config: Config) -> str:
    return _METHODS.get(str(config.get("training.method")), "")


def _ratio(config: Config) -> int:
    return int(config.get("training.dmd.fake_update_ratio", 5)) if _is_dmd(config) else 1


def _is_dmd(config: Config) -> bool:
    """Whether scores are matched."""
    return _method(config) in _MATCHING


def _of_dmd(value: Any) -> Any:
    return lambda config: value if _is_dmd(config) else NOTHING


def _of(methods: frozenset[str], value: Any) -> Any:
    return lambda config: value if _method(config) in methods else NOTHING


def _if(methods: frozenset[str]) -> Any:
    return lambda value, config: value if _method(config) in methods else NOTHING


def _in_steps(value: Any, config: Config) -> int:
    return int(value) * _ratio(config)


def _more(_: Any, config: Config) -> bool:
    return _ratio(config) > 1


def _grid(value: Any, config: Config) -> Any:
    if "training.dmd.denoising_step_list" in config:
        return NOTHING
    return [round(1000.0 * (1.0 - index / int(value)), 6) for index in range(int(value))]


def _kept_by_the_critic(value: Any, config: Config) -> Any:
    return value if config.get("training.dmd.ida.enabled") and _method(config) == "dmd2" else NOTHING


def _diversity(value: Any, config: Config) -> Any:
    return value if config.get("training.dmd.div_loss.enabled") and _method(config) == "dmd2" else NOTHING


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
    return lambda _, config: config.get(f"training.{role}.train_type" if role else "training.train_type") == "lora"


def _worn(role: str) -> Callable[[Any, Config], Any]:
    """A setting of a role's LoRA, where it trains one."""
    return lambda value, config: value if _is_lora(role)(value, config) else NOTHING


def _learning_rate(role: str) -> tuple[Key, ...]:
    """The optimizer of a role."""
    of = f"training.{role}" if role else "training"
    whose = "roles.critic" if role == "fake" else "roles.student"
    at, here = f"{of}.optimizer", "roles.critic" if role == "fake" else "training"
    return (
        Key(f"{at}.learning_rate", (f"{here}.learning_rate",)),
        Key(f"{at}.adam_beta1", (f"{here}.betas",), "", pair(f"{at}.adam_beta1", f"{at}.adam_beta2")),
        Key(f"{at}.adam_beta2", (f"{here}.betas",), "", pair(f"{at}.adam_beta1", f"{at}.adam_beta2")),
        Key(f"{at}.weight_decay", (f"{here}.weight_decay",)),
        Key(f"{at}.adam_epsilon", (f"{here}.adam_epsilon",)),
        Key(f"{of}.train_type", (), "", matters=lambda value, _: False),
        Key(f"{of}.lora.rank", (f"{whose}.lora.rank",), value=_worn(role)),
        Key(f"{of}.lora.alpha", (f"{whose}.lora.alpha",), value=_worn(role)),
        Key(
            f"{of}.lora.target_modules",
            (f"{whose}.lora.targets",),
            "a set of the family's layers here, or patterns of names",
            lambda value, config: _worn(role)(lora_targets(value, config), config),
            _is_lora(role),
        ),
        Key(f"{of}.lora.**", (), _ITS_OWN, matters=_is_lora(role)),
        *([Key(f"{of}.**", (), _ITS_OWN)] if role else []),
    )


KEYS = (
    Key("model.name", ("recipe.family",), value=family_of(_FAMILIES)),
    Key("model.pretrained_model_name_or_path", ("roles.student.path",), ORIGINAL_FORMAT, hub_folder),
    Key("model.fake.pretrained_model_name_or_path", ("roles.critic.path",), ORIGINAL_FORMAT, hub_folder),
    Key("model.teacher.pretrained_model_name_or_path", ("roles.teacher.path",), ORIGINAL_FORMAT, hub_folder),
    Key("model.max_sequence_length", ("pipeline_config.text_length",)),
    Key("model.running_dtype", ("training.precision",), "", precision),
    Key("model.transformer_param_dtype", (), "trained weights are always held in fp32 here", matters=lambda value, _: value != "fp32"),
    Key("model.**", (), _ITS_OWN),
    Key("distributed.**", (), PROCESSES),
    Key(
        "data.train.data_path", ("data.path",),
        "a list of prompts there; make a data set of it by `distill data encode FILE --captions-only`", _prompts,
    ),
    Key("data.train.batch_size", ("training.train_batch_size",), WHOLE_BATCH),
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
    Key("training.method", ("recipe.method",), value=method_of(_METHODS)),
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
    Key("training.dmd.denoising_step_list", ("method_config.dmd_denoising_steps",)),
    Key("training.dmd.warp_denoising_step", ("method_config.warp_denoising_steps",)),
    Key("training.dmd.timestep_shift", ("pipeline_config.flow_shift",)),
    Key("training.dmd.num_frames", ("data.num_frames",)),
    Key("training.dmd.height", ("data.num_height",)),
    Key("training.dmd.width", ("data.num_width",)),
    Key("training.dmd.min_step_ratio", ("method_config.min_timestep_ratio",)),
    Key("training.dmd.max_step_ratio", ("method_config.max_timestep_ratio",)),
    Key("training.dmd.min_score_timestep", (), "method_config.min_timestep_ratio says it here", matters=lambda value, _: bool(value)),
    Key("training.dmd.num_train_timestep", (), "timesteps are in [0, 1000] here", matters=lambda value, _: value != 1000),
    Key("training.dmd.same_step_across_blocks", ("method_config.same_step_across_blocks",), value=_if(_BLOCKWISE)),
    Key("training.dmd.num_frame_per_chunk", ("method_config.block",), value=_if(_BLOCKWISE)),
    Key("training.dmd.context_noise", (), "a block sees the finished blocks before it clean here", matters=lambda value, _: bool(value)),
    Key("training.dmd.ts_schedule_max", (), "scores are drawn up to the end here", matters=lambda value, _: bool(value)),
    Key("training.dmd.phased.match_timestep", ("method_config.boundary",), "before the flow shift there, after it here: move it"),
    Key("training.dmd.phased.score_timestep_margin", ("method_config.boundary_margin",)),
    Key("training.dmd.phased.score_timestep_min", ("method_config.min_timestep_ratio",), "", scaled(0.001)),
    Key("training.dmd.phased.score_timestep_max", ("method_config.max_timestep_ratio",), "", scaled(0.001)),
    Key("training.dmd.renoise_*", (), "scores are drawn by score_timesteps and flow_shift here"),
    Key("training.dmd.norm_clip_min", ("method_config.normalizer_floor",)),
    Key("training.dmd.generation_shapes", (), "", matters=lambda value, _: False),
    Key("training.dmd.ida.decay", ("method_config.critic_keeps",), value=_kept_by_the_critic),
    Key("training.dmd.ida.*", (), "", matters=lambda value, _: False),
    Key("training.dmd.div_loss.weight", ("method_config.diversity_weight",), value=_diversity),
    Key("training.dmd.div_loss.teacher_inference_steps", ("method_config.diversity_steps",), value=_diversity),
    Key("training.dmd.div_loss.anchor_step", ("method_config.diversity_anchor",), value=_diversity),
    Key(
        "training.dmd.div_loss.enabled", (), "is an option of dmd2 here, diversity_weight",
        matters=lambda value, config: bool(value) and _method(config) != "dmd2",
    ),
    Key(
        "training.dmd.ts_schedule", (), "method_config.score_floor bounds the timesteps of scores from below here",
        matters=lambda value, _: bool(value),
    ),
    Key("training.dmd.*.enabled", (), "is not there", matters=lambda value, _: bool(value)),
    Key("training.dmd.**", (), _ITS_OWN),
    Key("training.teacher_forcing.num_frame_per_chunk", ("method_config.block",)),
    Key("training.teacher_forcing.noise_augmentation_max_timestep", ("method_config.context_noise",)),
    Key("training.teacher_forcing.**", (), "", matters=lambda value, _: False),
    *_learning_rate("student"),
    *_learning_rate(""),
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
    "lightx2v", "LightX2V", "The YAML of `lightx2v_train`.", KEYS,
    lambda config: "training.method" in config and "model.name" in config and any(name.startswith("scheduler.") for name in config),
    (
        Default("roles.teacher.trainable", _of_dmd(False), "the teacher is frozen"),
        Default("method_config.warp_denoising_steps", _of_dmd(True), "the timesteps are shifted there"),
        Default("method_config.rollout_move", _of(frozenset({"dmd2", "sgmd"}), "ode"), "the rollout goes by Euler steps there"),
        Default("method_config.critic_reuses_student_sample", _of_dmd(False), "the critic makes samples of its own, as there"),
        Default("data.num_frames", _axis(0), "what it generates"),
        Default("data.num_height", _axis(1), "what it generates"),
        Default("data.num_width", _axis(2), "what it generates"),
    ),
)  # fmt: skip
