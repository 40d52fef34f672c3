"""HunyuanVideo 1.5: another VAE, other text encoders and another transformer than HunyuanVideo's."""
