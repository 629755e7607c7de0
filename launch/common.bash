# shellcheck shell=bash
# Sourced by the launchers: what they do with their arguments.

# take_dry_run WORDS...: `flags` without --dry_run, which may stand anywhere and sets `dry`.
take_dry_run() {
  dry='' flags=()
  local word
  for word in "$@"; do
    if [[ "$word" == --dry_run ]]; then dry=yes; else flags+=("$word"); fi
  done
}

# pasteable WORDS...: a line that a shell reads as these words.
pasteable() {
  local line
  line="$(printf '%q ' "$@")"
  echo "${line% }"
}

# arguments WORDS...: as take_dry_run; without a flag the script ends.
arguments() {
  take_dry_run "$@"
  [[ ${#flags[@]} -gt 0 ]] && return
  echo "launch/$(basename "$0"): give --config and --workdir, as python -m addsr_jax.train takes them" >&2
  exit 2
}

# The train command with `flags`, or its line: by $PYTHON, else by the environment of `make install`, else by python3. The
# line carries the variables that are named in `settings`.
settings=()
train() {
  local python="${PYTHON:-}" words name
  [[ -n "$python" || ! -x .venv/bin/python ]] || python=.venv/bin/python
  words=("${python:-python3}" -m addsr_jax.train "${flags[@]}")
  if [[ -z "$dry" ]]; then
    "${words[@]}"
  else
    for name in "${settings[@]}"; do words=("$name=${!name}" "${words[@]}"); done
    [[ ${#settings[@]} -eq 0 ]] || words=(env "${words[@]}")
    pasteable "${words[@]}"
  fi
}
