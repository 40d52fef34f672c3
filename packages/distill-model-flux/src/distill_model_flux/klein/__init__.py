"""FLUX.2 klein: another VAE, text encoder and transformer than FLUX.1's."""
