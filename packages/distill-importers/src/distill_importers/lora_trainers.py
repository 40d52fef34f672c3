"""musubi-tuner and diffusion-pipe: TOML of trainers whose runs are mostly LoRAs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distill_importers.datasets import DataFile
from distill_importers.memory import (
    ACTIVATIONS,
    COMPILED,
    COMPILED_BY,
    ENCODERS,
    IN_FP8,
    SWAPPED,
    base_in_fp8,
    compiled,
    is_fp8,
    on,
    streamed,
    whole_on_host,
)
from distill_importers.tables import NOTHING, Config, Default, Key, Trainer, UnlikeError
from distill_importers.values import (
    PROCESSES,
    WHOLE_BATCH,
    family_of,
    full_if_true,
    hub_folder,
    or_none_if_zero,
    precision,
    schedule,
)

_LORA = "roles.student.lora"
_BLOCKS = "all linear layers of the model's blocks, there and here"
_ADAMW = "the optimizer is AdamW here, in fp32 or, by training.optimizer: adamw8bit, with moments in 8 bits"
_WORN = "a LoRA begins anew here; one that is trained already is worn by roles.student.fixed_loras"
_DATA = "a TOML of folders there; here a folder of parquet that `distill data encode` makes, named by data.path"
_FAMILIES = {
    "wan": "wan",
    "flux": "flux",
    "ltx-video": "ltx",
    "cosmos_predict2": "cosmos2",
    "hunyuan-video": "hunyuanvideo",
    "sd3": "sd3",
    "qwen_image": "qwenimage",
}
"""Models of diffusion-pipe."""
_PARTS = "parts in files of their own there; here a folder in diffusers format, roles.student.path"
_BASE, _PLACE, _KERNEL = "roles.student.weights", "roles.student.placement", "roles.student.attention"
_EPOCHS = "lengths are in steps here, not in epochs of the data"
_ITS_OWN = "is the trainer's own, and has no counterpart here"


def _tasks(value: Any, config: Config) -> str:
    names = {
        "t2v-1.3B": "Wan2.1-T2V-1.3B",
        "t2v-14B": "Wan2.1-T2V-14B",
        "t2v-A14B": "Wan2.2-T2V-A14B",
        "i2v-A14B": "Wan2.2-I2V-A14B",
        "flf2v-14B": "Wan2.1-FLF2V-14B-720P",
    }
    if value == "i2v-14B":
        raise UnlikeError(
            "is of two sizes; name Wan-AI/Wan2.1-I2V-14B-480P-Diffusers, or -720P-, by `path` of the role"
        )
    if value not in names:
        raise UnlikeError(
            f"there is no model here for the task {value!r}; text and pictures to video are what is trained"
        )
    return hub_folder(names[value], config)


def _density(value: Any, config: Config) -> Any:
    if value in ("shift", "sigmoid", "logit_normal"):
        return "logit_normal"
    if value in ("uniform", "sigma"):
        return "uniform"
    raise UnlikeError(
        f"there is no density {value!r} here; method_config.weighting_scheme has uniform, logit_normal and mode"
    )


def _shift(value: Any, config: Config) -> float:
    return float(value) if config.get("timestep_sampling", "sigma") in ("shift", "sigma") else 1.0


def _adamw(value: Any, _: Config) -> Any:
    if "adamw" not in str(value).lower():
        raise UnlikeError(f"the optimizer is AdamW here, not {value}")
    return NOTHING


def _plain(value: Any, _: Config) -> bool:
    return str(value).lower() not in ("adamw", "adamw_optimi")


def _blocks(value: Any, _: Config) -> list[str]:
    if "lora" not in str(value).lower() or "lokr" in str(value).lower():
        raise UnlikeError(f"the adapter is a plain LoRA here, not {value}")
    return ["attention+mlp"]


def _of_a_lora(value: Any) -> Callable[[Config], Any]:
    """Their default where a LoRA is trained."""
    return lambda config: value if "network_module" in config else NOTHING


MUSUBI_KEYS = (
    Key("task", ("roles.student.path",), "weights in the original format there; the same in diffusers format here", _tasks),
    Key("network_module", (f"{_LORA}.targets",), _BLOCKS, _blocks),
    Key("network_dim", (f"{_LORA}.rank",)),
    Key("network_alpha", (f"{_LORA}.alpha",)),
    Key("network_dropout", (f"{_LORA}.dropout",)),
    Key("network_weights", (), _WORN),
    Key("base_weights*", (), _WORN),
    Key("network_*", (), _ITS_OWN),
    Key("learning_rate", ("training.learning_rate",)),
    Key("optimizer_type", (), _ADAMW, _adamw, _plain),
    Key("optimizer_args", (), "betas, weight_decay and adam_epsilon are keys of `training` here"),
    Key("lr_scheduler", ("training.lr_scheduler",), "", schedule),
    Key("lr_warmup_steps", ("training.lr_warmup_steps",)),
    Key("max_grad_norm", ("training.max_grad_norm",), "", or_none_if_zero),
    Key("max_train_steps", ("training.max_train_steps",)),
    Key("max_train_epochs", (), _EPOCHS),
    Key("gradient_accumulation_steps", ("training.gradient_accumulation_steps",)),
    Key("gradient_checkpointing", ("training.enable_gradient_checkpointing_type",), "", full_if_true),
    Key("mixed_precision", ("training.precision",), "of forward passes here; trained weights stay fp32", precision),
    Key("seed", ("training.seed",), "draws are keyed here: the same seed gives other numbers"),
    Key(
        "timestep_sampling", ("method_config.weighting_scheme",), "shift and sigmoid are a logit-normal σ, with and without a shift",
        _density,
    ),
    Key("sigmoid_scale", ("method_config.logit_std",)),
    Key(
        "discrete_flow_shift", ("pipeline_config.flow_shift",),
        "of sampling too here; under `sigmoid` and `uniform` nothing is shifted there", _shift,
    ),
    Key(
        "weighting_scheme", (), "the loss is not weighted by σ here; method_config.weighting_scheme is the density of σ",
        matters=lambda value, _: value != "none",
    ),
    Key("*_timestep", (), "all timesteps are trained here"),
    Key("timestep_boundary", (), "the model's folder says where its experts change"),
    Key("max_data_loader_n_workers", ("data.num_workers",), "threads here, processes there"),
    Key("persistent_data_loader_workers", (), "", matters=lambda value, _: False),
    Key("dataset_config", (), _DATA),
    Key("output_dir", ("output_dir",)),
    Key("output_name", ("tracking.run_name",)),
    Key("save_every_n_steps", ("checkpoint.interval",)),
    Key("save_every_n_epochs", (), _EPOCHS),
    Key("sample_every_n_steps", ("validation.interval",)),
    Key("sample_every_n_epochs", (), _EPOCHS),
    Key("sample_at_first", ("validation.at_start",)),
    Key("sample_prompts", (), "prompts are a list here, validation.prompts"),
    Key("log_with", ("tracking.trackers",), "", lambda value, _: ["wandb", "tensorboard"] if value == "all" else [value]),
    Key("log_tracker_name", ("tracking.project",)),
    Key("wandb_run_name", ("tracking.run_name",)),
    Key("wandb_api_key", (), "W&B knows it from `wandb login`"),
    Key("resume", (), "the same command goes on from the newest good checkpoint of output_dir here"),
    Key("dit", (), _PARTS),
    Key("dit_high_noise", (), _PARTS),
    Key("vae", (), _PARTS),
    Key("t5", (), _PARTS),
    Key("clip", (), _PARTS),
    Key("fp8_base", (_BASE,), IN_FP8, base_in_fp8, is_fp8),
    Key("fp8_scaled", (_BASE,), IN_FP8, base_in_fp8, is_fp8),
    Key("fp8_*", (), ENCODERS, matters=on),
    Key("blocks_to_swap", (_PLACE,), SWAPPED, streamed, on),
    Key("offload_inactive_dit", (_PLACE,), "both experts come as a whole here, each for the length of its passes", whole_on_host, on),
    Key("gradient_checkpointing_cpu_offload", (), ACTIVATIONS, matters=on),
    Key("compile", ("training.compile",), COMPILED, compiled, on),
    Key("compile_*", (), COMPILED_BY),
    Key("dynamo_backend", ("training.compile",), COMPILED, lambda value, _: NOTHING if str(value).lower() == "no" else True),
    Key("dynamo_*", (), COMPILED_BY),
    Key("sdpa", (), "", matters=lambda value, _: False),
    Key("flash_attn", (_KERNEL,), "", lambda value, _: "flash" if value else NOTHING),
    Key("flash3", (_KERNEL,), "", lambda value, _: "_flash_3" if value else NOTHING),
    Key("xformers", (_KERNEL,), "", lambda value, _: "xformers" if value else NOTHING),
    Key("sage_attn", (_KERNEL,), "is tried out before weights load", lambda value, _: "sage" if value else NOTHING, on),
    Key("split_attn", (), "a batch is attended at once here", matters=on),
)  # fmt: skip


def _without_sections(config: Config) -> Config:
    """The keys alone: sections of its TOML mean nothing."""
    return {name.rpartition(".")[2]: value for name, value in config.items()}


MUSUBI = Trainer(
    "musubi-tuner", "musubi-tuner",
    "A TOML for `--config_file`; its sections have no meaning there either. Options of the command line are written as keys of it.",
    MUSUBI_KEYS, lambda config: "task" in config and ("dataset_config" in config or "dit" in config),
    (
        Default("recipe.family", "wan", "the family of its task"),
        Default("recipe.method", "finetune", "it trains by flow matching"),
        Default(f"{_LORA}.rank", _of_a_lora(4), "their default"),
        Default(f"{_LORA}.alpha", _of_a_lora(1.0), "their default"),
        Default("method_config.caption_dropout", 0.0, "captions are not dropped there"),
        Default("method_config.weighting_scheme", "uniform", "their default"),
        Default("pipeline_config.flow_shift", 1.0, "their default"),
        Default(
            "training.max_train_steps", lambda config: 1600 if "max_train_epochs" not in config else 1000,
            "their default is 1600; say how many",
        ),
        Default("data.path", "data", "name the data set that `distill data encode` makes"),
    ),
    _without_sections,
    DataFile("dataset_config", "datasets", "general"),
)  # fmt: skip

DIFFUSION_PIPE_KEYS = (
    Key("model.type", ("recipe.family",), value=family_of(_FAMILIES)),
    Key("model.ckpt_path", ("roles.student.path",), "the original release there, the one in diffusers format here", hub_folder),
    Key("model.diffusers_path", ("roles.student.path",)),
    Key("model.dtype", ("training.precision",), "of forward passes here; trained weights stay fp32", precision),
    Key("model.transformer_dtype", (_BASE,), IN_FP8, base_in_fp8, is_fp8),
    Key("model.transformer_path", (), _PARTS),
    Key("model.vae_path", (), _PARTS),
    Key("model.*_path", (), _PARTS),
    Key("model.timestep_sample_method", ("method_config.weighting_scheme",), "", _density),
    Key("model.sigmoid_scale", ("method_config.logit_std",)),
    Key("model.shift", ("pipeline_config.flow_shift",), "of sampling too here"),
    Key("model.**", (), _ITS_OWN),
    Key("adapter.type", (f"{_LORA}.targets",), _BLOCKS, _blocks),
    Key("adapter.rank", (f"{_LORA}.rank",)),
    Key("adapter.dropout", (f"{_LORA}.dropout",)),
    Key("adapter.init_from_existing", (), _WORN),
    Key("adapter.dtype", (), "a LoRA is held in fp32 here", matters=lambda value, _: value != "float32"),
    Key("adapter.**", (), _ITS_OWN),
    Key("optimizer.type", (), _ADAMW, _adamw, _plain),
    Key("optimizer.lr", ("training.learning_rate",)),
    Key("optimizer.betas", ("training.betas",)),
    Key("optimizer.weight_decay", ("training.weight_decay",)),
    Key("optimizer.eps", ("training.adam_epsilon",)),
    Key("optimizer.**", (), _ITS_OWN),
    Key("output_dir", ("output_dir",), "each run makes a folder of its own in it there; here it is the run directory itself"),
    Key("dataset", (), _DATA),
    Key("max_steps", ("training.max_train_steps",)),
    Key("epochs", (), _EPOCHS),
    Key("micro_batch_size_per_gpu", ("training.train_batch_size",), WHOLE_BATCH, lambda value, _: _batch(value)),
    Key("gradient_accumulation_steps", ("training.gradient_accumulation_steps",)),
    Key("gradient_clipping", ("training.max_grad_norm",), "", or_none_if_zero),
    Key("warmup_steps", ("training.lr_warmup_steps",)),
    Key("lr_scheduler", ("training.lr_scheduler",), "", schedule),
    Key("force_constant_lr", (), "a run goes on with another rate by training.learning_rate and checkpoint.resume: changed"),
    Key(
        "activation_checkpointing", ("training.enable_gradient_checkpointing_type",), ACTIVATIONS, full_if_true,
        lambda value, _: value == "unsloth",
    ),
    Key("reentrant_activation_checkpointing", (), _ITS_OWN, matters=on),
    Key("blocks_to_swap", (_PLACE,), SWAPPED, streamed, on),
    Key("pipeline_stages", (), f"no model goes through GPUs in stages here; {PROCESSES}", matters=lambda value, _: value != 1),
    Key("partition_*", (), _ITS_OWN),
    Key("caching_batch_size", (), "`distill data encode` makes the latents here"),
    Key("image_micro_batch_size_per_gpu", (), "a batch is of one size for all here, training.train_batch_size"),
    Key("compile", ("training.compile",), COMPILED, compiled, on),
    Key("pseudo_huber_c", (), "the loss is the mean square here"),
    Key("save_every_n_steps", ("checkpoint.interval",), "weights alone there, all that a run goes on from here"),
    Key("checkpoint_every_n_steps", ("checkpoint.interval",)),
    Key("save_every_n_epochs", (), _EPOCHS),
    Key("checkpoint_every_n_epochs", (), _EPOCHS),
    Key("checkpoint_every_n_minutes", ("checkpoint.every",), "", lambda value, _: f"{value}min"),
    Key("save_dtype", (), "`distill export --dtype` says it here"),
    Key("steps_per_print", ("tracking.log_interval",)),
    Key("eval_*", (), "there is no held-out loss here; validation samples videos"),
    Key("video_clip_mode", (), "`distill data encode` says it here"),
    Key("monitoring.enable_wandb", ("tracking.trackers",), "", lambda value, _: ["wandb"] if value else []),
    Key("monitoring.wandb_api_key", (), "W&B knows it from `wandb login`", matters=on),
    Key("monitoring.wandb_tracker_name", ("tracking.project",), "", lambda value, _: value or NOTHING),
    Key("monitoring.wandb_run_name", ("tracking.run_name",), "", lambda value, _: value or NOTHING),
)  # fmt: skip


def _batch(value: Any) -> int:
    if not isinstance(value, int):
        raise UnlikeError("a batch is of one size for all resolutions here, training.train_batch_size")
    return value


DIFFUSION_PIPE = Trainer(
    "diffusion-pipe", "diffusion-pipe", "Its main TOML; the one of the data set is what `distill data encode` is told.",
    DIFFUSION_PIPE_KEYS,
    lambda config: "model.type" in config and "dataset" in config,
    (
        Default("recipe.method", "finetune", "it trains by flow matching"),
        Default("method_config.caption_dropout", 0.0, "captions are not dropped there"),
        Default("method_config.weighting_scheme", "logit_normal", "their default"),
        Default("pipeline_config.flow_shift", 1.0, "timesteps are not shifted there unless `shift` says so"),
        Default("training.betas", [0.9, 0.99], "their usual"),
        Default("training.max_train_steps", 1000, "the file counts epochs; say how many steps"),
        Default("data.path", "data", "name the data set that `distill data encode` makes"),
    ),
    data_file=DataFile("dataset", "directory", ""),
)  # fmt: skip
