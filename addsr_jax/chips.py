"""Accelerators: what one device of each kind holds and computes."""

from dataclasses import dataclass
from typing import Any

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One device as XLA sees it: on v3, v4 and tpu7x half a chip."""

    memory: int | None  # bytes that programs may use; None: nobody says
    peak: float | None = None  # FLOP/s in bfloat16, dense


# Memory is what libtpu 0.0.52 says when a program is too large; peaks are the vendor's (cloud.google.com/tpu/docs).
TPUS = {
    'v5e': Chip(int(15.75 * GIB), 197e12),
    'v6e': Chip(int(31.24 * GIB), 918e12),
    'v5p': Chip(int(95.73 * GIB), 459e12),
    'v4': Chip(int(15.25 * GIB), 275e12 / 2),
    'v3': Chip(int(15.48 * GIB), 123e12 / 2),
    'tpu7x': Chip(int(94.74 * GIB), 2307e12 / 2),
}
# NVIDIA's data sheets, dense, products of bfloat16 summed in float32; memory is asked of the device itself. The longest
# name that fits decides.
GPUS = {
    'NVIDIA A10': 125e12,
    'NVIDIA A100': 312e12,
    'NVIDIA A30': 165e12,
    'NVIDIA B200': 2250e12,
    'NVIDIA GeForce RTX 3090': 71e12,
    'NVIDIA GeForce RTX 4090': 165e12,
    'NVIDIA GeForce RTX 5090': 209e12,
    'NVIDIA GH200': 989e12,
    'NVIDIA H100': 989e12,
    'NVIDIA H100 PCIe': 756e12,
    'NVIDIA H200': 989e12,
    'NVIDIA L4': 121e12,
    'NVIDIA L40S': 362e12,
    'NVIDIA RTX A6000': 155e12,
}
KINDS = {'TPU v5 lite': 'v5e', 'TPU v6 lite': 'v6e', 'TPU v5': 'v5p', 'TPU v4': 'v4', 'TPU v3': 'v3', 'TPU7x': 'tpu7x'}


def chip_of(device: Any) -> Chip:
    """Of a jax device, whether it is here or only described. A GPU says its memory, a CPU nothing."""
    if device.device_kind in KINDS:
        return TPUS[KINDS[device.device_kind]]
    stats = None if device.platform == 'cpu' else device.memory_stats()
    return Chip((stats or {}).get('bytes_limit'), peak_of(device.device_kind))


def peak_of(kind: str) -> float | None:
    """FLOP/s of a GPU by the name that it gives itself, as 'NVIDIA A100-SXM4-40GB'; None: not in the table."""
    known = [name for name in GPUS if kind == name or kind.startswith((f'{name} ', f'{name}-'))]
    return GPUS[max(known, key=len)] if known else None
