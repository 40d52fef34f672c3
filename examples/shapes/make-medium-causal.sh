#!/usr/bin/env bash
# Causal models of the medium world from its shipped teacher: data, one of many steps a frame, a student of two, its clips, and longer ones (the decoder was
# trained for 17 frames: lengthen.py). Every stage is one command and is skipped when its result is there, so a stopped recipe goes on where it was.
# PARTS, CLIPS: medium-data.sh. PYTHON, OVERRIDES: recipe.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
source examples/shapes/recipe.sh
source examples/shapes/medium-data.sh
work=$here/work
mkdir -p "$work"

encode_medium "$here/medium-teacher"
stage runs/shapes-medium-teacher-forcing/comparison/table.json train "$here/medium-teacher-forcing.yaml"
stage runs/shapes-medium-self-forcing/comparison/table.json train "$here/medium-self-forcing.yaml"
