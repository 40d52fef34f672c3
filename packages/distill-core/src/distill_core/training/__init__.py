"""One training step: the trainer, the roles, what moves their weights, and the state that a checkpoint holds."""
