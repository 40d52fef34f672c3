"""FastGen: a Python config, or the YAML that a run of it writes."""

from __future__ import annotations

from typing import Any

from distill_importers.memory import FROZEN_ON_HOST, on
from distill_importers.reading import BASE
from distill_importers.tables import NOTHING, Config, Default, Key, Trainer, UnlikeError
from distill_importers.values import PROCESSES, axis, or_none_if_zero, precision

_SMALL, _LARGE = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "Wan-AI/Wan2.1-T2V-14B-Diffusers"
_NETWORKS = {
    "Wan_1_3B_Config": ("wan", _SMALL),
    "Wan_14B_Config": ("wan", _LARGE),
    "Wan21_T2V_14B_Config": ("wan", _LARGE),
    "CausalWan_1_3B_Config": ("wan", _SMALL),
    "CausalWan_14B_Config": ("wan", _LARGE),
    "Wan22_T2V_5B_Config": ("wan", "Wan-AI/Wan2.2-TI2V-5B-Diffusers"),
    "Wan22_I2V_5B_Config": ("wan", "Wan-AI/Wan2.2-TI2V-5B-Diffusers"),
    "CausalWan22_I2V_5B_Config": ("wan", "Wan-AI/Wan2.2-TI2V-5B-Diffusers"),
    "Wan21_I2V_14B_480P_Config": ("wan", "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers"),
    "Wan21_I2V_14B_720P_Config": ("wan", "Wan-AI/Wan2.1-I2V-14B-720P-Diffusers"),
    "CausalWan21_I2V_14B_480P_Config": ("wan", "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers"),
    "CausalWan21_I2V_14B_720P_Config": ("wan", "Wan-AI/Wan2.1-I2V-14B-720P-Diffusers"),
    "CogVideoXConfig": ("cogvideox", "THUDM/CogVideoX-2b"),
    "CogVideoX5BConfig": ("cogvideox", "THUDM/CogVideoX-5b"),
    "FluxConfig": ("flux", "black-forest-labs/FLUX.1-dev"),
    "QwenImageConfig": ("qwenimage", "Qwen/Qwen-Image"),
}
_METHODS = {
    "dmd2": "dmd2",
    "f_distill": "fdistill",
    "fdistill": "fdistill",
    "ladd": "ladd",
    "causvid": "causvid",
    "self_forcing": "self-forcing",
    "selfforcing": "self-forcing",
    "sft_causal": "diffusion-forcing",
    "causalsft": "diffusion-forcing",
    "sft": "finetune",
    "sf": "self-forcing",
    "kd_causal": "causal-kd",
    "causalkd": "causal-kd",
    "kd": "kd",
    "mean_flow": "meanflow",
    "meanflow": "meanflow",
    "mf": "meanflow",
    "scm": "scm",
    "tcm": "tcm",
    "cm": "consistency",
}
"""Names of their configs and classes; of several that one begins with, the first counts."""
_MATCHING = frozenset({"dmd2", "fdistill", "causvid", "self-forcing"})
_SCORED = _MATCHING | {"ladd"}
_NOISED = _SCORED - {"self-forcing"}
_TAUGHT = frozenset({*_MATCHING, "ladd", "kd", "causal-kd", "meanflow", "scm", "tcm", "consistency"})
_SPACES = {"x0": "x0", "eps": "noise", "v": "velocity", "flow": "velocity"}
_OWN_HEAD = "the discriminator here is its own: on the teacher's hidden layers at half, three quarters and the end"
_ITS_OWN = "is the trainer's own, and has no counterpart here"


def _method(config: Config) -> Any:
    """The method of a run's class, or else of the config that a config is built on."""
    model = str(config.get("model_class._target_", config.get("model_class", ""))).rpartition(".")[2]
    bases = [name.rpartition(".config_")[2] for name in str(config.get(BASE, "")).split() if ".config_" in name]
    for said in (model.lower(), *bases):
        for name, ours in _METHODS.items():
            if said.startswith(name):
                return ours
    return NOTHING


def _network(value: Any) -> str:
    """A network's name; copies of one are it."""
    return str(value).removeprefix("copy.deepcopy(").removesuffix(")")


def _family(config: Config) -> Any:
    known = _NETWORKS.get(_network(config.get("model.net")))
    return NOTHING if known is None else known[0]


def _folder(value: Any, _: Config) -> str:
    if _network(value) not in _NETWORKS:
        raise UnlikeError(
            f"there is no model here for {value}; name a folder in diffusers format by `path` of the role"
        )
    return _NETWORKS[_network(value)][1]


def _roles(place: str) -> Any:
    def path(config: Config) -> Any:
        """The folder of a role that the config does not name: the network's."""
        known = _NETWORKS.get(_network(config.get("model.net")))
        asked = {"student": True, "teacher": _method(config) in _TAUGHT, "critic": _method(config) in _MATCHING}
        return known[1] if known is not None and asked[place] else NOTHING

    return path


def _has_gan(_: Any, config: Config) -> bool:
    return bool(config.get("model.gan_loss_weight_gen"))


