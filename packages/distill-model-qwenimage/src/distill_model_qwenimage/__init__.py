"""The Qwen-Image family for distill."""
