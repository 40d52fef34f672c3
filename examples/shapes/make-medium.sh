#!/usr/bin/env bash
# The teacher of the medium world, examples/shapes/medium-teacher, from the shipped one of the small. Every stage is one command and is skipped when
# its result is there: remove that folder to make it anew.
# PARTS, CLIPS: medium-data.sh. PYTHON, OVERRIDES: recipe.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
source examples/shapes/recipe.sh
source examples/shapes/medium-data.sh
work=${WORK:-$here/work}
mkdir -p "$work"

stage "$work/medium-base" $python "$here/lengthen.py" "$here/teacher" --output "$work/medium-base" --steps 100 --clips 28
encode_medium "$work/medium-base"
stage "$work/medium-run/comparison/table.json" train "$here/medium.yaml" "data.path=$work/medium" "roles.student.path=$work/medium-base" "output_dir=$work/medium-run"
stage "$here/medium-teacher" distill export "$work/medium-run" --role student --output "$here/medium-teacher" --dtype float16
