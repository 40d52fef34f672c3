#!/usr/bin/env bash
# On a machine with a GPU, in at most 8 minutes: the tests that need one, then what training costs on it. Arguments go to benchmarks/gpu.py.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-uv run python}
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
$python -m pytest -q -n 0 -m gpu tests
$python -m benchmarks.gpu "$@"
