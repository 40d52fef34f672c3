"""Several ways of sampling one run, side by side: a table, and a page of playing clips."""

from distill_core.comparison.compare import Comparer
from distill_core.comparison.table import ComparedLine, ComparisonTable

__all__ = ["ComparedLine", "Comparer", "ComparisonTable"]