def _with_gan(value: Any, config: Config) -> Any:
    """What the discriminator is trained with, where there is one."""
    return (list(value) if isinstance(value, tuple) else value) if _has_gan(value, config) else NOTHING


def _of(methods: frozenset[str], value: Any) -> Any:
    return lambda config: value if _method(config) in methods else NOTHING


def _of_dmd(value: Any) -> Any:
    return _of(_MATCHING, value)


def _grid_of(value: Any, config: Config) -> list[float]:
    if _method(config) not in _SCORED:
        raise UnlikeError("is method_config.denoising_steps here, in [0, 1000], where the method has them")
    return _of_a_thousand(value, config)


def _of_a_thousand(value: Any, _: Config) -> list[float]:
    steps = [round(float(each) * 1000.0, 6) for each in value]
    return steps[:-1] if len(steps) > 1 and steps[-1] == 0 else steps


def _shift_of(config: Config) -> Any:
    """The shift of a distribution of timesteps that names none."""
    kind = config.get("model.sample_t_cfg.time_dist_type", "uniform")
    return {"shifted": 5.0, "uniform": 1.0}.get(kind, NOTHING)


def _score_shift(config: Config) -> Any:
    return _shift_of(config) if _method(config) in _SCORED else NOTHING


def _training_shift(config: Config) -> Any:
    return NOTHING if _method(config) in _SCORED else _shift_of(config)


def _distribution(value: Any, config: Config) -> Any:
    densities = {"shifted": NOTHING, "uniform": NOTHING, "logitnormal": "logit_normal"}
    if value in ("shifted", "uniform"):
        return NOTHING  # the shift says it
    if value not in densities or _method(config) not in _SCORED:
        raise UnlikeError(
            f"there is no distribution {value!r} here; see method_config.score_timesteps or method_config.weighting_scheme"
        )
    return densities[value]


def _shift(value: Any, config: Config) -> float:
    if _method(config) not in _SCORED:
        raise UnlikeError("say it by pipeline_config.flow_shift")
    return float(value)


def _accumulation(value: Any, config: Config) -> Any:
    batch = int(config.get("dataloader_train.batch_size", 1))
    if int(value) % batch:
        raise UnlikeError(f"is no multiple of the batch of {batch}; set training.gradient_accumulation_steps")
    return int(value) // batch


KEYS = (
    Key(
        "trainer.max_iter", ("training.max_train_steps",), "runs one iteration fewer there than it says",
        lambda value, _: int(value) - 1,
    ),
    Key("trainer.logging_iter", ("tracking.log_interval",)),
    Key("trainer.save_ckpt_iter", ("checkpoint.interval",)),
    Key(
        "trainer.batch_size_global", ("training.gradient_accumulation_steps",),
        "over all GPUs there, and here: by accumulation. With N processes raise train_batch_size instead, "
        "to a multiple of N", _accumulation,
    ),
    Key("trainer.seed", ("training.seed",), "draws are keyed here: the same seed gives other numbers"),
    Key(
        "trainer.callbacks.grad_clip.grad_norm", ("roles.student.max_grad_norm",), "of the student alone, there and here",
        or_none_if_zero,
    ),
    Key("trainer.fsdp_cpu_offload", (), FROZEN_ON_HOST, matters=on),
    Key("trainer.fsdp*", (), PROCESSES),
    Key("trainer.ddp*", (), PROCESSES),
    Key("trainer.**", (), _ITS_OWN),
    Key("model.net", ("roles.student.path",), value=_folder),
    Key("model.teacher", ("roles.teacher.path",), value=_folder),
    Key("model.fake_score_net", ("roles.critic.path",), value=_folder),
    Key("model.net_optimizer.lr", ("training.learning_rate",)),
    Key("model.net_optimizer.betas", ("training.betas",), "", lambda value, _: list(value)),
    Key("model.net_optimizer.weight_decay", ("training.weight_decay",)),
    Key("model.net_optimizer.**", (), _ITS_OWN),
    Key("model.fake_score_optimizer.lr", ("roles.critic.learning_rate",)),
    Key("model.fake_score_optimizer.betas", ("roles.critic.betas",), "", lambda value, _: list(value)),
    Key("model.fake_score_optimizer.weight_decay", ("roles.critic.weight_decay",)),
    Key("model.fake_score_optimizer.**", (), _ITS_OWN),
    Key("model.discriminator.**", (), _OWN_HEAD, matters=_has_gan),
    Key("model.discriminator_optimizer.lr", ("roles.discriminator.learning_rate",), value=_with_gan),
    Key("model.discriminator_optimizer.betas", ("roles.discriminator.betas",), value=_with_gan),
    Key("model.discriminator_optimizer.weight_decay", ("roles.discriminator.weight_decay",), value=_with_gan),
    Key("model.discriminator_optimizer.**", (), _ITS_OWN, matters=_has_gan),
    Key("model.gan_loss_weight_gen", ("method_config.gan_weight",)),
    Key("model.gan_use_same_t_noise", ("method_config.gan_same_noise",)),
    Key("model.gan_r1_reg_weight", ("method_config.gan_r1_weight",)),
    Key("model.gan_r1_reg_alpha", ("method_config.gan_r1_scale",)),
    Key("model.gan_*", (), "has no counterpart here"),
    Key(
        "model.precision", ("training.precision",),
        "of forward passes here; trained weights and AdamW's state stay fp32, and do not there", precision,
    ),
    Key("model.guidance_scale", ("method_config.guidance_scale",), "is s of uncond + s·(cond - uncond), there and here"),
    Key(
        "model.student_sample_steps", (), "the timesteps are listed here, method_config.dmd_denoising_steps",
        matters=lambda value, config: "model.sample_t_cfg.t_list" not in config,
    ),
    Key("model.student_sample_type", ("method_config.rollout_move",)),
    Key("model.student_update_freq", ("method_config.generator_update_interval",)),
    Key("model.fake_score_pred_type", ("method_config.critic_loss",), "", lambda value, _: _SPACES.get(value, "velocity")),
    Key(
        "model.sample_t_cfg.t_list", ("method_config.dmd_denoising_steps",), "in [0, 1] there, in [0, 1000] here; its 0 is no step",
        _grid_of,
    ),
    Key("model.sample_t_cfg.time_dist_type", ("method_config.score_timesteps.density",), "", _distribution),
    Key("model.sample_t_cfg.shift", ("method_config.score_timesteps.shift",), "", _shift),
    Key("model.sample_t_cfg.min_t", ("method_config.min_timestep_ratio",), "is of timesteps, in [0, 1], there and here"),
    Key("model.sample_t_cfg.max_t", ("method_config.max_timestep_ratio",), "is of timesteps, in [0, 1], there and here"),
    Key("model.input_shape", ("data.num_latent_t",), "", axis(1)),
    Key("model.cond_dropout_prob", ("method_config.caption_dropout",)),
    Key("model.pretrained_model_path", (), "a role starts from a folder in diffusers format here"),
    Key("model.use_ema", (), "roles.student.ema keeps an average here, e.g. {decay: 0.99}", matters=lambda value, _: bool(value)),
    Key("model.fsdp_meta_init", (), "weights in parts are read block by block here", matters=on),
    Key("model.**", (), _ITS_OWN),
    Key("model_class.**", (), "", matters=lambda value, _: False),
    Key("dataloader_train.batch_size", ("training.train_batch_size",)),
    Key("dataloader_train", (), "a WebDataset there; here a folder of parquet that `distill data encode` makes, named by data.path"),
    Key("dataloader_train.**", (), "a data set has its sizes from `distill data encode` here"),
    Key("log_config.project", ("tracking.project",)),
    Key("log_config.name", ("tracking.run_name",)),
    Key("log_config.**", (), "runs are told apart by output_dir here"),
)  # fmt: skip

