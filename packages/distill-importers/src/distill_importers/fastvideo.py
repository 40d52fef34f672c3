"""FastVideo: the YAML of its trainer, and that of the RFC which came before it."""

from __future__ import annotations

from typing import Any

from distill_importers.tables import NOTHING, Config, Default, Key, Trainer, UnlikeError
from distill_importers.values import SCHEDULES, or_none_if_zero, schedule, without_zero

_ROLLOUTS = {
    "simulate": "simulate",
    "sim": "simulate",
    "data_latent": "data_latent",
    "data": "data_latent",
    "vae_latent": "data_latent",
}
_PROCESSES = "one process here; for the batch of several, raise training.gradient_accumulation_steps"
_SCHEDULE = "counted in the role's own updates here, and at its end when the run ends; there the student's goes a share of its way"
_ITS_OWN = "is the trainer's own, and has no counterpart here"


def _family(value: Any, _: Config) -> str:
    if not str(value).endswith(".WanModel"):
        raise UnlikeError(f"there is no model family here for {value}; `distill plugins list` shows those there are")
    return "wan"


def _method(value: Any, _: Config) -> str:
    methods = {"DMD2Method": "dmd2", "FineTuneMethod": "finetune"}
    name = str(value).rpartition(".")[2]
    if name not in methods:
        raise UnlikeError(f"there is no method here for {name}; `distill plugins list` shows those there are")
    return methods[name]


def _is_dmd(config: Config) -> bool:
    return str(config.get("method._target_", config.get("recipe.method", ""))).lower().endswith(("dmd2method", "dmd2"))


def _of_dmd(value: Any) -> Any:
    """A default of DMD2 only."""
    return lambda config: value if _is_dmd(config) else NOTHING


def _rollout(value: Any, _: Config) -> str:
    if value not in _ROLLOUTS:
        raise UnlikeError(f"there is no rollout {value!r}")
    return _ROLLOUTS[value]


def _dropout(value: Any, config: Config) -> Any:
    return NOTHING if _is_dmd(config) else value


def _for_finetuning(value: Any, config: Config) -> Any:
    return NOTHING if _is_dmd(config) else value


def _data_sets(value: Any, _: Config) -> Any:
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    if not isinstance(value, str):
        raise UnlikeError("several data sets are `data.path` and `data.mix` here, with `repeats` of each")
    return value


def _decay(value: Any, config: Config) -> float:
    interval = int(config.get("method.generator_update_interval", 5)) if _is_dmd(config) else 1
    return round(float(value) ** interval, 6)


def _first(value: Any, _: Config) -> Any:
    return value[0] if isinstance(value, list) else int(str(value).split(",")[0])


def _kept(value: Any, _: Config) -> Any:
    if not value:
        raise UnlikeError("keeps every checkpoint there; here the last few are kept, `checkpoint.keep_last`")
    return value


def _interval(value: Any, _: Config) -> Any:
    return int(value) if value else None


def _wandb(value: Any, _: Config) -> list[str]:
    return ["wandb"] if value and value != "none" else []


def _vsa(value: Any, _: Config) -> str | Any:
    return "vsa" if value else NOTHING


def _loss(value: Any, config: Config) -> Any:
    return "x0" if value and not _is_dmd(config) else NOTHING


def _weighting(value: Any, config: Config) -> Any:
    return NOTHING if _is_dmd(config) else (value or "uniform")


def _extra_guidance(value: Any, _: Config) -> Any:
    return value


def _not_constant(value: Any, _: Config) -> bool:
    return value in SCHEDULES and not str(value).startswith("constant")


def _several(value: Any, _: Config) -> bool:
    return isinstance(value, int) and value > 1


