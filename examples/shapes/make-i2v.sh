#!/usr/bin/env bash
# The image-to-video world of the shapes: data, teacher, 2-step student, and how good they are.
# Every stage is one command and is skipped when its result is there, so a stopped recipe goes on where it was.
# PYTHON, OVERRIDES: recipe.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
source examples/shapes/recipe.sh
work=$here/work/i2v
mkdir -p "$work"

encode_clips() { # what was drawn in part is drawn anew
    rm -rf "$work/clips"
    $python "$here/draw.py" --say motion --output "$work/clips" --clips 2000 --seed 10
    distill data encode "$work/clips" --model "$work/pipeline" --output "$work/train" --dtype float16
}
draw_pictures() {
    rm -rf "$work/real" "$work/pictures"
    $python "$here/draw.py" --say motion --output "$work/real" --pictures "$work/pictures" --clips 96 --seed 20 --held-out include
}
sample() { rm -rf "$2" && distill sample "$1" --prompts "$work/pictures/prompts.jsonl" --fps 8 --output "$2"; }
judge() { sample "$work/$1" "$work/$1-samples" && $python "$here/judge.py" "$work/$1-samples" >"$work/$1.part" && mv "$work/$1.part" "$work/$1.txt"; }

stage "$work/pipeline" $python "$here/make_i2v.py" --teacher "$here/teacher" --output "$work/pipeline"
stage "$work/pictures/prompts.jsonl" draw_pictures
stage "$work/train" encode_clips
stage "runs/shapes-i2v/checkpoints/step-00002000" train "$here/i2v.yaml"
stage "$work/teacher" distill export runs/shapes-i2v --role student --output "$work/teacher"
stage "$work/teacher.txt" judge teacher
stage "runs/shapes-i2v-dmd2/checkpoints/step-00000545" train "$here/i2v-dmd2.yaml"
stage "$work/student" distill export runs/shapes-i2v-dmd2 --role student --output "$work/student"
stage "$work/student.txt" judge student
tail -n +1 "$work/teacher.txt" "$work/student.txt"
