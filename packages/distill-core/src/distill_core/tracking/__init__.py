"""Trackers: where figures, videos and files go. metrics.jsonl is always one of them."""

from distill_core.tracking.fanout import Trackers
from distill_core.tracking.jsonl import JsonlTracker
from distill_core.tracking.open import open_trackers

__all__ = ["JsonlTracker", "Trackers", "open_trackers"]