KEYS = (
    Key("models.*._target_", ("roles.*.family",), value=_family),
    Key("models.*.init_from", ("roles.*.path",)),
    Key("models.*.trainable", ("roles.*.trainable",)),
    Key("models.student.flow_shift", ("pipeline_config.sampling_shift",), "of the table of σ there, which its samples follow"),
    Key("models.*.flow_shift", (), "the roles share pipeline_config.flow_shift here; there it makes the table of σ"),
    Key("models.*.enable_gradient_checkpointing_type", ("training.enable_gradient_checkpointing_type",)),
    Key("models.*.lora.**", (), "a LoRA is `lora` of the role here, with rank, alpha and targets; without it the role is trained whole"),
    Key("models.*.**", (), _ITS_OWN),
    Key("method._target_", ("recipe.method",), value=_method),
    Key("method.rollout_mode", ("method_config.rollout",), value=_rollout),
    Key("method.generator_update_interval", ("method_config.generator_update_interval",), value=lambda value, _: max(1, int(value))),
    Key(
        "method.real_score_guidance_scale", ("method_config.guidance_scale",),
        "is s of uncond + s·(cond - uncond) in this trainer; its older configs mean w of cond + w·(cond - uncond) by the name, "
        "and s = w + 1",
    ),
    Key(
        "method.dmd_denoising_steps", ("method_config.dmd_denoising_steps",),
        "a trailing 0 is a step that is trained there, and no step here",
        without_zero, lambda value, _: bool(value) and value[-1] == 0,
    ),
    Key("method.warp_denoising_step", ("method_config.warp_denoising_steps",)),
    Key("method.fake_score_learning_rate", ("roles.critic.learning_rate",)),
    Key("method.fake_score_betas", ("roles.critic.betas",)),
    Key("method.fake_score_lr_scheduler", ("roles.critic.lr_scheduler",), _SCHEDULE, schedule, _not_constant),
    Key("method.min_timestep_ratio", ("method_config.min_timestep_ratio",)),
    Key("method.max_timestep_ratio", ("method_config.max_timestep_ratio",)),
    Key("method.attn_kind", ("method_config.attn_kind",)),
    Key("method.cfg_uncond.**", (), "guidance leads away from pipeline_config.negative_prompt here"),
    Key("training.distributed.num_gpus", (), _PROCESSES, matters=_several),
    Key("training.distributed.**", (), _PROCESSES),
    Key("training.data.data_path", ("data.path",), "", _data_sets),
    Key("training.data.train_batch_size", ("training.train_batch_size",)),
    Key(
        "training.data.dataloader_num_workers", ("data.num_workers",), "threads here, processes there",
        matters=lambda value, _: bool(value),
    ),
    Key("training.data.training_cfg_rate", ("method_config.caption_dropout",), "", _dropout),
    Key("training.data.seed", ("training.seed",), "draws are keyed here: the same seed gives other numbers"),
    Key("training.data.num_*", ("data.num_*",)),
    Key("training.data.preprocessed_data_type", (), "what the rows hold is read off them here"),
    Key("training.optimizer.lr_scheduler", ("training.lr_scheduler",), _SCHEDULE, schedule, _not_constant),
    Key("training.optimizer.*", ("training.*",)),
    Key("training.loop.max_train_steps", ("training.max_train_steps",)),
    Key("training.loop.gradient_accumulation_steps", ("training.gradient_accumulation_steps",), "", lambda value, _: max(1, int(value))),
    Key("training.checkpoint.output_dir", ("output_dir",)),
    Key("training.checkpoint.training_state_checkpointing_steps", ("checkpoint.interval",), "", _interval),
    Key("training.checkpoint.checkpoints_total_limit", ("checkpoint.keep_last",), "", _kept),
    Key("training.checkpoint.resume_from_checkpoint", (), "the same command goes on from the newest good checkpoint of output_dir here"),
    Key("training.tracker.project_name", ("tracking.project",)),
    Key("training.tracker.run_name", ("tracking.run_name",)),
    Key("training.tracker.entity", ("tracking.entity",)),
    Key("training.tracker.trackers", ("tracking.trackers",), "", _wandb),
    Key("training.vsa.sparsity", ("training.VSA_sparsity",)),
    Key("training.vsa.**", (), _ITS_OWN),
    Key("training.model.enable_gradient_checkpointing_type", ("training.enable_gradient_checkpointing_type",)),
    Key("training.model.weighting_scheme", ("method_config.weighting_scheme",), "", _weighting),
    Key("training.model.logit_*", ("method_config.logit_*",), "", _for_finetuning),
    Key("training.model.mode_scale", ("method_config.mode_scale",), "", _for_finetuning),
    Key("training.model.precondition_outputs", ("method_config.loss",), "", _loss),
    Key("training.model.**", (), _ITS_OWN),
    Key("training.dit_precision", (), "trained weights are always held in fp32 here", matters=lambda value, _: value != "fp32"),
    Key("training.model_path", (), "each role names its own folder here"),
    Key("callbacks.grad_clip.max_grad_norm", ("training.max_grad_norm",), "", or_none_if_zero),
    Key(
        "callbacks.ema.decay", ("roles.student.ema.decay",),
        "is of every iteration there and of each of the role's updates here: the decay is raised to the number of iterations "
        "between updates",
        _decay,
        lambda value, config: _is_dmd(config),
    ),
    Key("callbacks.ema.start_iter", ("roles.student.ema.start_step",)),
    Key("callbacks.validation.every_steps", ("validation.interval",)),
    Key("callbacks.validation.run_at_start", ("validation.at_start",)),
    Key(
        "callbacks.validation.sampling_steps", ("validation.sampling_steps",), "a student of few steps is sampled at its own here",
        _first,
    ),
    Key("callbacks.validation.guidance_scale", ("validation.guidance_scale",), "a student of few steps is sampled without guidance here"),
    Key("callbacks.validation.dataset_file", (), "prompts are a list here, validation.prompts; left out, they are captions of the data"),
    Key("callbacks.validation.**", (), _ITS_OWN),
    Key("callbacks.*._target_", (), "", matters=lambda value, _: False),
    Key("callbacks.**", (), "there are no callbacks here"),
    Key("pipeline.flow_shift", ("pipeline_config.flow_shift",)),
    Key("pipeline.**", (), _ITS_OWN),
)  # fmt: skip

