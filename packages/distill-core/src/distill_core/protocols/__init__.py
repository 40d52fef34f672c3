"""The contracts between the core and its plugins. Importing them imports no torch."""

from distill_core.protocols.adapter import Adapter, Batch, Condition
from distill_core.protocols.data import Row
from distill_core.protocols.draw import Draw
from distill_core.protocols.method import Method, StagedLoss
from distill_core.protocols.metric import Metric
from distill_core.protocols.model import ModelPlugin, ModelRequest, Sampler
from distill_core.protocols.role import Role
from distill_core.protocols.tracker import Tracker
from distill_core.protocols.trainer import Trainer, TrainingSummary
from distill_core.protocols.validator import SampledVideo, ValidationRequest, Validator

__all__ = [
    "Adapter",
    "Batch",
    "Condition",
    "Draw",
    "Method",
    "Metric",
    "ModelPlugin",
    "ModelRequest",
    "Role",
    "Row",
    "SampledVideo",
    "Sampler",
    "StagedLoss",
    "Tracker",
    "Trainer",
    "TrainingSummary",
    "ValidationRequest",
    "Validator",
]
