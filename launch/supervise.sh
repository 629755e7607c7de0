#!/usr/bin/env bash
# Trains until training says that it is done: after a crash, a preemption of a neighbour or a restart of the machine it
# starts again, and training goes on from the newest checkpoint. A mistake of the command (exit code 2) ends it, and so do
# Ctrl-C and SIGTERM as soon as training has ended: both reach training too, which writes a checkpoint first.
#   launch/supervise.sh [--dry_run] --config configs/addsr.py --workdir DIR [train flags ...]
# Environment: PAUSE, seconds between two starts (30).
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=launch/common.bash
source launch/common.bash
arguments "$@"

stopped=''
while true; do
  code=0
  trap 'stopped=yes' INT TERM
  train || code=$?
  trap 'exit "$code"' INT TERM
  [[ -z "$stopped" && $code -ne 0 && $code -ne 2 ]] || exit "$code"
  echo "launch/supervise.sh: training ended with $code, next start in ${PAUSE:-30} s" >&2
  sleep "${PAUSE:-30}" || true  # a signal ends it, and then the script
done
