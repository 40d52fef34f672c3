"""Self-Forcing and CausVid: flat YAML files of one ancestry."""

from __future__ import annotations

from typing import Any

from distill_importers.memory import ENCODERS, on
from distill_importers.tables import NOTHING, Config, Default, Key, Trainer, UnlikeError
from distill_importers.values import (
    ORIGINAL_FORMAT,
    PROCESSES,
    WHOLE_BATCH,
    axis,
    full_if_true,
    hub_folder,
    pair,
    without_zero,
)

_ITS_OWN = "is the trainer's own, and has no counterpart here"
_CAUSAL = "is of the causal student there"
_GUIDANCE = "is w of cond + w·(cond - uncond) there, the other convention than guidance_scale here; s is w + 1"
_PROMPTS = "a list of prompts there; make a data set of it by `distill data encode FILE --captions-only`"


def _loss(value: Any, _: Config) -> str:
    spaces = {"flow": "velocity", "v": "velocity", "x0": "x0", "noise": "noise"}
    if value not in spaces:
        raise UnlikeError(f"the critic regresses onto velocities, x0 or noise here, not onto {value}")
    return spaces[value]


def _causal(config: Config) -> bool:
    """Whether the student makes its clip block by block: always in Self-Forcing, by its task in CausVid."""
    if "distillation_loss" in config:
        return "causal" in str(config.get("generator_task", ""))
    return bool(config.get("causal", True))


def _method(config: Config) -> str:
    if not _causal(config):
        return "dmd2"
    return "causvid" if "distillation_loss" in config else "self-forcing"


def _loss_of(value: Any, config: Config) -> str:
    if value == "ode":
        return "causal-kd"
    if value not in ("dmd", "sid", "gan") or (value != "dmd" and not _causal(config)):
        raise UnlikeError(f"there is no method here for {value!r}; `distill plugins list` shows those there are")
    return _method(config)


def _of_sid(value: Any, config: Config) -> Any:
    return value if config.get("distribution_loss") == "sid" else NOTHING


def _matches(config: Config) -> bool:
    return str(config.get("distillation_loss", "dmd")) != "ode"


def _of_matching(value: Any) -> Any:
    """A default of a run that matches scores."""
    return lambda config: value if _matches(config) else NOTHING


def _if_matching(value: Any, config: Config) -> Any:
    return value if _matches(config) else NOTHING


def _rollout(value: Any, config: Config) -> str:
    if value and _causal(config):
        raise UnlikeError(
            "a causal student that makes its own clips is `self-forcing` here; `causvid` predicts noised data"
        )
    return "simulate" if value else "data_latent"


def _block(value: Any, config: Config) -> Any:
    return int(value) if _causal(config) else NOTHING


def _steps(value: Any, config: Config) -> Any:
    return without_zero(value, config) if _matches(config) else NOTHING


def _path_steps(value: Any, config: Config) -> Any:
    return NOTHING if _matches(config) else without_zero(value, config)


def _shared(*, lr: str) -> tuple[Key, ...]:
    """What both call alike."""
    return (
        Key(
            "denoising_step_list", ("method_config.dmd_denoising_steps",), "a trailing 0 is a mark only here", _steps,
            lambda value, config: value[-1] == 0 and _matches(config),
        ),
        Key("warp_denoising_step", ("method_config.warp_denoising_steps",)),
        Key("num_train_timestep", (), "timesteps are in [0, 1000] here", matters=lambda value, _: value != 1000),
        Key("timestep_shift", ("pipeline_config.flow_shift",)),
        Key("denoising_loss_type", ("method_config.critic_loss",), "", _loss),
        Key("mixed_precision", ("training.precision",), "", lambda value, _: "bf16" if value else "fp32"),
        Key("seed", ("training.seed",), "draws are keyed here: the same seed gives other numbers"),
        Key("wandb_entity", ("tracking.entity",)),
        Key("wandb_project", ("tracking.project",)),
        Key("wandb_name", ("tracking.run_name",)),
        Key("wandb_*", (), "W&B knows it from `wandb login`"),
        Key("text_encoder_cpu_offload", (), ENCODERS, matters=on),
        Key("*_fsdp_wrap_strategy", (), PROCESSES),
        Key("sharding_strategy", (), PROCESSES),
        Key("lr", (lr,)),
        Key("beta1", ("training.betas",), "", pair("beta1", "beta2")),
        Key("beta2", ("training.betas",), "", pair("beta1", "beta2")),
        Key("weight_decay", ("training.weight_decay",)),
        Key("batch_size", ("training.train_batch_size",), WHOLE_BATCH),
        Key(
            "log_iters", ("checkpoint.interval",),
            "is how often weights are saved there; figures are logged every tracking.log_interval here",
        ),
        Key("negative_prompt", ("pipeline_config.negative_prompt",)),
        Key("dfake_gen_update_ratio", ("method_config.generator_update_interval",), "", _if_matching),
        Key("image_or_video_shape", ("data.num_latent_t",), "", axis(1)),
        Key("gradient_checkpointing", ("training.enable_gradient_checkpointing_type",), "", full_if_true),
        Key(
            "num_frame_per_block", ("method_config.block",), _CAUSAL, _block,
            lambda value, config: not _causal(config) and value != 1,
        ),
    )  # fmt: skip


