"""Weights of Stable Diffusion 2 size from disk to the devices of this machine: seconds, and host memory at its peak.

    python -m benchmarks.loading DIR [--devices 8] [--keep]

Nobody's weights are needed: 9 GB of random numbers, a student and all that it works with, are written to DIR once,
which takes 10 GB of memory. Then each way of loading runs in a process of its own. On CPUs the devices' memory is the
host's: the peak has the weights in it, 9.0 GB in float32. `read` is the same without jax: every file of DIR, byte by
byte, which is what the disk takes. Of several processes each has a line; all run on this machine's cores.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from addsr_jax.flags import say

PARTS = ('prompt_extractor', 'autoencoder', 'text_encoder', 'student')
WAYS = {
    'read': 'the files alone, byte by byte',
    'float32': 'float32, one device',
    'bfloat16': 'bfloat16, one device',
    'split': 'float32, split over {devices} devices',
    'shared': 'float32, split over two processes with {half} devices each',
    'dape': 'the prompt extractor alone, with which stage `dape` starts',
}
HEAD = '| what is loaded | s | CPU-s | GB at most |\n| --- | --- | --- | --- |'


def write(folder: Path) -> None:
    import jax.numpy as jnp

    from addsr_jax import sizes
    from addsr_jax.weights import bundle as bundles
    from addsr_jax.weights.random import random_params

    params = random_params(bundles.expected(sizes.SD2, list(PARTS)), jnp.float32)
    bundles.save(bundles.Bundle(sizes.SD2, params, bundles.NANO / 'tokenizer', {}), folder, 'orbax')


def read(folder: Path) -> None:
    for path in sorted(folder.rglob('*')):
        if path.is_file():
            with path.open('rb', buffering=0) as file:
                while file.read(2**24):
                    pass


def start_of_training(folder: Path) -> Any:
    """State and frozen parameters before the first step of stage dape."""
    import jax

    from addsr_jax.training import job, step
    from addsr_jax.training.config import train_options

    options = train_options('configs/dape.py', (('weights', str(folder)), ('mesh', 'data:1'), ('batch_size', '1')))
    _, mesh, start, stage, known = job.prepared(options)
    shapes = step.state_shapes(stage, known, mesh)
    given = job.tensors(options, stage, start, mesh)
    frozen = jax.device_put(stage.freeze(given), shapes.frozen_shardings)
    return frozen, step.first_state(stage, given, shapes, 0)


def run(way: str, folder: Path) -> None:
    """Prints the seconds of one way of loading, imports not counted: the child's whole output."""
    import jax

    import addsr_jax
    from addsr_jax import sharding

    mesh = sharding.make_mesh('fsdp:-1' if way in ('split', 'shared') else 'data:1')
    began = time.monotonic()
    if way == 'read':
        read(folder)
    elif way == 'dape':
        jax.block_until_ready(start_of_training(folder))
    else:
        jax.block_until_ready(addsr_jax.load(folder, mesh, 'bfloat16' if way == 'bfloat16' else 'float32').params)
    print(time.monotonic() - began)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--devices', type=int, default=8)
    parser.add_argument('--ways', default=','.join(WAYS), help='of %(default)s')
    parser.add_argument('--keep', action='store_true', help='leave DIR there for another time')
    parser.add_argument('--way', help=argparse.SUPPRESS)
    parser.add_argument('--join', nargs=3, help=argparse.SUPPRESS)
    values = parser.parse_args()
    if values.join:
        from addsr_jax import processes

        processes.join(values.join[0], *map(int, values.join[1:]))
    if values.way == 'write':
        write(values.folder)
    elif values.way:
        run(values.way, values.folder)
    if values.way:
        return
    if not values.folder.exists():
        measured('write', values.folder, values.devices)
    say(HEAD)
    for way in values.ways.split(','):
        children = measured(way, values.folder, values.devices)
        what = WAYS[way].format(devices=values.devices, half=values.devices // 2)
        cpu, memory = (' and '.join(f'{child[i]:.{i - 1}f}' for child in children) for i in (1, 2))
        say(f'| {what} | {max(seconds for seconds, *_ in children):.1f} | {cpu} | {memory} |')
    if not values.keep:
        shutil.rmtree(values.folder)


def measured(way: str, folder: Path, devices: int) -> list[tuple[float, float, float]]:
    """Of each process of one way: its seconds, those of CPU, and its memory at the peak, in GB."""
    count = 2 if way == 'shared' else 1
    own = devices // count if way in ('split', 'shared') else 1
    flags = f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count={own}'
    command = [sys.executable, '-m', 'benchmarks.loading', str(folder), '--way', way]
    with socket.socket() as found:
        found.bind(('localhost', 0))
        place = f'localhost:{found.getsockname()[1]}'
    children = [
        subprocess.Popen(
            [*command, *(['--join', place, str(count), str(process)] if count > 1 else [])],
            env={**os.environ, 'XLA_FLAGS': flags},
            stdout=subprocess.PIPE,
            text=True,
        )
        for process in range(count)
    ]
    found = []
    for child in children:
        assert child.stdout is not None
        printed = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            sys.exit(f'{way} failed')
        found.append(
            (
                float(printed.split()[-1] if printed else 0),
                usage.ru_utime + usage.ru_stime,
                usage.ru_maxrss * 1024 / 1e9,
            )
        )
    return found


if __name__ == '__main__':
    main()
