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
KINDS = {'TPU v5 lite': 'v5e', 'TPU v6 lite': 'v6e', 'TPU v5': 'v5p', 'TPU v4': 'v4', 'TPU v3': 'v3', 'TPU7x': 'tpu7x'}


def chip_of(device: Any) -> Chip:
    """Of a jax device, whether it is here or only described. A GPU says its memory; a CPU says nothing."""
    if device.device_kind in KINDS:
        return TPUS[KINDS[device.device_kind]]
    stats = None if device.platform == 'cpu' else device.memory_stats()
    return Chip((stats or {}).get('bytes_limit'))
