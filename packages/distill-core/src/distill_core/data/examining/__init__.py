"""Looking at a data set: what it holds, what of it is bad, what its latents show."""
