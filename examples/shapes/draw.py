"""Draw captioned clips of moving shapes: mp4 files and a captions file, the same for the same seed.

Clip number i does not depend on how many are drawn.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from clips import write_folder, write_pictures

from distill_core.errors import DistillError
from distill_metric_shapes.captions import HELD_OUT_CHOICES, SETTINGS, SMALL
from distill_metric_shapes.world import make_clip


def main() -> None:
    """Draw as the command line says; exit with the error's own status, and one line, where it cannot be done."""
    parser = argparse.ArgumentParser(
        description="Draw captioned mp4 clips of moving coloured shapes, or pictures of one frame."
    )
    parser.add_argument("--output", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--clips", type=int, default=1008, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--setting", choices=SETTINGS, default=SMALL.name)
    parser.add_argument(
        "--held-out",
        choices=HELD_OUT_CHOICES,
        default="exclude",
        help="compositions kept out of training: exclude them (default), include them, or draw only them",
    )
    parser.add_argument(
        "--say",
        choices=("all", "motion"),
        default="all",
        help="what captions say: all, or the motion alone, for videos of pictures",
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help="also write first frames there, with a prompts.jsonl that names them",
    )
    arguments = parser.parse_args()
    if arguments.clips < 1 or arguments.seed < 0:
        parser.error("--clips starts at 1 and --seed at 0")
    setting = SETTINGS[arguments.setting]
    drawn = [make_clip(setting, arguments.seed, index, arguments.held_out) for index in range(arguments.clips)]
    said = [_said(clip.caption, motion_alone=arguments.say == "motion") for clip in drawn]
    try:
        clips = ((clip.frames_FHW3, caption) for clip, caption in zip(drawn, said, strict=True))
        count = write_folder(arguments.output, clips, setting.fps)
        if arguments.pictures is not None:
            write_pictures(
                arguments.pictures, [(clip.frames_FHW3[0], caption) for clip, caption in zip(drawn, said, strict=True)]
            )
    except DistillError as error:
        sys.exit(_fail(error))
    print(f"{count} clips of the {setting.name} world in {arguments.output}")


def _said(caption: str, *, motion_alone: bool) -> str:
    """A caption, or its words after "a", the colour and the shape."""
    return " ".join(caption.split()[3:]) if motion_alone else caption


def _fail(error: DistillError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    main()
