"""FastVideo: the YAML of its trainer."""

from __future__ import annotations

from typing import Any

from distill_importers.memory import COMPILED, ENCODERS, FROZEN_ON_HOST, compiled, on
from distill_importers.tables import NOTHING, Config, Default, Key, Trainer, UnlikeError
from distill_importers.values import (
    PROCESSES,
    SCHEDULES,
    WHOLE_BATCH,
    family_of,
    lora_targets,
    method_of,
    or_none_if_zero,
    schedule,
    without_zero,
)

_ROLLOUTS = {
    "simulate": "simulate",
    "sim": "simulate",
    "data_latent": "data_latent",
    "data": "data_latent",
    "vae_latent": "data_latent",
}
SCHEDULE = "counted in the role's own updates here, and at its end when the run ends; there the student's goes a share of its way"
ITS_OWN = "is the trainer's own, and has no counterpart here"


_FAMILIES = {"WanModel": "wan", "WanCausalModel": "wan", "HunyuanModel": "hunyuanvideo", "CosmosModel": "cosmos2"}
_METHODS = {
    "DMD2Method": "dmd2",
    "FineTuneMethod": "finetune",
    "SelfForcingMethod": "self-forcing",
    "StreamingLongTuningMethod": "streaming-long-tuning",
    "DiffusionForcingSFTMethod": "diffusion-forcing",
    "TeacherForcingSFTMethod": "teacher-forcing",
    "KDMethod": "kd",
    "KDCausalMethod": "causal-kd",
    "CausalConsistencyDistillationMethod": "causal-consistency",
    "AnyFlowMethod": "anyflow-on-policy",
    "AnyFlowPretrainMethod": "anyflow",
    "DiffusionNFTMethod": "nft",
}
_MATCHING = frozenset({"dmd2", "self-forcing", "streaming-long-tuning"})
_OPTIONS = (
    "is an option of the method there; its options here, which are its own, are in its README and docs/run-yaml.md"
)


def _method_of(config: Config) -> str:
    target = str(config.get("method._target_", "")).rpartition(".")[2]
    return _METHODS.get(target, str(config.get("recipe.method", "")))


def _family_of(config: Config) -> Any:
    target = str(config.get("models.student._target_", "")).rpartition(".")[2]
    return _FAMILIES.get(target, NOTHING)


def _is_dmd(config: Config) -> bool:
    """Whether scores are matched: DMD2 and the methods that stand on it."""
    return _method_of(config) in _MATCHING


def _of_dmd(value: Any) -> Any:
    """A default of DMD2 and of the methods that stand on it."""
    return lambda config: value if _is_dmd(config) else NOTHING


def _of_finetuning(value: Any) -> Any:
    """A default of finetuning alone, and of DMD2."""
    return lambda config: value if _method_of(config) in ("dmd2", "finetune") else NOTHING


def _number(value: Any, _: Config) -> float:
    return float(value)


def _unless_zero(value: Any, _: Config) -> Any:
    return value if value else NOTHING


def _of_a_lora(value: Any, config: Config) -> Any:
    return value if config.get("models.student.lora.enable", True) else NOTHING


def _has(key: str) -> Any:
    return lambda value, config: key not in config


def rollout(value: Any, _: Config) -> str:
    """A rollout by any of its names there."""
    if value not in _ROLLOUTS:
        raise UnlikeError(f"there is no rollout {value!r}")
    return _ROLLOUTS[value]


def dropout(value: Any, config: Config) -> Any:
    """Dropped captions, where the method drops any."""
    known = ("finetune", "diffusion-forcing", "teacher-forcing")
    return value if _method_of(config) in known else NOTHING


def _for_finetuning(value: Any, config: Config) -> Any:
    return value if _method_of(config) == "finetune" else NOTHING


def _data_sets(value: Any, _: Config) -> Any:
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    if not isinstance(value, str):
        raise UnlikeError("several data sets are `data.path` and `data.mix` here, with `repeats` of each")
    return value


