"""Self-Forcing and CausVid: flat YAML files of one ancestry."""

from __future__ import annotations

from typing import Any

from distill_importers.tables import NOTHING, Config, Default, Key, Trainer, UnlikeError
from distill_importers.values import ORIGINAL_FORMAT, axis, full_if_true, hub_folder, pair, without_zero

_PROCESSES = "one process here; for the batch of several, raise training.gradient_accumulation_steps"
_ITS_OWN = "is the trainer's own, and has no counterpart here"
_CAUSAL = "there is no causal student here: this run trains one that sees all frames at once"
_GUIDANCE = "is w of cond + w·(cond - uncond) there, the other convention than guidance_scale here; s is w + 1"
_PROMPTS = "a list of prompts there; make a data set of it by `distill data encode FILE --captions-only`"


def _loss(value: Any, _: Config) -> str:
    spaces = {"flow": "velocity", "v": "velocity", "x0": "x0", "noise": "noise"}
    if value not in spaces:
        raise UnlikeError(f"the critic regresses onto velocities, x0 or noise here, not onto {value}")
    return spaces[value]


def _dmd(value: Any, _: Config) -> str:
    if value != "dmd":
        raise UnlikeError(f"there is no method here for {value!r}; `distill plugins list` shows those there are")
    return "dmd2"


def _shared(*, lr: str) -> tuple[Key, ...]:
    """What both call alike."""
    return (
        Key(
            "denoising_step_list", ("method_config.dmd_denoising_steps",), "a trailing 0 is a mark only here", without_zero,
            lambda value, _: value[-1] == 0,
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
        Key("*_fsdp_wrap_strategy", (), _PROCESSES),
        Key("sharding_strategy", (), _PROCESSES),
        Key("lr", (lr,)),
        Key("beta1", ("training.betas",), "", pair("beta1", "beta2")),
        Key("beta2", ("training.betas",), "", pair("beta1", "beta2")),
        Key("weight_decay", ("training.weight_decay",)),
        Key("batch_size", ("training.train_batch_size",)),
        Key(
            "log_iters", ("checkpoint.interval",),
            "is how often weights are saved there; figures are logged every tracking.log_interval here",
        ),
        Key("negative_prompt", ("pipeline_config.negative_prompt",)),
        Key("dfake_gen_update_ratio", ("method_config.generator_update_interval",)),
        Key("image_or_video_shape", ("data.num_latent_t",), "", axis(1)),
        Key("gradient_checkpointing", ("training.enable_gradient_checkpointing_type",), "", full_if_true),
        Key("num_frame_per_block", (), _CAUSAL, matters=lambda value, _: value != 1),
    )  # fmt: skip


_DEFAULTS = (
    Default("recipe.family", "wan", "the family of its models"),
    Default("recipe.method", "dmd2", "its method"),
    Default("roles.teacher.trainable", False, "the teacher is frozen"),
    Default("training.max_grad_norm", 10.0, "their default"),
    Default("training.weight_decay", 0.01, "their default"),
    Default("tracking.trackers", ["wandb"], "figures go to W&B there"),
    Default(
        "method_config.critic_reuses_student_sample",
        False,
        "the critic makes samples of its own on every step, as there",
    ),
)

SELF_FORCING = Trainer(
    "self-forcing", "Self-Forcing", "Its YAML for DMD. The student is causal there and is not here.",
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
        Key("total_batch_size", (), _PROCESSES),
        Key("ema_weight", ("roles.student.ema.decay",)),
        Key("ema_start_step", ("roles.student.ema.start_step",)),
        Key("distribution_loss", ("recipe.method",), "", _dmd),
        Key("trainer", (), "recipe.method says it here"),
        Key("load_raw_video", (), "", matters=lambda value, _: bool(value)),
        Key(
            "model_kwargs.timestep_shift", (), "one flow shift for the whole run here, pipeline_config.flow_shift",
            matters=lambda value, config: value != config.get("timestep_shift"),
        ),
        Key("model_kwargs.**", (), _CAUSAL),
        Key("same_step_across_blocks", (), _CAUSAL),
        Key("context_noise", (), _CAUSAL),
        *_shared(lr="training.learning_rate"),
    ),
    lambda config: "denoising_step_list" in config and ("distribution_loss" in config or "real_name" in config),
    (
        *_DEFAULTS,
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
    "causvid", "CausVid", "Its YAML for DMD. Only its bidirectional student has a counterpart.",
    (
        Key(
            "model_type", ("roles.student.path", "roles.teacher.path", "roles.critic.path"), ORIGINAL_FORMAT,
            lambda value, config: hub_folder(f"Wan2.1-{value}", config),
        ),
        Key("model_name", (), "", matters=lambda value, _: value != "wan"),
        Key("generator_ckpt", (), "the student starts from a folder in diffusers format here, roles.student.path"),
        Key("real_guidance_scale", ("method_config.real_score_guidance_scale",), _GUIDANCE),
        Key("generator_task", (), _CAUSAL, matters=lambda value, _: "causal" in str(value)),
        Key("*_task_type", (), "", matters=lambda value, _: "bidirectional" not in str(value)),
        Key("*_grad.model", (), "roles.*.trainable says it here"),
        Key("data_path", ("data.path",), "an LMDB of latents there; here a folder of parquet that `distill data encode` makes"),
        Key("backward_simulation", ("method_config.rollout",), "", lambda value, _: "simulate" if value else "data_latent"),
        Key("distillation_loss", ("recipe.method",), "", _dmd),
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
        Default("method_config.rollout", "simulate", "their default"),
        Default("roles.student.path", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "their default"),
        Default("roles.teacher.path", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "their default"),
        Default("roles.critic.path", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "their default"),
        Default("training.max_train_steps", 1000, "the file says no length; its pages say that 1000 steps saturate"),
        Default("data.path", "data", "name the data set that `distill data encode` makes"),
        Default("output_dir", "runs/causvid", "name the run directory"),
    ),
)  # fmt: skip


def _size(config: Config, index: int) -> Any:
    shape = config.get("image_or_video_shape")
    return int(shape[index]) * 8 if isinstance(shape, list) and len(shape) == 5 else NOTHING
