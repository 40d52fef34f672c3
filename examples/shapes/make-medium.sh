#!/usr/bin/env bash
# The teacher of the medium world, examples/shapes/medium-teacher, from the shipped one of the small. Every stage is one command and is skipped when
# its result is there: remove that folder to make it anew.
# PARTS: processes that draw and encode (default: 2). CLIPS: of each. PYTHON, OVERRIDES: recipe.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
source examples/shapes/recipe.sh
work=${WORK:-$here/work}
parts=${PARTS:-2} clips=${CLIPS:-1200}
mkdir -p "$work"

every_part() { # COMMAND…: at once, with the number of each part as last argument; an error of one is an error
    local pids=() failed=0
    for ((part = 1; part <= parts; part++)); do "$@" "$part" & pids+=($!); done
    for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
    return $failed
}

draw_part() { # what was drawn in part is drawn anew
    rm -rf "$work/medium-clips/$1"
    $python "$here/draw.py" --output "$work/medium-clips/$1" --clips "$clips" --seed "$1" --setting medium
}

draw_clips() {
    every_part draw_part
    for ((part = 1; part <= parts; part++)); do sed "s|\"file_name\": \"|&$part/|" "$work/medium-clips/$part/captions.jsonl"; done >"$work/medium-clips/captions.part"
    rm "$work"/medium-clips/*/captions.jsonl
    mv "$work/medium-clips/captions.part" "$work/medium-clips/captions.jsonl"
}

encode_part() {
    distill data encode "$work/medium-clips" --model "$work/medium-base" --output "$work/medium" --dtype float16 --shard "$1/$parts"
}

stage "$work/medium-base" $python "$here/lengthen.py" "$here/teacher" --output "$work/medium-base" --steps 100 --clips 28
stage "$work/medium-clips/captions.jsonl" draw_clips
stage "$work/medium" every_part encode_part
stage "$work/medium-run/exit_reason.json" train "$here/medium.yaml" "data.path=$work/medium" "roles.student.path=$work/medium-base" "output_dir=$work/medium-run"
stage "$here/medium-teacher" distill export "$work/medium-run" --role student --output "$here/medium-teacher" --dtype float16
