"""The Sana family for distill."""
