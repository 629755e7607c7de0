#!/usr/bin/env bash
# Trains on this machine's CPU.
#   launch/local.sh --config configs/addsr.py:nano --workdir runs/addsr [--config.KEY=VALUE ...] [--dry_run]
# XLA_FLAGS and GLIBC_TUNABLES of the caller replace the recommended ones.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=launch/common.bash
source launch/common.bash
arguments "$@"

# Most of a step runs on one core of a device, so every core becomes a device: a power of two that batches divide by.
cores="$(nproc 2> /dev/null || getconf _NPROCESSORS_ONLN)" devices=1  # macOS has no nproc
while ((devices * 2 <= cores && devices < 8)); do devices=$((devices * 2)); done
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
export XLA_FLAGS="${XLA_FLAGS---xla_force_host_platform_device_count=$devices}"
# Large pages for large arrays, where the kernel offers them.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
# shellcheck disable=SC2034  # read by train
settings=(JAX_PLATFORMS XLA_FLAGS GLIBC_TUNABLES)
train
