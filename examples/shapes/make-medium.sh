#!/usr/bin/env bash
# The teacher of the medium world, from the shipped one of the small. Every stage is one command and is skipped when its result is there.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=examples/shapes
work=$here/work
mkdir -p "$work"

stage() { # RESULT COMMAND…: run the command unless its result exists
    local result=$1
    shift
    if [ -e "$result" ]; then echo "have $result"; else echo "make $result" && "$@"; fi
}

draw_clips() { rm -rf "$work/medium-clips" && uv run python "$here/draw.py" --output "$work/medium-clips" --clips 2400 --seed 0 --setting medium; }

stage "$work/medium-clips/captions.jsonl" draw_clips
stage "$work/medium" uv run distill data encode "$work/medium-clips" --model "$here/teacher" --output "$work/medium"
stage "runs/shapes-medium/checkpoints/step-00007000" uv run distill run "$here/medium.yaml"
stage "$work/medium-teacher" uv run distill export runs/shapes-medium --role student --output "$work/medium-teacher" --dtype float16
