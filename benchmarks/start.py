"""Where the seconds and the memory of a first picture go, at a start that finds its programs and at one that does not.

    python benchmarks/start.py [--pictures 5]

One picture of 128 x 128, four times larger, by the embedded model in one step; the rows follow one another in a
process of their own. Seconds of wall time; memory as the system counts it (resident, and its highest so far).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARK = '| '  # begins the lines that are rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pictures', type=int, default=5, help='after the first one')
    parser.add_argument('--here', action='store_true', help=argparse.SUPPRESS)
    values = parser.parse_args()
    if values.here:
        rows(values.pictures)
        return 0
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, __file__, '--here', '--pictures', str(values.pictures)]
        environment = {**os.environ, 'ADDSR_CACHE': cache, 'PYTHONPATH': str(ROOT)}
        for start in ('first', 'second'):
            tell(f'\n{start} start:\n\n| what | s | CPU-s | MB | most MB |\n| --- | --- | --- | --- | --- |\n')
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            tell(''.join(line for line in done.stdout.splitlines(True) if line.startswith(MARK)))
    return 0


def tell(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


class Clock:
    """Tells what has passed since it told last."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.monotonic(), time.process_time()

    def row(self, what: str, count: int = 1) -> None:
        wall, cpu = time.monotonic(), time.process_time()
        took = f'{(wall - self.wall) / count:.2f} | {(cpu - self.cpu) / count:.2f}'
        status = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())
        now, most = (int(status[name].split()[0]) // 1024 for name in ('VmRSS', 'VmHWM'))
        tell(f'{MARK}{what} | {took} | {now} | {most} |\n')
        self.wall, self.cpu = time.monotonic(), time.process_time()


def rows(pictures: int) -> None:
    clock = Clock()
    import jax

    clock.row('import jax')
    import numpy as np

    from addsr_jax.restoration import pipeline
    from addsr_jax.restoration.settings import Settings
    from addsr_jax.runtime import prepare

    prepare()
    clock.row('import addsr_jax')
    model = pipeline.load('nano')
    clock.row('weights')
    picture = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    model.bytes_of((512, 512), Settings(batch=1, steps=1))
    clock.row('program')
    model.upscale(picture, batch=1, steps=1)
    clock.row('first picture')
    for _ in range(pictures):
        model.upscale(picture, batch=1, steps=1)
    clock.row('each further one', pictures)
    assert jax.devices()[0].platform == 'cpu', 'run it with JAX_PLATFORMS=cpu'


if __name__ == '__main__':
    sys.exit(main())
