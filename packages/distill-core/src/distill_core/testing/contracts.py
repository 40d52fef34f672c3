"""The contracts as calls, :func:`check_method` and :func:`check_model`, and the toy parts that tests of a method's mathematics use."""

from __future__ import annotations

from distill_core.testing.findings import ContractError, Fault
from distill_core.testing.methods.kit import MethodReport, check_method
from distill_core.testing.models.kit import ModelReport, check_model
from distill_core.testing.toy_parts import CPU, FAMILY, LATENT_SHAPE, gradients, toy_batch, toy_draw, toy_roles

__all__ = [
    "CPU",
    "FAMILY",
    "LATENT_SHAPE",
    "ContractError",
    "Fault",
    "MethodReport",
    "ModelReport",
    "check_method",
    "check_model",
    "gradients",
    "toy_batch",
    "toy_draw",
    "toy_roles",
]
