"""List the captions of the shapes world, one a line."""

from __future__ import annotations

import argparse

from distill_metric_shapes.captions import HELD_OUT_CHOICES, SETTINGS, SMALL, captions


def main() -> None:
    """Print the captions of a setting, one a line."""
    parser = argparse.ArgumentParser(description="List the captions of the shapes world, one a line.")
    parser.add_argument("--setting", choices=SETTINGS, default=SMALL.name)
    parser.add_argument("--held-out", choices=HELD_OUT_CHOICES, default="include", help="the held-out compositions")
    arguments = parser.parse_args()
    print("\n".join(captions(SETTINGS[arguments.setting], arguments.held_out)))


if __name__ == "__main__":
    main()