def _foreign(config: Config) -> bool:
    """Whether its networks are no Wan."""
    return "wan" not in str(config.get("model_name", "wan"))


def _start(config: Config) -> Any:
    return NOTHING if _foreign(config) else "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"


_DEFAULTS = (
    Default("recipe.family", lambda config: NOTHING if _foreign(config) else "wan", "the family of its models"),
    Default("recipe.method", _method, "its method"),
    Default("roles.teacher.trainable", False, "the teacher is frozen"),
    Default("training.max_grad_norm", 10.0, "their default"),
    Default("training.weight_decay", 0.01, "their default"),
    Default("tracking.trackers", ["wandb"], "figures go to W&B there"),
    Default(
        "method_config.critic_reuses_student_sample",
        _of_matching(False),
        "the critic makes samples of its own on every step, as there",
    ),
)

SELF_FORCING = Trainer(
    "self-forcing", "Self-Forcing", "Its YAML. The student is causal, there and here, unless `causal: false` says otherwise.",
    (
        Key("generator_ckpt", (), "the student starts from a folder in diffusers format here, roles.student.path"),
        Key("real_name", ("roles.teacher.path",), ORIGINAL_FORMAT, hub_folder),
        Key("fake_name", ("roles.critic.path",), ORIGINAL_FORMAT, hub_folder),
        Key("guidance_scale", ("method_config.real_score_guidance_scale",), _GUIDANCE),
        Key("fake_guidance_scale", (), "the critic is not guided here", matters=lambda value, _: bool(value)),
        Key(
            "ts_schedule", (), "method_config.score_floor bounds the timesteps of scores from below here",
            matters=lambda value, _: bool(value),
        ),
        Key("lr_critic", ("roles.critic.learning_rate",)),
        Key("beta1_critic", ("roles.critic.betas",), "", pair("beta1_critic", "beta2_critic")),
        Key("beta2_critic", ("roles.critic.betas",), "", pair("beta1_critic", "beta2_critic")),
        Key("data_path", ("data.path",), _PROMPTS),
        Key("total_batch_size", (), "is train_batch_size times gradient_accumulation_steps here"),
        Key("ema_weight", ("roles.student.ema.decay",)),
        Key("ema_start_step", ("roles.student.ema.start_step",)),
        Key("distribution_loss", ("recipe.method",), "", _loss_of),
        Key("sid_alpha", ("method_config.sid_alpha",), "", _of_sid),
        Key("causal", (), "", matters=lambda value, _: False),
        Key("independent_first_frame", (), "the first block is as long as the others here", matters=lambda value, _: bool(value)),
        Key("last_step_only", (), "the step that is judged is drawn here", matters=lambda value, _: bool(value)),
        Key("trainer", (), "recipe.method says it here"),
        Key("load_raw_video", (), "", matters=lambda value, _: bool(value)),
        Key(
            "model_kwargs.timestep_shift", (), "one flow shift for the whole run here, pipeline_config.flow_shift",
            matters=lambda value, config: value != config.get("timestep_shift"),
        ),
        Key("model_kwargs.local_attn_size", ("method_config.window",), "", lambda value, _: value if value > 0 else NOTHING),
        Key("model_kwargs.sink_size", ("method_config.sink",), "", lambda value, _: value if value else NOTHING),
        Key("model_kwargs.**", (), _ITS_OWN),
        Key("same_step_across_blocks", ("method_config.same_step_across_blocks",)),
        Key("context_noise", (), "a block sees the finished blocks before it clean here", matters=lambda value, _: bool(value)),
        *_shared(lr="training.learning_rate"),
    ),
    lambda config: "denoising_step_list" in config and ("distribution_loss" in config or "real_name" in config),
    (
        *_DEFAULTS,
        Default(
            "method_config.student_loss",
            lambda config: NOTHING if config.get("distribution_loss", "dmd") == "dmd" else config["distribution_loss"], "its loss",
        ),
        Default("roles.student.path", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "its student is of this size; generator_ckpt is not read"),
        Default("roles.teacher.path", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "their default"),
        Default("roles.critic.path", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "their default"),
        Default("training.max_train_steps", 600, "the file says no length; their page trains 600 steps"),
        Default("data.num_height", lambda config: _size(config, 3), "the height of its latents, in pixels"),
        Default("data.num_width", lambda config: _size(config, 4), "the width of its latents, in pixels"),
        Default("data.path", "data", "name the data set that `distill data encode` makes"),
        Default("output_dir", "runs/self-forcing", "it is an option of the command there"),
    ),
)  # fmt: skip

