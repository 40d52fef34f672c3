"""Configs of other trainers as runs of distill. A table per trainer says what each of its keys is here, and by which convention."""