RFC_KEYS = (
    Key("recipe.*", ("recipe.*",)),
    Key("roles.*.disable_custom_init_weights", (), _ITS_OWN),
    Key("roles.*.*", ("roles.*.*",)),
    Key("training.fake_score_learning_rate", ("roles.critic.learning_rate",)),
    Key("training.fake_score_betas", ("roles.critic.betas",), "", lambda value, _: _betas(value)),
    Key("training.fake_score_lr_scheduler", ("roles.critic.lr_scheduler",), _SCHEDULE, schedule, _not_constant),
    Key("training.data_path", ("data.path",)),
    Key("training.num_latent_t", ("data.num_latent_t",)),
    Key("training.num_frames", ("data.num_frames",)),
    Key("training.num_height", ("data.num_height",)),
    Key("training.num_width", ("data.num_width",)),
    Key("training.dataloader_num_workers", ("data.num_workers",), "threads here, processes there", matters=lambda value, _: bool(value)),
    Key("training.training_cfg_rate", ("method_config.caption_dropout",), "", _dropout),
    Key("training.betas", ("training.betas",), "", lambda value, _: _betas(value)),
    Key("training.lr_scheduler", ("training.lr_scheduler",), _SCHEDULE, schedule, _not_constant),
    Key("training.max_grad_norm", ("training.max_grad_norm",), "", or_none_if_zero),
    Key("training.output_dir", ("output_dir",)),
    Key("training.training_state_checkpointing_steps", ("checkpoint.interval",), "", _interval),
    Key("training.checkpoints_total_limit", ("checkpoint.keep_last",), "", _kept),
    Key("training.log_validation", (), "validation.interval turns it on here", matters=lambda value, _: bool(value)),
    Key("training.validation_steps", ("validation.interval",), "", _interval),
    Key(
        "training.validation_sampling_steps", ("validation.sampling_steps",), "a student of few steps is sampled at its own here",
        _first,
    ),
    Key("training.validation_guidance_scale", ("validation.guidance_scale",), "", lambda value, _: float(value)),
    Key("training.tracker_project_name", ("tracking.project",)),
    Key("training.wandb_run_name", ("tracking.run_name",)),
    Key("training.trackers", ("tracking.trackers",), "", _wandb),
    Key("training.min_timestep_ratio", ("method_config.min_timestep_ratio",)),
    Key("training.max_timestep_ratio", ("method_config.max_timestep_ratio",)),
    Key("training.generator_update_interval", ("method_config.generator_update_interval",)),
    Key(
        "*.real_score_guidance_scale", ("method_config.real_score_guidance_scale",),
        "is w of cond + w·(cond - uncond) in that trainer, as here; s is w + 1",
    ),
    Key("*.warp_denoising_step", ("method_config.warp_denoising_steps",)),
    Key("training.weighting_scheme", ("method_config.weighting_scheme",), "", _weighting),
    Key("training.precondition_outputs", ("method_config.loss",), "", _loss),
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
    Key("training.**", (), _ITS_OWN),
    Key("pipeline_config.*", ("pipeline_config.*",)),
    Key("method_config.rollout_mode", ("method_config.rollout",), value=_rollout),
    Key(
        "method_config.dmd_denoising_steps", ("method_config.dmd_denoising_steps",),
        "a trailing 0 is a step that is trained there, and no step here",
        without_zero, lambda value, _: bool(value) and value[-1] == 0,
    ),
    Key("method_config.*", ("method_config.*",)),
)  # fmt: skip


