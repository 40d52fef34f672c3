"""What the user may have meant by a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

ALIKE = 0.6
"""How like a key must be, as difflib has it, to be what was meant by another."""

NEAR = 0.85
"""How like it must be to be worth a word beside a better answer: a slip of a letter or two."""

THEIRS: Mapping[str, tuple[str, ...]] = {
    "output_dir": ("output_path", "save_dir"),
    "roles.<name>.path": ("pretrained_model_name_or_path", "pretrained_model", "model_path", "model_id", "init_from"),
    "roles.<name>.lora": ("mode", "use_lora", "lora_training"),
    "roles.<name>.lora.rank": ("r", "lora_r", "network_dim"),
    "roles.<name>.lora.alpha": ("network_alpha",),
    "roles.<name>.lora.targets": ("target_modules", "lora_target_modules", "lora_layers"),
    "roles.<name>.ema": ("use_ema",),
    "data.path": (
        "data_dir", "data_root", "dataset", "dataset_base_path", "dataset_name", "dataset_path", "instance_data_dir", "instance_data_root",
        "train_data_dir",
    ),
    "data.num_frames": ("max_num_frames",),
    "data.num_height": ("height",),
    "data.num_width": ("width",),
    "data.num_workers": ("dataloader_num_workers", "dataset_num_workers", "max_data_loader_n_workers"),
    "training.max_train_steps": ("steps", "max_steps", "num_steps", "max_iter", "max_iters", "num_train_steps", "train_steps"),
    "training.max_train_steps, in steps: an epoch is the rows of the data ÷ train_batch_size ÷ gradient_accumulation_steps of them": (
        "epochs", "max_train_epochs", "num_epochs", "num_train_epochs",
    ),
    "training.train_batch_size, of all processes together": (
        "batch_size", "batch_size_global", "micro_batch_size", "micro_batch_size_per_gpu", "per_device_train_batch_size",
    ),
    "training.gradient_accumulation_steps": ("accumulate_grad_batches", "accumulation_steps", "grad_accum_rounds", "grad_accum_steps"),
    "training.learning_rate": ("lr",),
    "roles.<name>.learning_rate": ("lr",),
    "training.lr_scheduler": ("lr_scheduler_type", "scheduler"),
    "training.lr_warmup_steps": ("num_warmup_steps", "warmup_steps"),
    "training.optimizer": ("optim", "optimizer_type", "use_8bit_adam"),
    "training.betas": ("adam_beta1", "adam_beta2", "adam_betas"),
    "training.weight_decay": ("adam_weight_decay",),
    "training.adam_epsilon": ("adam_eps", "eps"),
    "training.max_grad_norm": ("clip_grad_norm", "grad_clip", "gradient_clip_val", "gradient_clipping", "max_norm"),
    "training.seed": ("global_seed", "random_seed"),
    "training.precision": ("dtype", "mixed_precision"),
    "training.enable_gradient_checkpointing_type": (
        "activation_checkpointing", "enable_gradient_checkpointing", "gradient_checkpointing", "use_gradient_checkpointing",
    ),
    "training.compile": ("enable_torch_compile", "torch_compile", "use_compile"),
    "validation.interval": ("eval_interval", "eval_steps", "every_steps", "sample_every_n_steps", "validation_iter", "validation_steps"),
    "validation.interval, in steps": ("sample_every_n_epochs", "validation_epochs"),
    "validation.prompts": ("sample_prompts", "validation_prompt"),
    "validation.seeds, a video of each": ("num_validation_images", "num_validation_videos"),
    "validation.sampling_steps": ("num_inference_steps", "num_sampling_steps"),
    "validation.low_noise_guidance_scale": ("guidance_scale_2",),
    "comparison.rows.<name>.low_noise_guidance_scale": ("guidance_scale_2",),
    "checkpoint.interval": (
        "checkpointing_steps", "save_ckpt_iter", "save_every_n_steps", "save_interval", "save_iter", "save_steps",
        "training_state_checkpointing_steps",
    ),
    "checkpoint.interval, in steps": ("save_every_n_epochs",),
    "checkpoint.keep_last": ("checkpoints_total_limit", "save_total_limit"),
    "checkpoint.resume, and the same command goes on from the newest; `distill run --resume` names another": (
        "resume_from", "resume_from_checkpoint",
    ),
    "tracking.trackers": ("log_with", "report_to"),
    "tracking.project": ("project_name", "tracker_name", "tracker_project_name", "wandb_project"),
    "tracking.run_name": ("tracker_run_name", "wandb_run_name"),
    "tracking.entity": ("wandb_entity",),
    "tracking.log_interval": ("log_every", "log_every_n_steps", "log_iter", "log_steps", "logging_iter", "logging_steps"),
    "distributed, and `distill run --nproc-per-node` starts the processes": ("nproc_per_node", "num_gpus", "num_processes"),
    "distributed.shard": ("hsdp_shard_dim",),
    "distributed.replicate": ("hsdp_replicate_dim",),
    "distributed.context": ("context_parallel_size", "cp_size", "sequence_parallel_size", "sp_size", "ulysses_degree"),
}  # fmt: skip
"""What other tools call our keys: scripts of diffusers and accelerate, transformers, FastVideo, FastGen, kohya, DiffSynth. Ours by their
dotted paths, where need be with what is different, after a comma. Options of plugins state such names themselves (``known_as``)."""


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like ``word``, whatever its case and with - for _, or None if none is like it."""
    by_folded = {folded(candidate): candidate for candidate in candidates}
    found = difflib.get_close_matches(folded(word), by_folded, n=1, cutoff=ALIKE)
    return by_folded[found[0]] if found else None


