"""``--timesteps``: a few-step grid on the command line."""

from __future__ import annotations

from itertools import pairwise

from distill_core.errors import ConfigError, Problem


def listed_timesteps(text: str, command: str) -> tuple[float, ...]:
    """Numbers between commas; a closing 0 marks the end only. Raises ConfigError for anything but a falling list in (0, 1000]."""
    from distill_core.plugins.timesteps import in_thousand

    try:
        grid = tuple(float(number) for number in text.split(","))
    except ValueError:
        grid = ()
    grid = grid[:-1] if len(grid) > 1 and grid[-1] == 0 else grid
    falling = all(later < earlier for earlier, later in pairwise(grid))
    if not grid or not falling or not 0 < grid[-1] <= grid[0] <= 1000:
        message = f"{text!r} is no falling list of numbers in (0, 1000], such as 1000,750,500,250"
        raise ConfigError([Problem("--timesteps", message)], command)
    try:
        return in_thousand(grid)
    except ValueError as error:
        raise ConfigError([Problem("--timesteps", str(error))], command) from None
