#!/usr/bin/env bash
# Creates a Cloud TPU slice, installs this checkout on all of its workers, and trains there.
#   launch/tpu_vm.sh [--dry_run] create|install|train|resume|delete NAME [train flags ...]
# Environment: ZONE, TYPE (v5litepod-16), VERSION (v2-alpha-tpuv5-lite), REPOSITORY (URL of the checkout to install).
# --workdir must be a bucket folder mounted, or a path that every worker reaches. `resume` is `train` again with the same
# flags: training goes on from the newest checkpoint.
set -euo pipefail

run=()
if [[ "${1:-}" == --dry_run ]]; then
  run=(echo)
  shift
fi
usage() { echo "launch/tpu_vm.sh: $1: launch/tpu_vm.sh [--dry_run] create|install|train|resume|delete NAME [flags]" >&2; exit 2; }
[[ $# -ge 2 ]] || usage "give a verb and the name of the slice"
verb=$1 name=$2
shift 2

ZONE="${ZONE:-us-west4-a}" TYPE="${TYPE:-v5litepod-16}" VERSION="${VERSION:-v2-alpha-tpuv5-lite}"
everywhere() { "${run[@]}" gcloud compute tpus tpu-vm ssh "$name" --zone="$ZONE" --worker=all --command="$1"; }

case "$verb" in
  create)
    "${run[@]}" gcloud compute tpus tpu-vm create "$name" --zone="$ZONE" --accelerator-type="$TYPE" --version="$VERSION"
    ;;
  install)
    [[ -n "${REPOSITORY:-}" ]] || usage "set REPOSITORY to the URL to clone"
    everywhere "git clone $REPOSITORY addsr_jax && cd addsr_jax && python3 -m venv .venv && .venv/bin/pip install -e '.[train,tpu]'"
    ;;
  train | resume)
    [[ $# -gt 0 ]] || usage "give the flags of python -m addsr_jax.train"
    everywhere "cd addsr_jax && .venv/bin/python -m addsr_jax.train --distributed $(printf '%q ' "$@")"
    ;;
  delete)
    "${run[@]}" gcloud compute tpus tpu-vm delete "$name" --zone="$ZONE"
    ;;
  *) usage "there is no verb '$verb'" ;;
esac
