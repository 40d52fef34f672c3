"""Values that several trainers write alike, as a run.yaml has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distill_importers.tables import NOTHING, Config, UnlikeError

HUB_FOLDERS = {
    "Wan2.1-T2V-1.3B": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
    "Wan2.1-T2V-14B": "Wan-AI/Wan2.1-T2V-14B-Diffusers",
    "Wan2.2-T2V-A14B": "Wan-AI/Wan2.2-T2V-A14B-Diffusers",
    "Wan2.2-TI2V-5B": "Wan-AI/Wan2.2-TI2V-5B-Diffusers",
}
"""The original releases, and the same in diffusers format, which is what is loaded here."""

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


def hub_folder(value: Any, _: Config) -> str:
    """A folder of the original release as the one in diffusers format."""
    name = str(value).rstrip("/").rpartition("/")[2]
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


def not_zero(value: Any, _: Config) -> bool:
    """Whether a note is worth making: a number that turns something on."""
    return bool(value)
