"""FastVideo's RFC: the YAML of its first distillation framework, whose keys a run.yaml mostly shares."""

from __future__ import annotations

from typing import Any

from distill_importers.fastvideo import (
    DMD_DEFAULTS,
    ITS_OWN,
    SCHEDULE,
    dropout,
    first,
    interval,
    kept,
    loss,
    not_constant,
    rollout,
    wandb,
    weighting,
)
from distill_importers.tables import Key, Trainer
from distill_importers.values import or_none_if_zero, schedule, without_zero


def _betas(value: Any) -> list[float]:
    return [float(each) for each in (value.split(",") if isinstance(value, str) else value)]


RFC_KEYS = (
    Key("recipe.*", ("recipe.*",)),
    Key("roles.*.disable_custom_init_weights", (), ITS_OWN),
    Key("roles.*.*", ("roles.*.*",)),
    Key("training.fake_score_learning_rate", ("roles.critic.learning_rate",)),
    Key("training.fake_score_betas", ("roles.critic.betas",), "", lambda value, _: _betas(value)),
    Key("training.fake_score_lr_scheduler", ("roles.critic.lr_scheduler",), SCHEDULE, schedule, not_constant),
    Key("training.data_path", ("data.path",)),
    Key("training.num_latent_t", ("data.num_latent_t",)),
    Key("training.num_frames", ("data.num_frames",)),
    Key("training.num_height", ("data.num_height",)),
    Key("training.num_width", ("data.num_width",)),
    Key("training.dataloader_num_workers", ("data.num_workers",), "threads here, processes there", matters=lambda value, _: bool(value)),
    Key("training.training_cfg_rate", ("method_config.caption_dropout",), "", dropout),
    Key("training.betas", ("training.betas",), "", lambda value, _: _betas(value)),
    Key("training.lr_scheduler", ("training.lr_scheduler",), SCHEDULE, schedule, not_constant),
    Key("training.max_grad_norm", ("training.max_grad_norm",), "", or_none_if_zero),
    Key("training.output_dir", ("output_dir",)),
    Key("training.training_state_checkpointing_steps", ("checkpoint.interval",), "", interval),
    Key("training.checkpoints_total_limit", ("checkpoint.keep_last",), "", kept),
    Key("training.log_validation", (), "validation.interval turns it on here", matters=lambda value, _: bool(value)),
    Key("training.validation_steps", ("validation.interval",), "", interval),
    Key(
        "training.validation_sampling_steps", ("validation.sampling_steps",), "a student of few steps is sampled at its own here",
        first,
    ),
    Key("training.validation_guidance_scale", ("validation.guidance_scale",), "", lambda value, _: float(value)),
    Key("training.tracker_project_name", ("tracking.project",)),
    Key("training.wandb_run_name", ("tracking.run_name",)),
    Key("training.trackers", ("tracking.trackers",), "", wandb),
    Key("training.min_timestep_ratio", ("method_config.min_timestep_ratio",)),
    Key("training.max_timestep_ratio", ("method_config.max_timestep_ratio",)),
    Key("training.generator_update_interval", ("method_config.generator_update_interval",)),
    Key(
        "*.real_score_guidance_scale", ("method_config.real_score_guidance_scale",),
        "is w of cond + w·(cond - uncond) in that trainer, as here; s is w + 1",
    ),
    Key("*.warp_denoising_step", ("method_config.warp_denoising_steps",)),
    Key("training.weighting_scheme", ("method_config.weighting_scheme",), "", weighting),
    Key("training.precondition_outputs", ("method_config.loss",), "", loss),
    Key(
        "training.VSA_decay_rate", ("training.VSA_decay_rate",),
        "reaches VSA_sparsity itself here; there it stops at a whole number of rises below it",
    ),
    Key("training.seed", ("training.seed",), "draws are keyed here: the same seed gives other numbers"),
    *(Key(f"training.{name}", (f"training.{name}",)) for name in (
        "max_train_steps", "gradient_accumulation_steps", "train_batch_size", "learning_rate", "weight_decay", "lr_warmup_steps",
        "lr_num_cycles",
        "lr_power", "min_lr_ratio", "VSA_sparsity", "VSA_decay_interval_steps", "enable_gradient_checkpointing_type",
    )),
    Key("training.**", (), ITS_OWN),
    Key("pipeline_config.*", ("pipeline_config.*",)),
    Key("method_config.rollout_mode", ("method_config.rollout",), value=rollout),
    Key(
        "method_config.dmd_denoising_steps", ("method_config.dmd_denoising_steps",),
        "a trailing 0 is a step that is trained there, and no step here",
        without_zero, lambda value, _: bool(value) and value[-1] == 0,
    ),
    Key("method_config.*", ("method_config.*",)),
)  # fmt: skip


FASTVIDEO_RFC = Trainer(
    "fastvideo-rfc", "FastVideo's RFC",
    "The YAML of its first distillation framework (`recipe`, `roles`, `training`, `method_config`), whose keys a run.yaml "
    "mostly shares.",
    RFC_KEYS, lambda config: "recipe.family" in config and "recipe.method" in config, DMD_DEFAULTS,
)  # fmt: skip
