"""Machines that programs are compiled for: TPU slices, which need not be there, and the devices of this machine.

A slice is written KIND:AxB or KIND:AxBxC. libtpu describes it and compiles for it without a TPU.
"""

import difflib
import importlib.util
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from addsr_jax.chips import TPUS, Chip, chip_of
from addsr_jax.errors import UserError
from addsr_jax.installation import with_extra

FLAT = ('1x1', '2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16')
CUBES = ('2x2x1', '2x2x2', '2x2x4', '2x4x4', '4x4x4', '4x4x8', '4x8x8', '8x8x8')
SLICES = {'v5e': FLAT, 'v6e': FLAT, 'v5p': CUBES, 'v4': CUBES, 'v3': ('2x2', '4x4', '8x8'), 'tpu7x': CUBES}
TOPOLOGIES = tuple(f'{kind}:{shape}' for kind, shapes in SLICES.items() for shape in shapes)
# Compiling at the least effort takes a tenth of the time; arguments are the same, temporaries within a quarter.
QUICK = {'optimization_level': 9}


@dataclass(frozen=True)
class Machine:
    """Devices to compile for, and what one of them can do."""

    name: str
    devices: tuple[Any, ...]
    chip: Chip
    options: dict[str, Any]  # of the compiler
    described: bool = False  # the devices are not here

    def compiling(self) -> AbstractContextManager[None]:
        """Around a compilation for these devices."""
        return by_libtpu() if self.described else nullcontext()


def machine(name: str) -> Machine:
    """'local', or a TPU slice such as 'v5e:4x4'; a UserError names the nearest that there is."""
    if name == 'local':
        return local()
    if name not in TOPOLOGIES:
        kind = name.partition(':')[0]
        near = difflib.get_close_matches(name, TOPOLOGIES, 3, 0.5) or TOPOLOGIES[:3]
        shown = [f'{kind}:{shape}' for shape in SLICES[kind]] if kind in SLICES else near
        raise UserError(f"--topology {name}: choose one of {', '.join(shown)}, or 'local'")
    return Machine(name, described(name), TPUS[name.partition(':')[0]], QUICK, described=True)


def described(name: str) -> tuple[Any, ...]:
    """The devices of a slice that this machine does not have."""
    if importlib.util.find_spec('libtpu') is None:
        raise UserError(f'--topology {name} is compiled by libtpu, which is not installed: {with_extra("plan")}')
    from jax.experimental import topologies

    # no question to a metadata server, and no lock against another process that compiles
    for key, value in {
        'TPU_SKIP_MDS_QUERY': '1',
        'TPU_WORKER_HOSTNAMES': 'localhost',
        'TPU_ACCELERATOR_TYPE': 'v5litepod-16',
        'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
    }.items():
        os.environ.setdefault(key, value)
    with by_libtpu():
        return tuple(topologies.get_topology_desc(platform='tpu', topology_name=name).devices)


@contextmanager
def by_libtpu() -> Iterator[None]:
    """While libtpu describes or compiles: it ends the process at a flag of XLA for CPUs or GPUs.

    And programs without their devices cannot be read back from a cache, which jax asks about once for all: it has to
    forget what it knows.
    """
    flags, cached = os.environ.pop('XLA_FLAGS', None), jax.config.values['jax_enable_compilation_cache']
    jax.config.update('jax_enable_compilation_cache', False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update('jax_enable_compilation_cache', cached)
        compilation_cache.reset_cache()
        if flags is not None:
            os.environ['XLA_FLAGS'] = flags


def local() -> Machine:
    """The devices of this machine, compiled as they are when it computes."""
    devices = tuple(jax.devices())
    return Machine(f'{len(devices)} x {devices[0].device_kind}', devices, chip_of(devices[0]), {})
