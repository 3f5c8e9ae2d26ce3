#!/usr/bin/env bash
# Tests, timings and learning on one GPU, in at most 8 minutes: one folder of plain files.
#
#     benchmarks/gpu/run.sh                        # on the GPU, into runs/gpu
#     benchmarks/gpu/run.sh --device cpu --quick   # the same parts, tiny: does the script work?
#
# It needs a checkout, Python, torch with Triton, and the packages of wheels.txt; nothing has to be
# installed of the checkout itself. PYTHON names another interpreter than python3.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH="$PWD:$PWD/agents${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" -m benchmarks.gpu "$@"