def _betas(value: Any) -> list[float]:
    return [float(each) for each in (value.split(",") if isinstance(value, str) else value)]


def _table_shift(config: Config) -> Any:
    """The shift of their table of σ, where it is not that of training."""
    return 3.0 if config.get("pipeline.flow_shift") not in (None, 3, 3.0) else NOTHING


def _tracks(config: Config) -> Any:
    return ["wandb"] if config.get("training.tracker.project_name") else NOTHING


_DMD_DEFAULTS = (
    Default("method_config.normalizer", _of_dmd("per_batch"), "one normaliser for the whole batch, as there"),
    Default(
        "method_config.critic_reuses_student_sample",
        _of_dmd(False),
        "the critic makes samples of its own on every step, as there",
    ),
)

FASTVIDEO = Trainer(
    "fastvideo", "FastVideo", "The YAML of `fastvideo.train`: `models`, `method`, `training`, `callbacks`, `pipeline`.", KEYS,
    lambda config: "method._target_" in config and any(name.startswith("models.") for name in config),
    (
        Default("recipe.family", "wan", "the family of its roles"),
        Default("pipeline_config.sampling_shift", _table_shift, "their models sample by 3 where they do not say otherwise"),
        Default("tracking.trackers", _tracks, "a project turns W&B on there"),
        Default("method_config.min_timestep_ratio", _of_dmd(0.0), "their default; the recipes of before say 0.02"),
        Default("method_config.max_timestep_ratio", _of_dmd(1.0), "their default; the recipes of before say 0.98"),
        Default(
            "method_config.attn_kind", lambda config: "vsa" if config.get("training.vsa.sparsity") else NOTHING,
            "a sparsity turns it on there",
        ),
        *_DMD_DEFAULTS,
    ),
)  # fmt: skip

FASTVIDEO_RFC = Trainer(
    "fastvideo-rfc", "FastVideo's RFC",
    "The YAML of its first distillation framework (`recipe`, `roles`, `training`, `method_config`), whose keys a run.yaml "
    "mostly shares.",
    RFC_KEYS, lambda config: "recipe.family" in config and "recipe.method" in config, _DMD_DEFAULTS,
)  # fmt: skip
