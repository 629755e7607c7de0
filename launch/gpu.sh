#!/usr/bin/env bash
# Trains on this machine's NVIDIA GPUs, all of them by default (CUDA_VISIBLE_DEVICES chooses).
#   launch/gpu.sh [--dry_run] --config configs/addsr.py --workdir runs/addsr [--config.KEY=VALUE ...]
# XLA_FLAGS of the caller replace the recommended ones.
set -euo pipefail
cd "$(dirname "$0")/.."

run=()
if [[ "${1:-}" == --dry_run ]]; then
  run=(echo)
  shift
fi
[[ $# -gt 0 ]] || { echo "launch/gpu.sh: give --config and --workdir, as python -m addsr_jax.train takes them" >&2; exit 2; }

export JAX_PLATFORMS="${JAX_PLATFORMS:-cuda}"
# Compile in minutes: without a trial of Triton against XLA's own emitter for every fusion, and of Triton's tilings for
# every matrix product (docs/gpu.md).
export XLA_FLAGS="${XLA_FLAGS---xla_gpu_experimental_enable_fusion_autotuner=false --xla_gpu_enable_triton_gemm=false}"
export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}"
echo "JAX_PLATFORMS=$JAX_PLATFORMS XLA_PYTHON_CLIENT_MEM_FRACTION=$XLA_PYTHON_CLIENT_MEM_FRACTION XLA_FLAGS=$XLA_FLAGS"
"${run[@]}" "${PYTHON:-python3}" -m addsr_jax.train "$@"