def unknown_key(
    key: str,
    mine: str,
    here: Sequence[str],
    elsewhere: Mapping[str, Sequence[str]],
    counterparts: Sequence[str],
) -> str:
    """What to say of a key that its mapping does not have.

    ``mine`` is the mapping's dotted path, ``here`` are the keys that it has, ``elsewhere`` those of the other mappings by their path,
    ``counterparts`` what this name of another tool's may mean here, as :data:`THEIRS` has it. A key of exactly that name, wherever it is,
    goes before one that is only like it: a setting that is offered for another would be taken for it.
    """
    ours = [each.partition(", ") for each in counterparts]
    for path, comma, remark in ours:
        section, _, name = path.rpartition(".")
        if _is(mine, section):
            return f"unknown key; what other tools call `{key}` is `{name}` here{comma}{remark}"
    exact, (meant, likeness) = _exact(key, elsewhere), _likest(key, here)
    if exact:
        also = f"; or did you mean `{meant}`?" if likeness >= NEAR else ""
        return f"unknown key here; {exact}{also}"
    if ours:
        path, comma, remark = ours[0]
        return f"unknown key; what other tools call `{key}` is `{path}` here{comma}{remark}"
    other, nearness = _likest(key, [name for keys in elsewhere.values() for name in keys])
    if (nearness >= NEAR and nearness > likeness) or (meant is None and other is not None):
        homes = [section for section, keys in elsewhere.items() if other in keys]
        return f"unknown key; did you mean `{other}` under {' or '.join(map(_place, homes))}?"
    if meant is not None:
        return f"unknown key; did you mean `{meant}`?"
    return f"unknown key; known here: {', '.join(here)}" if here else "unknown key; no keys are known here"


def _is(path: str, section: str) -> bool:
    """Whether a path is a section's, in which `<name>` stands for a name of the user's choosing."""
    own, its = path.split("."), section.split(".")
    return len(own) == len(its) and all(part in (name, "<name>") for name, part in zip(own, its, strict=True))


def _exact(key: str, elsewhere: Mapping[str, Sequence[str]]) -> str:
    """Where a key of this name is, or one whose path reads so with underscores: `ema_decay` is `decay` of an `ema`. Empty if nowhere."""
    homes = [section for section, keys in elsewhere.items() if key in keys]
    if homes:
        return f"`{key}` belongs under {' or '.join(map(_place, homes))}"
    for section, keys in elsewhere.items():
        for name in keys:
            path = [part for part in section.split(".") if part and not part.startswith("<")]
            if any(folded("_".join([*path[depth:], name])) == folded(key) for depth in range(len(path))):
                return f"it is `{name}` under {_place(section)}"
    return ""


def _likest(key: str, candidates: Sequence[str]) -> tuple[str | None, float]:
    """The candidate most like a key, and how like it is; (None, 0) if none is."""
    meant = closest(key, candidates)
    if meant is None:
        return None, 0.0
    return meant, difflib.SequenceMatcher(None, folded(meant), folded(key)).ratio()


def _place(section: str) -> str:
    return f"`{section}`" if section else "the top level"


def folded(name: str) -> str:
    """A name whatever its case, and with - for _."""
    return name.lower().replace("-", "_")
