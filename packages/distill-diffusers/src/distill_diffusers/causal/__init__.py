"""Causal predictions: frames that see no later block, with clean frames as context, or on a stream of the frames before."""
