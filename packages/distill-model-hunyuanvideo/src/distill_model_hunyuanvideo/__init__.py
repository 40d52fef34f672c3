"""The HunyuanVideo family for distill."""
