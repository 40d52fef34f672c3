"""What every family of diffusers pipelines shares: folders and their weights, loading, text encoders, samplers' schedules, exports.

A family says what is its own on top of it. Importing this package imports no torch.
"""