def _decay(value: Any, config: Config) -> float:
    interval = int(config.get("method.generator_update_interval", 5)) if _is_dmd(config) else 1
    return round(float(value) ** interval, 6)


def first(value: Any, _: Config) -> Any:
    """The first number of several."""
    return value[0] if isinstance(value, list) else int(str(value).split(",")[0])


def kept(value: Any, _: Config) -> Any:
    """How many checkpoints are kept."""
    if not value:
        raise UnlikeError("keeps every checkpoint there; here the last few are kept, `checkpoint.keep_last`")
    return value


def interval(value: Any, _: Config) -> Any:
    """Every so many steps; 0 is never."""
    return int(value) if value else None


def wandb(value: Any, _: Config) -> list[str]:
    """The trackers by name."""
    return ["wandb"] if value and value != "none" else []


def _vsa(value: Any, _: Config) -> str | Any:
    return "vsa" if value else NOTHING


def loss(value: Any, config: Config) -> Any:
    """Finetuning by clean frames."""
    return "x0" if value and _method_of(config) == "finetune" else NOTHING


def weighting(value: Any, config: Config) -> Any:
    """Finetuning's density of σ."""
    return (value or "uniform") if _method_of(config) == "finetune" else NOTHING


def not_constant(value: Any, _: Config) -> bool:
    """Whether a schedule moves."""
    return value in SCHEDULES and not str(value).startswith("constant")


def _several(value: Any, _: Config) -> bool:
    return isinstance(value, int) and value > 1


