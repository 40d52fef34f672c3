"""The CogVideoX family for distill."""
