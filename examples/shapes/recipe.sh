# What the recipes here (make*.sh) share; sourced by them, in the repository's root. A stopped recipe goes on where it was.
# PYTHON and OVERRIDES may say another Python, and settings of the runs, e.g. OVERRIDES="training.device=cuda training.precision=fp32".
export OMP_NUM_THREADS=1
here=examples/shapes
python=${PYTHON:-uv run python}

stage() { # RESULT COMMAND…: run the command unless its result exists
    local result=$1
    shift
    if [ -e "$result" ]; then echo "have $result"; else echo "make $result" && "$@"; fi
}

distill() { $python -m distill_core "$@"; }
# shellcheck disable=SC2086 # several words
train() { distill run "$@" ${OVERRIDES:-}; }