KEYS = (
    Key("models.ema.**", (), "the average is a role of the method's own here, and follows the student by itself"),
    Key("models.*._target_", ("roles.*.family",), value=family_of(_FAMILIES)),
    Key("models.*.init_from", ("roles.*.path",)),
    Key("models.*.trainable", ("roles.*.trainable",)),
    Key("models.student.flow_shift", ("pipeline_config.sampling_shift",), "of the table of σ there, which its samples follow"),
    Key("models.*.flow_shift", (), "the roles share pipeline_config.flow_shift here; there it makes the table of σ"),
    Key("models.*.enable_gradient_checkpointing_type", ("training.enable_gradient_checkpointing_type",)),
    Key("models.student.lora.rank", ("roles.student.lora.rank",), value=_of_a_lora),
    Key("models.student.lora.alpha", ("roles.student.lora.alpha",), value=_of_a_lora),
    Key(
        "models.student.lora.target_modules", ("roles.student.lora.targets",), "a set of the family's layers here, or patterns of names",
        lambda value, config: _of_a_lora(lora_targets(value, config), config),
    ),
    Key("models.student.lora.enable", (), "", matters=lambda value, _: False),
    Key("models.*.lora.**", (), "a LoRA is `lora` of the role here, with rank, alpha and targets; without it the role is trained whole"),
    Key("models.*.**", (), ITS_OWN),
    Key("method._target_", ("recipe.method",), value=method_of(_METHODS)),
    Key("method.rollout_mode", ("method_config.rollout",), value=rollout),
    Key("method.chunk_size", ("method_config.block",)),
    Key("method.num_frames_per_block", ("method_config.block",)),
    Key("method.student_sample_type", ("method_config.rollout_move",)),
    Key("method.same_step_across_blocks", ("method_config.same_step_across_blocks",)),
    Key("method.context_noise", (), "a block sees the finished blocks before it clean here", matters=lambda value, _: bool(value)),
    Key(
        "method.enable_gradient_in_rollout", (), "the gradient goes through the drawn step of each block here",
        matters=lambda value, _: not value,
    ),
    Key("method.start_gradient_frame", (), "every block has a gradient here", matters=lambda value, _: bool(value)),
    Key("method.last_step_only", (), "the step that is judged is drawn here", matters=lambda value, _: bool(value)),
    Key(
        "method.t_list", ("method_config.denoising_steps",), "its 0 is the end, and no step here", without_zero,
        lambda value, _: bool(value) and value[-1] == 0,
    ),
    Key(
        "method.student_sample_steps", (), "the timesteps are listed here, method_config.denoising_steps",
        matters=_has("method.t_list"),
    ),
    Key(
        "method.teacher_path_cache", (), "paths of the teacher are columns of the data set here, which `distill data trajectories` makes; "
        "method_config.trajectories: stored",
    ),
    Key("method.teacher_inference_steps", ("method_config.teacher_steps",)),
    Key(
        "method.teacher_guidance_scale", ("method_config.guidance_scale",), "is s of uncond + s·(cond - uncond), there and here",
    ),
    Key("method.guidance_scale", ("method_config.guidance_scale",), "is s of uncond + s·(cond - uncond), there and here"),
    Key("method.discrete_cd_N", ("method_config.intervals",)),
    Key("method.ema_decay", ("method_config.ema_decay",)),
    Key("method.ema_start_step", ("method_config.ema_start_step",)),
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
    Key("method.fake_score_lr_scheduler", ("roles.critic.lr_scheduler",), SCHEDULE, schedule, not_constant),
    Key("method.min_timestep_ratio", ("method_config.min_timestep_ratio",)),
    Key("method.max_timestep_ratio", ("method_config.max_timestep_ratio",)),
    Key("method.attn_kind", ("method_config.attn_kind",)),
    Key("method.cfg_uncond.**", (), "guidance leads away from pipeline_config.negative_prompt here"),
    Key("method.**", (), _OPTIONS),
    Key("training.distributed.num_gpus", (), PROCESSES, matters=_several),
    Key("training.distributed.hsdp_*", (), "`distributed.replicate` and `.shard` here; left out, weights are spread over all processes"),
    Key("training.distributed.pin_cpu_memory", (), "host memory is pinned where weights live in it here", matters=on),
    Key("training.distributed.**", (), PROCESSES),
    Key("training.data.data_path", ("data.path",), "", _data_sets),
    Key("training.data.data_path.**", (), "data sets are `data.path` and `data.mix` here, with `repeats` of each"),
    Key(
        "training.data.train_batch_size", ("training.train_batch_size",), WHOLE_BATCH,
        matters=lambda _, config: _several(config.get("training.distributed.num_gpus"), config),
    ),
    Key(
        "training.data.dataloader_num_workers", ("data.num_workers",), "threads here, processes there",
        matters=lambda value, _: bool(value),
    ),
    Key("training.data.training_cfg_rate", ("method_config.caption_dropout",), "", dropout),
    Key("training.data.seed", ("training.seed",), "draws are keyed here: the same seed gives other numbers"),
    Key("training.data.num_*", ("data.num_*",)),
    Key("training.data.preprocessed_data_type", (), "what the rows hold is read off them here"),
    Key("training.optimizer.lr_scheduler", ("training.lr_scheduler",), SCHEDULE, schedule, not_constant),
    Key("training.optimizer.learning_rate", ("training.learning_rate",), "", _number),
    Key("training.optimizer.lr_num_cycles", ("training.lr_num_cycles",), "", _unless_zero),
    Key("training.optimizer.lr_power", ("training.lr_power",), "", _unless_zero),
    Key("training.optimizer.*", ("training.*",)),
    Key("training.loop.max_train_steps", ("training.max_train_steps",)),
    Key("training.loop.gradient_accumulation_steps", ("training.gradient_accumulation_steps",), "", lambda value, _: max(1, int(value))),
    Key("training.checkpoint.output_dir", ("output_dir",)),
    Key("training.checkpoint.training_state_checkpointing_steps", ("checkpoint.interval",), "", interval),
    Key("training.checkpoint.checkpoints_total_limit", ("checkpoint.keep_last",), "", kept),
    Key("training.checkpoint.resume_from_checkpoint", (), "the same command goes on from the newest good checkpoint of output_dir here"),
    Key("training.tracker.project_name", ("tracking.project",)),
    Key("training.tracker.run_name", ("tracking.run_name",)),
    Key("training.tracker.entity", ("tracking.entity",)),
    Key("training.tracker.trackers", ("tracking.trackers",), "", wandb),
    Key("training.vsa.sparsity", ("training.VSA_sparsity",)),
    Key("training.vsa.**", (), ITS_OWN),
    Key("training.model.enable_gradient_checkpointing_type", ("training.enable_gradient_checkpointing_type",)),
    Key("training.model.enable_torch_compile", ("training.compile",), COMPILED, compiled, on),
    Key("training.model.weighting_scheme", ("method_config.weighting_scheme",), "", weighting),
    Key("training.model.logit_*", ("method_config.logit_*",), "", _for_finetuning),
    Key("training.model.mode_scale", ("method_config.mode_scale",), "", _for_finetuning),
    Key("training.model.precondition_outputs", ("method_config.loss",), "", loss),
    Key("training.model.**", (), ITS_OWN),
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
    Key("callbacks.validation.every_steps", ("validation.interval",), "", interval),
    Key("callbacks.validation.run_at_start", ("validation.at_start",)),
    Key(
        "callbacks.validation.sampling_steps", ("validation.sampling_steps",), "a student of few steps is sampled at its own here",
        first,
    ),
    Key("callbacks.validation.guidance_scale", ("validation.guidance_scale",), "a student of few steps is sampled without guidance here"),
    Key("callbacks.validation.dataset_file", (), "prompts are a list here, validation.prompts; left out, they are captions of the data"),
    Key("callbacks.validation.**", (), ITS_OWN),
    Key("callbacks.*._target_", (), "", matters=lambda value, _: False),
    Key("callbacks.**", (), "there are no callbacks here"),
    Key("pipeline.flow_shift", ("pipeline_config.flow_shift",)),
    Key("pipeline.enable_torch_compile", ("training.compile",), COMPILED, compiled, on),
    Key("pipeline.dit_*offload", (), FROZEN_ON_HOST, matters=on),
    Key("pipeline.*_cpu_offload", (), ENCODERS, matters=on),
    Key("pipeline.**", (), ITS_OWN),
)  # fmt: skip


