"""How far clips drift from their beginning to their end, for distill."""
