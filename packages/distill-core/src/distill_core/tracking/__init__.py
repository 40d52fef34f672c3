"""What is told of a run: figures, videos and files to trackers, events to a file, progress to the terminal."""

from distill_core.tracking.fanout import Trackers
from distill_core.tracking.jsonl import JsonlTracker

__all__ = ["JsonlTracker", "Trackers"]
