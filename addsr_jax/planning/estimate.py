"""A program compiled for a machine, and what the compiler and the trace say of it."""

import dataclasses
import gc
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
from jax.sharding import NamedSharding

from addsr_jax.chips import GIB
from addsr_jax.errors import UserError
from addsr_jax.planning.collectives import traffic
from addsr_jax.planning.flops import flops
from addsr_jax.planning.hardware import Machine
from addsr_jax.runtime import return_freed_memory
from addsr_jax.training.fit import SPARE
from addsr_jax.trees import Tree

USE = 0.4  # of the peak: what well-kept programs reach; an assumption, not a measurement


@dataclass(frozen=True)
class Program:
    """What is to be planned: a trace, its arguments by part, and what one run of it makes."""

    name: str
    trace: Callable[[], Any]  # -> jax.stages.Traced
    arguments: dict[str, int]  # {part: bytes on each device}
    mesh: dict[str, int]
    batch: int  # images of one run, on all devices
    remat: str = 'none'
    runs: int = 0  # of a training run: its updates
    unsplit: dict[str, int] = field(default_factory=dict)  # {path: bytes} of leaves that cannot be split


@dataclass(frozen=True)
class Plan:
    """The estimate for one program on one machine; bytes are those of one device, seconds follow from its peak."""

    program: str
    topology: str
    devices: int
    mesh: dict[str, int]
    batch_size: int
    images_per_device: float
    remat: str
    available_bytes: int | None
    peak_bytes_per_device: int
    memory: dict[str, int]  # arguments, outputs, alias, temporaries, code; unused: held, and no argument of the program
    arguments: dict[str, int]  # by part
    unsplit: dict[str, int]  # {path: bytes} of leaves that a rule would split and no axis of theirs allows to
    flops: float  # of one run, all devices together
    collectives: dict[str, int]  # {kind: bytes that one device ends up with}
    collective_counts: dict[str, int]
    seconds_at_peak: float | None
    seconds_at_40_percent: float | None
    images_per_second_at_40_percent: float | None
    days_at_40_percent: float | None
    trace_seconds: float
    compile_seconds: float
    versions: dict[str, str]

    @property
    def spare_bytes(self) -> int | None:
        return None if self.available_bytes is None else self.available_bytes - self.peak_bytes_per_device

    @property
    def fits(self) -> bool:
        return self.spare_bytes is None or self.spare_bytes >= SPARE

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), 'spare_bytes': self.spare_bytes, 'fits': self.fits}


class TooLarge(UserError):
    """The compiler gave up: what the program needs and what there is."""


def bytes_on_a_device(shapes: Tree, shardings: Tree) -> int:
    """Of one device's shares of a tree of shapes."""

    def size(shape: jax.ShapeDtypeStruct, place: NamedSharding) -> int:
        return math.prod(place.shard_shape(shape.shape)) * shape.dtype.itemsize

    return sum(jax.tree.leaves(jax.tree.map(size, shapes, shardings)))


def estimate(program: Program, machine: Machine) -> Plan:
    """Traces and compiles; TooLarge where the program does not fit at all."""
    began = time.monotonic()
    traced = program.trace()
    work = flops(traced.jaxpr)
    lowered = traced.lower()
    del traced
    jax.clear_caches()  # a trace of full size takes a gigabyte beside the compiler
    gc.collect()
    return_freed_memory()
    trace_seconds = time.monotonic() - began
    began = time.monotonic()
    try:
        with machine.compiling():
            compiled = lowered.compile(compiler_options=machine.options)
    except jax.errors.JaxRuntimeError as error:
        raise too_large(program, machine, str(error)) from error
    compile_seconds = time.monotonic() - began
    moved, memory = traffic(compiled.as_text()), compiled.memory_analysis()
    unused = max(sum(program.arguments.values()) - memory.argument_size_in_bytes, 0)
    peak = machine.chip.peak
    seconds = None if peak is None else work / (peak * len(machine.devices))
    used = None if seconds is None else seconds / USE
    return Plan(
        program=program.name,
        topology=machine.name,
        devices=len(machine.devices),
        mesh=program.mesh,
        batch_size=program.batch,
        images_per_device=program.batch / len(machine.devices),
        remat=program.remat,
        available_bytes=machine.chip.memory,
        peak_bytes_per_device=memory.peak_memory_in_bytes + memory.generated_code_size_in_bytes + unused,
        memory={
            'arguments': memory.argument_size_in_bytes,
            'outputs': memory.output_size_in_bytes,
            'alias': memory.alias_size_in_bytes,
            'temporaries': memory.temp_size_in_bytes,
            'code': memory.generated_code_size_in_bytes,
            'unused': unused,
        },
        arguments=program.arguments,
        unsplit=program.unsplit,
        flops=work,
        collectives=moved.bytes,
        collective_counts=moved.counts,
        seconds_at_peak=seconds,
        seconds_at_40_percent=used,
        images_per_second_at_40_percent=None if used is None else program.batch / used,
        days_at_40_percent=None if used is None or not program.runs else program.runs * used / 86400,
        trace_seconds=trace_seconds,
        compile_seconds=compile_seconds,
        versions=versions(),
    )


def too_large(program: Program, machine: Machine, message: str) -> Exception:
    """The compiler's complaint in a line; what is no complaint about memory stays what it is."""
    found = re.search(r'\(([\d.]+)G\) exceeds available HBM \(([\d.]+)G\)', message)
    if found is None:
        return RuntimeError(message)
    needed, there = float(found[1]) * GIB / 1e9, float(found[2]) * GIB / 1e9
    return TooLarge(
        f'{program.name} does not fit {machine.name}: it needs {needed:.1f} GB on each device and there are {there:.1f}'
    )


def versions() -> dict[str, str]:
    found = {}
    for name in ('jax', 'jaxlib', 'libtpu'):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