def _table_shift(config: Config) -> Any:
    """The shift of their table of σ, where it is not that of training."""
    return 3.0 if config.get("pipeline.flow_shift") not in (None, 3, 3.0) else NOTHING


def _tracks(config: Config) -> Any:
    return ["wandb"] if config.get("training.tracker.project_name") else NOTHING


DMD_DEFAULTS = (
    Default("method_config.normalizer", _of_dmd("per_batch"), "one normaliser for the whole batch, as there"),
    Default(
        "method_config.critic_reuses_student_sample",
        lambda config: NOTHING if _method_of(config) == "streaming-long-tuning" else _of_dmd(False)(config),
        "the critic makes samples of its own on every step, as there",
    ),
)

FASTVIDEO = Trainer(
    "fastvideo", "FastVideo", "The YAML of `fastvideo.train`: `models`, `method`, `training`, `callbacks`, `pipeline`.", KEYS,
    lambda config: "method._target_" in config and any(name.startswith("models.") for name in config),
    (
        Default(
            "data.path", lambda config: "data" if any(name.startswith("training.data.data_path.") for name in config) else NOTHING,
            "name the data set that `distill data encode` makes",
        ),
        Default("recipe.family", _family_of, "the family of its student"),
        Default("pipeline_config.sampling_shift", _table_shift, "their models sample by 3 where they do not say otherwise"),
        Default("tracking.trackers", _tracks, "a project turns W&B on there"),
        Default("method_config.min_timestep_ratio", _of_dmd(0.0), "their default; the recipes of before say 0.02"),
        Default("method_config.max_timestep_ratio", _of_dmd(1.0), "their default; the recipes of before say 0.98"),
        Default(
            "method_config.attn_kind", lambda config: _of_finetuning("vsa")(config) if config.get("training.vsa.sparsity") else NOTHING,
            "a sparsity turns it on there",
        ),
        *DMD_DEFAULTS,
    ),
)  # fmt: skip
