"""Training data: encoding them, reading them, examining them."""
