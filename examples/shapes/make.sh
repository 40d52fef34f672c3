#!/usr/bin/env bash
# The whole recipe of the shapes world, from an empty folder to the files that ship: examples/shapes/teacher and examples/shapes/prompts.
# Under an hour on two cores. Every stage is one command and is skipped when its result is there, so a stopped recipe goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/../.."
source examples/shapes/recipe.sh
work=$here/work
mkdir -p "$work"

draw_clips() { rm -rf "$work/clips" && $python "$here/draw.py" --output "$work/clips" --clips 4800 --seed 0; } # what was drawn in part is drawn anew
list_captions() { $python "$here/captions.py" --held-out exclude >"$work/captions.txt.part" && mv "$work/captions.txt.part" "$work/captions.txt"; }

stage "$work/pipeline" $python "$here/make_pipeline.py" --output "$work/pipeline"
stage "$work/clips/captions.jsonl" draw_clips
stage "$work/train" distill data encode "$work/clips" --model "$work/pipeline" --output "$work/train"
stage "runs/shapes-teacher/checkpoints/step-00005000" train "$here/finetune.yaml"
stage "$here/teacher" distill export runs/shapes-teacher --role student --output "$here/teacher" --dtype float16
stage "$work/captions.txt" list_captions
stage "$here/prompts" distill data encode "$work/captions.txt" --captions-only --model "$here/teacher" --dtype float16 --output "$here/prompts"
