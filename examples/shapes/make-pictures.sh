#!/usr/bin/env bash
# The shapes world's pictures: data, teacher, 2-step student, and how good they are.
# Every stage is one command and is skipped when its result is there, so a stopped recipe goes on where it was.
# PYTHON, OVERRIDES: recipe.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
source examples/shapes/recipe.sh
work=$here/work/pictures
mkdir -p "$work"

encode_pictures() { # what was drawn in part is drawn anew
    rm -rf "$work/drawn"
    $python "$here/draw.py" --setting pictures --output "$work/drawn" --clips 2400 --seed 30
    distill data encode "$work/drawn" --model "$here/teacher" --output "$work/train" --dtype float16
}
list_captions() { $python "$here/captions.py" --setting pictures >"$work/captions.part" && mv "$work/captions.part" "$work/captions.txt"; }
judge() {
    rm -rf "$work/$1-samples"
    distill sample "$work/$1" --prompts "$work/captions.txt" --seed 0 --seed 1 --output "$work/$1-samples"
    $python "$here/judge.py" "$work/$1-samples" --setting pictures >"$work/$1.part" && mv "$work/$1.part" "$work/$1.txt"
}

stage "$work/captions.txt" list_captions
stage "$work/train" encode_pictures
stage "runs/shapes-pictures/checkpoints/step-00002000" train "$here/pictures.yaml"
stage "$work/teacher" distill export runs/shapes-pictures --role student --output "$work/teacher"
stage "$work/teacher.txt" judge teacher
stage "runs/shapes-pictures-dmd2/checkpoints/step-00000545" train "$here/pictures-dmd2.yaml"
stage "$work/student" distill export runs/shapes-pictures-dmd2 --role student --output "$work/student"
stage "$work/student.txt" judge student
tail -n +1 "$work/teacher.txt" "$work/student.txt"
