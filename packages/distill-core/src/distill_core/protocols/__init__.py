"""The contracts between the core and its plugins. Importing them imports no torch, and of them only those that are asked for by name."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distill_core.protocols.adapter import Adapter
    from distill_core.protocols.batch import Batch, RowKey
    from distill_core.protocols.condition import Condition, Prompt
    from distill_core.protocols.data import Row
    from distill_core.protocols.draw import Draw
    from distill_core.protocols.method import ColumnMaker, Follows, Method, StagedLoss
    from distill_core.protocols.metric import Metric
    from distill_core.protocols.model import (
        EncodesAhead,
        EncodesColumns,
        EncodesPictures,
        ModelPlugin,
        ModelRequest,
        Sampler,
    )
    from distill_core.protocols.prediction import Ask, Prediction, Stream, Tangents
    from distill_core.protocols.reward import Reward
    from distill_core.protocols.role import Role
    from distill_core.protocols.tracker import Tracker
    from distill_core.protocols.trainer import Trainer, TrainingSummary
    from distill_core.protocols.validator import SampledVideo, StreamTimes, ValidationRequest, Validator
else:
    _PLACES = {
        "adapter": ("Adapter",),
        "batch": ("Batch", "RowKey"),
        "condition": ("Condition", "Prompt"),
        "data": ("Row",),
        "draw": ("Draw",),
        "method": ("ColumnMaker", "Follows", "Method", "StagedLoss"),
        "metric": ("Metric",),
        "model": ("EncodesAhead", "EncodesColumns", "EncodesPictures", "ModelPlugin", "ModelRequest", "Sampler"),
        "prediction": ("Ask", "Prediction", "Stream", "Tangents"),
        "reward": ("Reward",),
        "role": ("Role",),
        "tracker": ("Tracker",),
        "trainer": ("Trainer", "TrainingSummary"),
        "validator": ("SampledVideo", "StreamTimes", "ValidationRequest", "Validator"),
    }

    def __getattr__(name: str) -> object:
        """A contract, out of its module. Raises AttributeError for what is none."""
        from importlib import import_module

        for place, names in _PLACES.items():
            if name in names:
                return vars(import_module(f"{__name__}.{place}"))[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Adapter",
    "Ask",
    "Batch",
    "ColumnMaker",
    "Condition",
    "Draw",
    "EncodesAhead",
    "EncodesColumns",
    "EncodesPictures",
    "Follows",
    "Method",
    "Metric",
    "ModelPlugin",
    "ModelRequest",
    "Prediction",
    "Prompt",
    "Reward",
    "Role",
    "Row",
    "RowKey",
    "SampledVideo",
    "Sampler",
    "StagedLoss",
    "Stream",
    "StreamTimes",
    "Tangents",
    "Tracker",
    "Trainer",
    "TrainingSummary",
    "ValidationRequest",
    "Validator",
]
