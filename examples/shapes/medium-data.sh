# Clips of the medium world, drawn and encoded into $work/medium; sourced by make-medium*.sh, after recipe.sh.
# PARTS: processes that draw and encode (default: 2). CLIPS: of each.
parts=${PARTS:-2} clips=${CLIPS:-1200}

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

encode_part() { # MODEL PART
    distill data encode "$work/medium-clips" --model "$1" --output "$work/medium" --dtype float16 --shard "$2/$parts"
}

encode_medium() { # MODEL: whose encoders; those of this world's models are the small world's to the bit
    stage "$work/medium-clips/captions.jsonl" draw_clips
    stage "$work/medium" every_part encode_part "$1"
}
