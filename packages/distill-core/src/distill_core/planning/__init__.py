"""What a run will need before it has any weights: its real step, played on tensors without content, with every storage counted."""
