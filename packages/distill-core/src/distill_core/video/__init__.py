"""Video files and frames: PyAV in, uint8 tensors out, and back."""
