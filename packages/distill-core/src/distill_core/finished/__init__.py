"""What is done with a run that has trained: bringing a role back from a checkpoint, sampling it."""
