"""The contracts between the core and its plugins. Importing them imports no torch, and of them only those that are asked for by name."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distill_core.protocols.adapter import Adapter as Adapter
    from distill_core.protocols.batch import Batch as Batch
    from distill_core.protocols.batch import RowKey as RowKey
    from distill_core.protocols.condition import Condition as Condition
    from distill_core.protocols.condition import Prompt as Prompt
    from distill_core.protocols.data import Row as Row
    from distill_core.protocols.draw import Draw as Draw
    from distill_core.protocols.method import ColumnMaker as ColumnMaker
    from distill_core.protocols.method import Follows as Follows
    from distill_core.protocols.method import Method as Method
    from distill_core.protocols.method import StagedLoss as StagedLoss
    from distill_core.protocols.metric import Metric as Metric
    from distill_core.protocols.model import EncodesAhead as EncodesAhead
    from distill_core.protocols.model import EncodesColumns as EncodesColumns
    from distill_core.protocols.model import EncodesPictures as EncodesPictures
    from distill_core.protocols.model import ModelPlugin as ModelPlugin
    from distill_core.protocols.model import ModelRequest as ModelRequest
    from distill_core.protocols.model import Sampler as Sampler
    from distill_core.protocols.prediction import Ask as Ask
    from distill_core.protocols.prediction import Prediction as Prediction
    from distill_core.protocols.prediction import Stream as Stream
    from distill_core.protocols.prediction import Tangents as Tangents
    from distill_core.protocols.reward import Reward as Reward
    from distill_core.protocols.role import Role as Role
    from distill_core.protocols.tracker import Tracker as Tracker
    from distill_core.protocols.trainer import Trainer as Trainer
    from distill_core.protocols.trainer import TrainingSummary as TrainingSummary
    from distill_core.protocols.validator import SampledVideo as SampledVideo
    from distill_core.protocols.validator import StreamTimes as StreamTimes
    from distill_core.protocols.validator import ValidationRequest as ValidationRequest
    from distill_core.protocols.validator import Validator as Validator
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
    __all__ = [name for names in _PLACES.values() for name in names]

    def __getattr__(name: str) -> object:
        """A contract, out of its module. Raises AttributeError for what is none."""
        from importlib import import_module

        for place, names in _PLACES.items():
            if name in names:
                return vars(import_module(f"{__name__}.{place}"))[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
