"""Values that several trainers write alike, as a run.yaml has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distill_importers.tables import NOTHING, Config, UnlikeError

HUB_FOLDERS = {
    "Wan2.1-T2V-1.3B": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
    "Wan2.1-T2V-14B": "Wan-AI/Wan2.1-T2V-14B-Diffusers",
    "Wan2.1-I2V-14B-480P": "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers",
    "Wan2.1-I2V-14B-720P": "Wan-AI/Wan2.1-I2V-14B-720P-Diffusers",
    "Wan2.1-FLF2V-14B-720P": "Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers",
    "Wan2.2-T2V-A14B": "Wan-AI/Wan2.2-T2V-A14B-Diffusers",
    "Wan2.2-I2V-A14B": "Wan-AI/Wan2.2-I2V-A14B-Diffusers",
    "Wan2.2-TI2V-5B": "Wan-AI/Wan2.2-TI2V-5B-Diffusers",
    "Qwen-Image": "Qwen/Qwen-Image",
    "Qwen-Image-2512": "Qwen/Qwen-Image-2512",
}
"""The original releases, and the same in diffusers format, which is what is loaded here."""

PROCESSES = "`distill run --nproc-per-node N` says how many processes there are here (docs/scale.md)"
"""What becomes of keys that lay a run out over GPUs."""
WHOLE_BATCH = "of each GPU there; of all processes together here: multiply it by their number"
"""What becomes of a batch."""
ORIGINAL_FORMAT = "the original release there, the one in diffusers format here"
SCHEDULES = frozenset({"constant", "constant_with_warmup", "linear", "cosine", "cosine_with_min_lr", "polynomial"})


def one_of(names: Mapping[str, Any], what: str) -> Callable[[Any, Config], Any]:
    """A converter of words by a table; a word that is not in it is unlike anything here."""

    def convert(value: Any, _: Config) -> Any:
        """The word here."""
        if value not in names:
            raise UnlikeError(f"there is no {what} {value!r} here; there are {', '.join(sorted(names))}")
        return names[value]

    return convert


def method_of(names: Mapping[str, str]) -> Callable[[Any, Config], str]:
    """A converter of a method's name, or of the last part of its class's."""

    def convert(value: Any, _: Config) -> str:
        """The method here."""
        name = str(value).rpartition(".")[2]
        if name not in names:
            raise UnlikeError(f"there is no method here for {name}; `distill plugins list` shows those there are")
        return names[name]

    return convert


def family_of(names: Mapping[str, str]) -> Callable[[Any, Config], str]:
    """A converter of a model's name, or of the last part of its class's."""

    def convert(value: Any, _: Config) -> str:
        """The family here."""
        name = str(value).rpartition(".")[2]
        if name not in names:
            raise UnlikeError(
                f"there is no model family here for {value}; `distill plugins list` shows those there are"
            )
        return names[name]

    return convert


def hub_folder(value: Any, _: Config) -> str:
    """A folder of the original release as the one in diffusers format."""
    parts = [part for part in str(value).split("/") if part not in ("high_noise_model", "low_noise_model", "")]
    name = parts[-1] if parts else ""
    if name not in HUB_FOLDERS:
        raise UnlikeError(
            f"{value} is not known here; name a folder in diffusers format, or its hub id, by `path` of the role"
        )
    return HUB_FOLDERS[name]


def schedule(value: Any, _: Config) -> str:
    """The name of a learning-rate schedule."""
    if value not in SCHEDULES:
        raise UnlikeError(f"there is no schedule {value!r} here; there are {', '.join(sorted(SCHEDULES))}")
    return str(value)


def pair(first: str, second: str, defaults: tuple[float, float] = (0.9, 0.999)) -> Callable[[Any, Config], list[float]]:
    """Adam's betas of two keys of their own."""

    def convert(_: Any, config: Config) -> list[float]:
        """Both, whichever key asks."""
        return [float(config.get(first, defaults[0])), float(config.get(second, defaults[1]))]

    return convert


def scaled(factor: float) -> Callable[[Any, Config], Any]:
    """A number times a factor; a whole one stays whole."""

    def convert(value: Any, _: Config) -> Any:
        """The number here."""
        product = round(float(value) * factor, 9)
        return int(product) if product.is_integer() else product

    return convert


def full_if_true(value: Any, _: Config) -> Any:
    """Gradient checkpointing that is on or off."""
    return "full" if value else NOTHING


def or_none_if_zero(value: Any, _: Config) -> Any:
    """A limit that 0 turns off."""
    return value if value else None


def precision(value: Any, _: Config) -> str:
    """The dtype of forward passes."""
    words = {
        "bf16": "bf16",
        "bfloat16": "bf16",
        "torch.bfloat16": "bf16",
        "no": "fp32",
        "fp32": "fp32",
        "float32": "fp32",
    }
    if str(value) not in words:
        raise UnlikeError(f"forward passes are in bf16 or fp32 here, not in {value}")
    return words[str(value)]


def axis(index: int, pixels: int = 1) -> Callable[[Any, Config], int]:
    """One number of a latent shape, times the pixels that a latent is wide."""

    def convert(value: Any, _: Config) -> int:
        """The size here."""
        if not isinstance(value, Sequence) or len(value) <= index:
            raise UnlikeError(f"is no shape of that many numbers: {value!r}")
        return int(value[index]) * pixels

    return convert


def without_zero(value: Any, _: Config) -> list[float]:
    """Denoising steps without the 0 at the end, which is a mark only here."""
    steps = list(value)
    return steps[:-1] if len(steps) > 1 and steps[-1] == 0 else steps


def lora_targets(value: Any, _: Config) -> list[str]:
    """A list of layers' names as a set of the family's: the attention's, and the MLP's where one of them is of it."""
    return ["attention+mlp"] if any("ff" in str(name) for name in value) else ["attention"]


def not_zero(value: Any, _: Config) -> bool:
    """Whether a note is worth making: a number that turns something on."""
    return bool(value)
