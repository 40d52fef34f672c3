"""pytest fixtures for method packages: ``pytest_plugins = ["distill_core.testing.fixtures"]``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from distill_core.plugins.specs import MethodSpec, Options
from distill_core.testing.contracts import MethodReport, check_method


@pytest.fixture
def method_contract() -> Callable[[MethodSpec, Options], MethodReport]:
    """:func:`distill_core.testing.contracts.check_method`."""
    return check_method