FASTGEN = Trainer(
    "fastgen", "FastGen",
    "A Python config is read for its `config.… = …`, and not executed; what its base config says is not in it, and is taken "
    "to be FastGen's default. Its YAML dump works too.",
    KEYS, lambda config: "fastgen." in str(config.get(BASE, "")) or any(
        name.startswith("model.sample_t_cfg") or name == "model.net_optimizer.lr" for name in config
    ),
    (
        Default("recipe.family", _family, "the family of its network"),
        Default("recipe.method", _method, "the base config that it imports"),
        Default("roles.student.path", _roles("student"), "the network of the config"),
        Default("roles.teacher.path", _roles("teacher"), "the teacher is the network, where the config names no other"),
        Default("roles.teacher.trainable", _of(_TAUGHT, False), "the teacher is frozen"),
        Default("roles.critic.path", _roles("critic"), "the critic starts as the teacher"),
        Default("roles.critic.max_grad_norm", _of_dmd(None), "the critic's gradients are not clipped there"),
        Default("roles.student.max_grad_norm", _of_dmd(10.0), "their default"),
        Default("training.max_train_steps", 100_000, "their default; say how many"),
        Default("training.learning_rate", 1e-5, "their default"),
        Default("training.betas", [0.9, 0.999], "their default"),
        Default("training.weight_decay", 0.01, "their default"),
        Default("method_config.score_timesteps.shift", _score_shift, "their default for its distribution of timesteps"),
        Default("method_config.score_timesteps.bounds", _of(_SCORED, "within"), "timesteps are drawn within bounds there"),
        Default("pipeline_config.flow_shift", _training_shift, "their default for its distribution of timesteps"),
        Default("method_config.critic_rests", _of_dmd(True), "the critic rests on the student's steps there"),
        Default("method_config.normalizer_floor_as", _of_dmd("sum"), "the normaliser is the mean and 1e-6"),
        Default("method_config.rollout", _of(_NOISED, "data_latent"), "the student's input is noised data there, no rollout"),
        Default("method_config.rollout_move", _of_dmd("sde"), "their default"),
        Default("method_config.generator_update_interval", _of_dmd(5), "their default"),
        Default("data.path", "data", "name the data set that `distill data encode` makes"),
        Default("output_dir", "runs/fastgen", "name the run directory"),
    ),
)  # fmt: skip
