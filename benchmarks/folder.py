"""A folder left alone: mixed small pictures through `upscale`, killed in the middle and started again.

python -m benchmarks.folder [--pictures 1000] [--workdir DIR] [--batch 4]

Prints how many results each start made, that none is half and none was made twice, images a second, and for which part
of the time the devices waited for pictures.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from addsr_jax.data import pictures, sources
from addsr_jax.flags import say

ENDINGS = ('.jpg', '.png', '.webp', '.tif', '.bmp')


def make(folder: Path, count: int) -> None:
    """Crops of scikit-image's photographs of 24 to 64 pixels a side, in five kinds of file, grey ones among them."""
    rng, photos = np.random.default_rng(0), [pictures.read(path) for path in sources.sample_photos().paths]
    for i in range(count):
        photo = photos[i % len(photos)]
        height, width = (int(n) for n in rng.integers(24, 65, 2))
        top, left = (int(rng.integers(0, n - side)) for n, side in zip(photo.shape[:2], (height, width), strict=True))
        image = Image.fromarray(np.ascontiguousarray(photo[top : top + height, left : left + width]))
        path = folder / f'{i % 10}' / f'{i:05d}{ENDINGS[i % len(ENDINGS)]}'
        path.parent.mkdir(parents=True, exist_ok=True)
        (image.convert('L') if i % 7 == 0 and path.suffix != '.webp' else image).save(path)


def start(folder: Path, output: Path, batch: int) -> subprocess.Popen:
    command = [sys.executable, '-m', 'addsr_jax.upscale', str(folder), '-o', str(output), '--json', '--steps', '1']
    return subprocess.Popen([*command, '--batch', str(batch)], stdout=subprocess.PIPE, text=True)


def results(output: Path) -> dict[Path, int]:
    """Every result with the time of its last change; a half one cannot be read."""
    found = {path: path.stat().st_mtime_ns for path in output.rglob('*') if path.is_file()}
    for path in found:
        if not path.name.startswith('.'):
            pictures.read(path)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--pictures', type=int, default=1000)
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--workdir', type=Path)
    values = parser.parse_args()
    workdir = values.workdir or Path(tempfile.mkdtemp(prefix='addsr-'))
    make(workdir / 'in', values.pictures)
    first = start(workdir / 'in', workdir / 'out', values.batch)
    assert first.stdout is not None
    for _, _line in zip(range(values.pictures // 2), first.stdout, strict=False):
        pass
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = results(workdir / 'out')
    whole = {path: at for path, at in before.items() if not path.name.startswith('.')}
    began = time.monotonic()
    told = start(workdir / 'in', workdir / 'out', values.batch).communicate()[0]
    seconds, summary = time.monotonic() - began, json.loads(told.splitlines()[-1])
    after = {path: at for path, at in results(workdir / 'out').items() if not path.name.startswith('.')}
    again = sum(after[path] != at for path, at in whole.items())
    say(f'killed after {len(whole)} results, {len(before) - len(whole)} temporary files left behind, none of them half')
    say(f'second start: {summary["pictures"]} pictures, {summary["left_out"]} left out, {again} made twice')
    rate = summary['pictures'] / summary['seconds']
    say(f'{rate:.2f} images/s; the devices waited {summary["waited"]:.1%}; {seconds:.0f} s with the start')
    say(f'{len(after)} results of {values.pictures}')


if __name__ == '__main__':
    main()