CAUSVID = Trainer(
    "causvid", "CausVid", "Its YAML: the bidirectional student is `dmd2` here, the causal one `causvid`, and its first stage `causal-kd`.",
    (
        Key(
            "model_type", ("roles.student.path", "roles.teacher.path", "roles.critic.path"), ORIGINAL_FORMAT,
            lambda value, config: hub_folder(f"Wan2.1-{value}", config),
        ),
        Key(
            "model_name", (), "there is no model family here for it; `distill plugins list` shows those there are",
            matters=lambda _, config: _foreign(config),
        ),
        Key("generator_name", (), "recipe.method says whether the student is causal here"),
        Key("generator_ckpt", (), "the student starts from a folder in diffusers format here, roles.student.path"),
        Key("real_guidance_scale", ("method_config.real_score_guidance_scale",), _GUIDANCE),
        Key("generator_task", (), "", matters=lambda value, _: False),
        Key("*_task_type", (), "", matters=lambda value, _: "bidirectional" not in str(value)),
        Key("*_grad.model", (), "roles.*.trainable says it here"),
        Key("data_path", ("data.path",), "an LMDB of latents there; here a folder of parquet that `distill data encode` makes"),
        Key("backward_simulation", ("method_config.rollout",), "", _rollout),
        Key("distillation_loss", ("recipe.method",), "", _loss_of),
        Key("output_path", ("output_dir",)),
        Key(
            "num_frames", (), "latent frames there; image_or_video_shape says them",
            matters=lambda value, config: "image_or_video_shape" not in config,
        ),
        *_shared(lr="training.learning_rate"),
    ),
    lambda config: "denoising_step_list" in config and "distillation_loss" in config,
    (
        *_DEFAULTS,
        Default("method_config.rollout", lambda config: NOTHING if _causal(config) else "simulate", "their default"),
        Default(
            "method_config.denoising_steps", lambda config: _path_steps(config["denoising_step_list"], config),
            "denoising_step_list, of which a 0 at the end is a mark only",
        ),
        Default("roles.student.path", _start, "their default"),
        Default("roles.teacher.path", _start, "their default"),
        Default("roles.critic.path", lambda config: _start(config) if _matches(config) else NOTHING, "their default"),
        Default("training.max_train_steps", 1000, "the file says no length; its pages say that 1000 steps saturate"),
        Default("data.path", "data", "name the data set that `distill data encode` makes"),
        Default("output_dir", "runs/causvid", "name the run directory"),
    ),
)  # fmt: skip


def _size(config: Config, index: int) -> Any:
    shape = config.get("image_or_video_shape")
    return int(shape[index]) * 8 if isinstance(shape, list) and len(shape) == 5 else NOTHING
