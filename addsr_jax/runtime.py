"""How programs are compiled and kept: the persistent cache, XLA's options, all cores of a CPU, and memory."""

import atexit
import ctypes
import functools
import gc
import os
import resource
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh

from addsr_jax import places
from addsr_jax.errors import complain

ARENA_MAX = -8  # M_ARENA_MAX of glibc's mallopt
FEW = 4  # cores
PROBE = 1_000_000  # bytes that a disk which is not full takes
MEMINFO, OWN_GROUP, GROUPS = Path('/proc/meminfo'), Path('/proc/self/cgroup'), Path('/sys/fs/cgroup')


def prepare() -> None:
    """What a door does before it computes: compiled programs are kept, and there is room for tracing.

    Python's collector of garbage runs seldom: tracing makes a million objects that live, and looking through them
    again and again took a tenth of the time to the first picture, and once more at the end half a second.
    """
    gc.set_threshold(50_000, 20, 20)
    atexit.register(gc.freeze)
    if cores() <= FEW:
        share_one_arena()
    keep_programs()


def share_one_arena() -> None:
    """For all threads, unless somebody has said how many: freed memory of one thread serves the others.

    With an arena for each, as glibc has by itself, 8 pictures took 65 MB more on two cores and were no quicker. Where
    many threads read pictures they would wait for one another.
    """
    choose = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    if choose is not None and 'MALLOC_ARENA_MAX' not in os.environ:
        choose(ARENA_MAX, 1)


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def keep_programs() -> None:
    """Compiled programs are kept in $ADDSR_CACHE, else where jax was told, else in ~/.cache/addsr_jax.

    The first two may lie in a bucket. Where nothing can be written a line says so, and nothing is kept.
    """
    folder = cache_folder()
    by_jax = not os.environ.get('ADDSR_CACHE') and jax.config.jax_compilation_cache_dir  # pyright: ignore
    if not by_jax:
        places.check_writable(folder)
    if not _can_keep(folder):
        jax.config.update('jax_compilation_cache_dir', None)
        return
    warnings.filterwarnings('ignore', 'Error writing persistent compilation cache')  # of a disk that is full by then
    if by_jax:
        return
    jax.config.update('jax_compilation_cache_dir', str(folder))
    compilation_cache.reset_cache()  # a program that was compiled before has settled that there is none
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)


def cache_folder() -> Path:
    """As `keep_programs` chooses it."""
    told = os.environ.get('ADDSR_CACHE') or jax.config.jax_compilation_cache_dir  # pyright: ignore
    return places.place(told or Path.home() / '.cache' / 'addsr_jax')


@functools.cache
def _can_keep(folder: Path) -> bool:
    """Whether a folder takes files, found by one that comes and goes; if not, it is said, once."""
    if places.in_bucket(folder):
        return True
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE))
    except OSError as error:
        reason = error.strerror or str(error)
        complain(
            f'compiled programs are not kept, and every start compiles: nothing can be written into {folder} '
            f'({reason}): export ADDSR_CACHE=FOLDER'
        )
        return False
    return True


def compiler_options(mesh: Mesh) -> dict[str, str | bool]:
    """XLA's options for large programs on the devices of a mesh.

    CPU: without fusions of the YNNPACK library. They make these networks no faster, and loading a cached program
    looks each of them up in a list of all instructions, which takes half as long as compiling it. In jaxlib 0.12 some
    of bfloat16 (a rectifier, a convolution, a rectifier and a pooling in a row) give NaN, now here and now there.
    Instructions in the order that keeps least alive: XLA's own keeps independent ones apart, so that they could run
    at once, which takes up to twice the memory and, where each fills the cores, is no quicker.

    TPU: without the fusion of all-reduce and slice. Where a share of a leaf is not whole tiles of memory (40 rows of a
    320 x 320 kernel on 8 chips) it sends pieces to and fro between neighbours afterwards.
    """
    platform = mesh.devices.flat[0].platform
    if platform == 'cpu':
        return {
            'xla_cpu_experimental_ynn_fusion_type': '',
            'xla_cpu_scheduler_type': 'CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED',
        }
    return {'xla_tpu_enable_all_reduce_scatter_fusion': False} if platform == 'tpu' else {}


def training_environment() -> dict[str, str]:
    """Environment for a process that trains on CPU; what the caller has set stays as it is.

    Most of a step runs on one core of a device, so cores are devices: a power of two, at most eight, so that batches
    divide by it. Two arenas of glibc's malloc: one for each of the compiler's threads keeps a quarter more memory.
    """
    devices = 2 ** min(cores().bit_length() - 1, 3)
    return {
        'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
        'MALLOC_ARENA_MAX': '2',
        **os.environ,
    }


def return_freed_memory() -> None:
    """To the system, after a large program is compiled: glibc would keep the compiler's 1.5 GB beside the program.

    Where the C library has no such call nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None) if sys.platform == 'linux' else None
    if trim is not None:
        trim(0)


def compiled_bytes(program: Any) -> int:
    """What a compiled program takes beside its arguments, as the compiler laid it out."""
    found = program.memory_analysis()
    return found.temp_size_in_bytes + found.output_size_in_bytes + found.generated_code_size_in_bytes


def is_out_of_memory(error: Exception) -> bool:
    """Whether that is what a device says."""
    return 'RESOURCE_EXHAUSTED' in str(error) or 'out of memory' in str(error).lower()


def free_memory() -> float:
    """Bytes of this machine's memory that a process may still take: of the system, or of its container if less."""
    free = float('inf')
    if MEMINFO.exists():
        line = next(text for text in MEMINFO.read_text().splitlines() if text.startswith('MemAvailable'))
        free = int(line.split()[1]) * 1024
    elif hasattr(os, 'sysconf') and 'SC_PHYS_PAGES' in os.sysconf_names:
        free = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2  # as much as half is nearly always there
    return min([free, *_left_in_groups()])


def _left_in_groups() -> Iterator[int]:
    """Bytes below the limit of every control group (version 2) that this process is in: of a container, of a job.

    Files that lie in memory until it is wanted are counted there as used, and are free all the same.
    """
    try:
        own = next(line[3:] for line in OWN_GROUP.read_text().splitlines() if line.startswith('0::'))
    except (OSError, StopIteration):
        return
    folder = GROUPS / own.strip('/')
    for group in (folder, *(above for above in folder.parents if above.is_relative_to(GROUPS))):
        try:
            most, used, said = (group.joinpath(f'memory.{name}').read_text() for name in ('max', 'current', 'stat'))
        except OSError:  # the root of all groups has no limit
            continue
        if most.strip() != 'max':
            files = dict(line.split() for line in said.splitlines()).get('inactive_file', 0)
            yield int(most) - int(used) + int(files)


def memory(*, peak: bool = False) -> float:
    """GB in use, or the most so far: of the first device of this process where it says so, else of the process."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if (key := 'peak_bytes_in_use' if peak else 'bytes_in_use') in stats:
        return stats[key] / 1e9
    status, name = Path('/proc/self/status'), 'VmHWM' if peak else 'VmRSS'
    if status.exists():  # getrusage also counts what the process that started this one held
        line = next(text for text in status.read_text().splitlines() if text.startswith(name))
        return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
