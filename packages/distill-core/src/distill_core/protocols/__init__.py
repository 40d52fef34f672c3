"""The contracts between the core and its plugins. Importing them imports no torch."""

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
