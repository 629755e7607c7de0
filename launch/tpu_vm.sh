#!/usr/bin/env bash
# A Cloud TPU slice by queued resources: asked for, installed, trained on, watched, deleted.
#   launch/tpu_vm.sh [--dry_run] create|state|install|train|log|keep|delete NAME [train flags ...]
#     create   asks for the slice; SPOT=yes for the cheap kind that may be taken away
#     state    what has become of the request: ACTIVE is ready
#     install  clones REPOSITORY on every worker and installs it
#     train    starts training on every worker, under launch/supervise.sh: it outlives this ssh session
#     log      follows the first worker's log
#     keep     create, install and train, and all of it again each time the slice is taken away or a worker starts anew,
#              until training is done or says that its command is wrong
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
  # uv brings a Python where the image's own is older than 3.11
  on all "{ git -C addsr_jax pull --ff-only 2> /dev/null || git clone $(printf '%q' "$REPOSITORY") addsr_jax; } && cd addsr_jax && python3 -m pip install --quiet --user uv && python3 -m uv venv --seed --allow-existing --python 3.12 .venv && .venv/bin/pip install -e '.[train,gcs,tpu]'"
}
# start BEFORE: training on every worker where none is at work or has ended, after the shell command BEFORE. The number of the
# process lies where a restart of the machine empties it, the exit code in `ended`.
start() {
  local command
  command="$(printf '%q ' launch/supervise.sh --distributed "${flags[@]}")"
  on all "cd addsr_jax && $1 { test -e ended || kill -0 \$(cat /dev/shm/addsr.pid 2> /dev/null) 2> /dev/null || { setsid nohup bash -c $(printf '%q' "echo \$\$ > /dev/shm/addsr.pid; ${command}; echo \$? > ended") >> train.log 2>&1 < /dev/null & } }"
}
train() {
  [[ ${#flags[@]} -gt 0 ]] || usage "give the flags of python -m addsr_jax.train"
  start 'rm -f ended &&'
}

# Codes with which training has ended, 'ended HOST CODE' for each worker where it has.
ended() {
  # shellcheck disable=SC2016 # the worker's name, not this machine's
  on all 'test ! -e addsr_jax/ended || echo "ended $(hostname) $(cat addsr_jax/ended)"' 2> /dev/null |
    grep -E '^ended [^ ]+ [0-9]+$' || true
}

# Looks every minute: a slice that was taken away or failed is asked for again, a new one is installed and trained on, and
# a worker that was started anew takes part again. A call that fails is made again a minute later. What gcloud warns of
# beside an answer is no answer.
keep() {
  [[ ${#flags[@]} -gt 0 ]] || usage "give the flags of python -m addsr_jax.train"
  local now host code started=''
  errors="$(mktemp)"
  trap 'rm -f "$errors"' EXIT
  while true; do
    if ! now="$(state 2> "$errors")"; then
      now="$(< "$errors")"
      [[ "$now" != *NOT_FOUND* && "$now" != *"not found"* ]] || now=NONE
    fi
    case "$now" in
      ACTIVE)
        if [[ -z "$started" ]]; then
          { install && train && started=yes; } || echo "launch/tpu_vm.sh: $name could not be started yet" >&2
        else
          # of several the worst: one process that ends with a mistake of its own leaves the others waiting
          read -r _ host code < <(ended | sort -k3,3nr) || code=''
          [[ "$code" != 0 ]] || { echo "launch/tpu_vm.sh: training on $name is done"; return; }
          [[ -z "$code" ]] || { echo "launch/tpu_vm.sh: training on $name ended with $code on $host: addsr_jax/train.log there says why" >&2; return "$code"; }
          start '' || true
        fi
        ;;
      NONE) started='' && { create || true; } ;;
      FAILED | SUSPENDED) started='' && { remove || true; } ;;
      *) echo "launch/tpu_vm.sh: $name: ${now##*$'\n'}" ;;
    esac
    sleep "${PAUSE:-60}"
  done
}

case "$verb" in
  create) create ;;
  state) state ;;
  install) install ;;
  train | resume) train ;;
  log) on 0 'tail -n 50 -f addsr_jax/train.log' ;;
  keep)
    [[ -n "${REPOSITORY:-}" ]] || usage "set REPOSITORY to the URL to clone"
    if [[ -n "$dry" ]]; then create && install && train; else keep; fi
    ;;
  delete) remove ;;
  *) usage "there is no verb '$verb'" ;;
esac
