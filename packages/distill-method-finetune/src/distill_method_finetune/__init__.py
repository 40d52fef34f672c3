"""Flow-matching finetuning for distill."""
