"""Score-regularised consistency in continuous time (rCM) for distill."""
