#!/usr/bin/env bash
# A Cloud TPU slice by queued resources: asked for, installed, trained on, watched, deleted.
#   launch/tpu_vm.sh [--dry_run] create|state|install|train|log|keep|delete NAME [train flags ...]
#     create   asks for the slice; SPOT=yes for the cheap kind that may be taken away
#     state    what has become of the request: ACTIVE is ready
#     install  clones REPOSITORY on every worker and installs it
#     train    starts training on every worker, under launch/supervise.sh: it outlives this ssh session
#     log      follows the first worker's log
#     keep     create, install and train, and all of it again each time the slice is taken away, until training is done
#     delete   gives the slice back
# Environment: ZONE, TYPE (v5litepod-16), VERSION (v2-alpha-tpuv5-lite), SPOT, REPOSITORY (URL of the checkout to install).
# --workdir is a folder that every worker reaches, or gs://BUCKET/... The same flags again go on from the newest checkpoint.
set -euo pipefail

# shellcheck source=launch/common.bash
source "$(dirname "$0")/common.bash"
take_dry_run "$@"
set -- "${flags[@]}"
usage() { echo "launch/tpu_vm.sh: $1: launch/tpu_vm.sh [--dry_run] create|state|install|train|log|keep|delete NAME [flags]" >&2; exit 2; }
[[ $# -ge 2 ]] || usage "give a verb and the name of the slice"
verb=$1 name=$2
shift 2
flags=("$@")

ZONE="${ZONE:-us-west4-a}" TYPE="${TYPE:-v5litepod-16}" VERSION="${VERSION:-v2-alpha-tpuv5-lite}"
tpu=(gcloud compute tpus)

run() {
  if [[ -z "$dry" ]]; then "$@"; else pasteable "$@"; fi
}
# on WORKER COMMAND: on one worker, or on all.
on() { run "${tpu[@]}" tpu-vm ssh "$name" "--zone=$ZONE" "--worker=$1" "--command=$2"; }

create() {
  local spot=()
  [[ -z "${SPOT:-}" ]] || spot=(--spot)
  run "${tpu[@]}" queued-resources create "$name" "--node-id=$name" "--zone=$ZONE" "--accelerator-type=$TYPE" \
    "--runtime-version=$VERSION" "${spot[@]}"
}
state() { run "${tpu[@]}" queued-resources describe "$name" "--zone=$ZONE" '--format=value(state.state)'; }
remove() { run "${tpu[@]}" queued-resources delete "$name" "--zone=$ZONE" --force --quiet; }
install() {
  [[ -n "${REPOSITORY:-}" ]] || usage "set REPOSITORY to the URL to clone"
  on all "test -d addsr_jax || git clone $(printf '%q' "$REPOSITORY") addsr_jax && cd addsr_jax && python3 -m venv .venv && .venv/bin/pip install -e '.[train,gcs,tpu]'"
}
train() {
  [[ ${#flags[@]} -gt 0 ]] || usage "give the flags of python -m addsr_jax.train"
  local command
  command="$(printf '%q ' launch/supervise.sh --distributed "${flags[@]}")"
  on all "cd addsr_jax && { rm -f done; setsid nohup bash -c $(printf '%q' "${command}&& touch done") > train.log 2>&1 < /dev/null & }"
}

# Looks every minute: a slice that was taken away or failed is asked for again, a new one is installed and trained on.
keep() {
  [[ ${#flags[@]} -gt 0 ]] || usage "give the flags of python -m addsr_jax.train"
  [[ -n "${REPOSITORY:-}" ]] || usage "set REPOSITORY to the URL to clone"
  local now started=''
  while true; do
    now="$(state 2> /dev/null || echo NONE)"
    case "$now" in
      ACTIVE)
        if [[ -z "$started" ]]; then
          install && train && started=yes
        elif on 0 'test -e addsr_jax/done'; then
          echo "launch/tpu_vm.sh: training on $name is done"
          return
        fi
        ;;
      NONE) started='' && create ;;
      FAILED | SUSPENDED) started='' && remove ;;
    esac
    sleep 60
  done
}

case "$verb" in
  create) create ;;
  state) state ;;
  install) install ;;
  train | resume) train ;;
  log) on 0 'tail -n 50 -f addsr_jax/train.log' ;;
  keep)
    if [[ -n "$dry" ]]; then create && install && train; else keep; fi
    ;;
  delete) remove ;;
  *) usage "there is no verb '$verb'" ;;
esac
