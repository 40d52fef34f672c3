"""Memory of other trainers: base weights on the host or in fp8, activations, compilation; and what is said of each."""

from __future__ import annotations

from typing import Any

from distill_importers.tables import NOTHING, Config, UnlikeError

ADAPTERS = ("network_module", "adapter.type")
"""The keys by which a LoRA is trained, on frozen weights."""
FP8 = ("fp8_base", "fp8_scaled", "model.transformer_dtype")
"""The keys by which the base is in fp8."""

IN_FP8 = "by torchao, with a scale for each row (pip install 'distill-core[torchao]')"
SWAPPED = "all blocks live in host memory here, and come one by one, the next while one computes"
COMPILED = "each block by itself here; weights in parts are not compiled, distributed.shard=1 leaves them whole"
COMPILED_BY = "blocks are compiled by torch.compile's own defaults here"
ENCODERS = "captions are encoded before any role is loaded here, and what encodes them leaves"
ACTIVATIONS = (
    "activations that are kept stay on the GPU here; training.enable_gradient_checkpointing_type: full keeps the fewest"
)
FROZEN_ON_HOST = (
    "weights that are frozen live in host memory by `placement: stream` or `cpu` of their role here; trained ones stay"
)


def on(value: Any, _: Config) -> bool:
    """Whether something is turned on."""
    return bool(value)


def base_in_fp8(value: Any, config: Config) -> Any:
    """Weights under a LoRA in fp8, where they are."""
    if not _is_fp8(value):
        return NOTHING
    if not any(key in config for key in ADAPTERS):
        raise UnlikeError("trained weights are in fp32 here; fp8 is for frozen ones, e.g. those under a LoRA")
    return "fp8"


def is_fp8(value: Any, _: Config) -> bool:
    """Whether the value of such a key means fp8."""
    return _is_fp8(value)


def streamed(value: Any, config: Config) -> Any:
    """Weights under a LoRA that come block by block."""
    return _hosted("stream", value, config)


def whole_on_host(value: Any, config: Config) -> Any:
    """Weights under a LoRA that come as a whole."""
    return _hosted("cpu", value, config)


def _hosted(place: str, value: Any, config: Config) -> Any:
    if not value:
        return NOTHING
    if not any(key in config for key in ADAPTERS):
        raise UnlikeError(
            "weights that are trained stay on the GPU here; several GPUs share them (distill run --nproc-per-node N)"
        )
    if any(_is_fp8(config.get(key)) for key in FP8):
        raise UnlikeError(
            "weights in fp8 stay on the GPU here; to have them in host memory instead, set `placement: stream` and no `weights`"
        )
    if config.get("compile"):
        raise UnlikeError(
            "compiled blocks stay on the GPU here; set `placement: stream` of the role instead of training.compile"
        )
    return place


def compiled(value: Any, _: Config) -> Any:
    """Blocks compiled, where they are."""
    return True if value else NOTHING


def _is_fp8(value: Any) -> bool:
    return value is True or str(value).startswith("float8")
