"""Make the image-to-video pipeline that training starts from: the teacher's weights, told that the first latent frame is given.

The member of Wan is TI2V: it takes the picture's latents in the place of the first frame, at timestep 0, so that no weight changes shape.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

INDEX, RECORD = "model_index.json", "distill.json"


def main() -> None:
    """Copy as the command line says."""
    parser = argparse.ArgumentParser(description="Make an untrained image-to-video pipeline of a text-to-video one.")
    parser.add_argument("--teacher", type=Path, required=True, help="a WanPipeline")
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    arguments = parser.parse_args()
    if arguments.output.exists():
        sys.exit(f"error: {arguments.output} is there already; name a new folder, or remove this one")
    shutil.copytree(arguments.teacher, arguments.output, ignore=shutil.ignore_patterns(RECORD, "README.md"))
    index = json.loads((arguments.output / INDEX).read_text())
    index |= {"_class_name": "WanImageToVideoPipeline", "expand_timesteps": True}
    index |= {"image_encoder": [None, None], "image_processor": [None, None]}
    (arguments.output / INDEX).write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main()
