"""The LTX-Video family for distill."""
