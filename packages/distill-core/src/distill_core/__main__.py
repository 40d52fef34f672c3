"""``python -m distill_core``: the same as the command ``distill``, for ``torchrun -m distill_core``."""

from distill_core.cli import main

main()
