#!/usr/bin/env bash
# Trains on this machine's NVIDIA GPUs, all of them by default (CUDA_VISIBLE_DEVICES chooses).
#   launch/gpu.sh --config configs/addsr.py --workdir runs/addsr [--config.KEY=VALUE ...] [--dry_run]
# XLA_FLAGS of the caller replace the recommended ones.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=launch/common.bash
source launch/common.bash
arguments "$@"

export JAX_PLATFORMS="${JAX_PLATFORMS:-cuda}"
# Compile in minutes: without a trial of Triton against XLA's own emitter for every fusion, and of Triton's tilings for
# every matrix product (docs/gpu.md).
export XLA_FLAGS="${XLA_FLAGS---xla_gpu_experimental_enable_fusion_autotuner=false --xla_gpu_enable_triton_gemm=false}"
export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}"
# shellcheck disable=SC2034  # read by train
settings=(JAX_PLATFORMS XLA_FLAGS XLA_PYTHON_CLIENT_MEM_FRACTION)
train
