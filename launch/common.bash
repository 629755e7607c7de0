# shellcheck shell=bash
# Sourced by local.sh and gpu.sh: what both do with their arguments.

# arguments WORDS...: `flags` without --dry_run, which may stand anywhere and sets `dry`.
arguments() {
  dry='' flags=()
  local word
  for word in "$@"; do
    if [[ "$word" == --dry_run ]]; then dry=yes; else flags+=("$word"); fi
  done
  [[ ${#flags[@]} -gt 0 ]] && return
  echo "launch/$(basename "$0"): give --config and --workdir, as python -m addsr_jax.train takes them" >&2
  exit 2
}

# The train command with `flags`, or its line: by $PYTHON, else by the environment of `make install`, else by python3.
train() {
  local python="${PYTHON:-}" line words
  [[ -n "$python" || ! -x .venv/bin/python ]] || python=.venv/bin/python
  words=("${python:-python3}" -m addsr_jax.train "${flags[@]}")
  if [[ -z "$dry" ]]; then
    "${words[@]}"
  else
    line="$(printf '%q ' "${words[@]}")"
    echo "${line% }"
  fi
}
