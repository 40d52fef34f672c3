"""The shapes world and its judge, a metric for distill."""
