"""One tile by the pipeline, by an artefact of jax.export and by ONNX: equal, how fast, in how much memory.

    python -m benchmarks.export [--side 128] [--steps 1] [--repeats 5] [--workdir DIR]

Needs `pip install '.[onnx]'`. Each way runs in a process of its own. Seconds are the median of the repeats, which take
turns; memory is the most that a process held. Ends with 1 where a picture differs from the pipeline's by a level.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from addsr_jax.flags import say

WAYS = ('pipeline', 'jax.export', 'ONNX')
HEAD = '| way | file, MB | made in, s | ready in, s | seconds a tile | peak MB | largest difference, of 255 levels |'


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--side', type=int, default=128)
    parser.add_argument('--steps', type=int, default=1)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--workdir', type=Path, help='keeps the files, and takes those that are there')
    parser.add_argument('--serve', choices=WAYS, help=argparse.SUPPRESS)
    values = parser.parse_args()
    if values.serve:
        serve(values.serve, values.workdir, values)
        return 0
    with tempfile.TemporaryDirectory(prefix='addsr-export-') as temporary:
        folder = values.workdir or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        return compare(folder, values)


def compare(folder: Path, values: argparse.Namespace) -> int:
    made = {'pipeline': 0.0}
    for way, ending in (('jax.export', 'zip'), ('ONNX', 'onnx')):
        target, start = folder / f'model.{ending}', time.monotonic()
        if not target.exists():
            words = ['nano', '-o', str(target), '--steps', str(values.steps), '--side', str(values.side)]
            subprocess.run([sys.executable, '-m', 'addsr_jax.export', *words], check=True)
        made[way] = time.monotonic() - start
    write_inputs(folder, values.side)
    passed = ['--side', str(values.side), '--steps', str(values.steps), '--workdir', str(folder)]
    servers = {}
    for way in WAYS:
        command = [sys.executable, '-m', 'benchmarks.export', '--serve', way, *passed]
        servers[way] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    ready = {way: answer(server) for way, server in servers.items()}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(values.repeats):
        for way, server in servers.items():
            seconds[way].append(ask(server)['seconds'])
    peak = {way: ask(server, 'end')['peak'] for way, server in servers.items()}
    wanted = np.load(folder / 'pipeline.npy')
    say('\n' + HEAD + '\n| --- |' + ' --- |' * 6)
    worst = 0.0
    for way, ending in zip(WAYS, (None, 'zip', 'onnx'), strict=True):
        size = f'{(folder / f"model.{ending}").stat().st_size / 1e6:.0f}' if ending else ''
        apart = float(np.abs(np.load(folder / f'{way}.npy') - wanted).max() * 255 / 2)
        worst = max(worst, apart)
        say(
            f'| {way} | {size} | {made[way]:.0f} | {ready[way]["seconds"]:.1f} | {statistics.median(seconds[way]):.3f} '
            f'| {peak[way]:.0f} | {apart:.5f} |'
        )
    return int(worst >= 1)


def ask(server: subprocess.Popen, word: str = 'tile') -> dict[str, Any]:
    assert server.stdin is not None
    server.stdin.write(word + '\n')
    server.stdin.flush()
    return answer(server)


def answer(server: subprocess.Popen) -> dict[str, Any]:
    assert server.stdout is not None
    return json.loads(next(line for line in server.stdout if line.startswith('{')))


def write_inputs(folder: Path, side: int) -> None:
    """A photograph, enlarged as the pipeline does it, and the noise of its tile."""
    from PIL import Image

    from addsr_jax.data import pictures, sources

    photo = Image.fromarray(pictures.read(sources.held_out().paths[0]))
    small = photo.crop((120, 60, 120 + side, 60 + side)).resize((side // 4, side // 4), Image.Resampling.BOX)
    large = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC), np.float32)
    np.save(folder / 'lq.npy', large[None] / 127.5 - 1)


def serve(way: str, folder: Path, values: argparse.Namespace) -> None:
    """Makes the tile once, and again for every line on stdin."""
    from addsr_jax.runtime import memory, prepare

    prepare()
    start = time.monotonic()
    run = runner(way, folder, values)
    lq = np.load(folder / 'lq.npy')
    latent = values.side // 4
    noise = np.random.default_rng(0).standard_normal((1, values.steps + 1, latent, latent, 4)).astype(np.float32)
    np.save(folder / f'{way}.npy', run(lq, noise))
    say(json.dumps({'seconds': time.monotonic() - start}))
    for line in sys.stdin:
        if line.strip() == 'end':
            break
        start = time.monotonic()
        run(lq, noise)
        say(json.dumps({'seconds': time.monotonic() - start}))
    say(json.dumps({'peak': 1000 * memory(peak=True)}))


def runner(way: str, folder: Path, values: argparse.Namespace) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    if way == 'ONNX':
        import onnxruntime

        session = onnxruntime.InferenceSession(str(folder / 'model.onnx'), providers=['CPUExecutionProvider'])
        return lambda lq, noise: np.asarray(session.run(['image'], {'lq': lq, 'noise': noise})[0])
    from addsr_jax.restoration import exported, pipeline
    from addsr_jax.restoration.settings import Settings

    if way == 'jax.export':
        artefact = exported.load(folder / 'model.zip')
        return lambda lq, noise: np.asarray(artefact(lq, noise))
    model, settings = pipeline.load('nano'), Settings(steps=values.steps)
    words = model.words(settings)[None]
    return lambda lq, noise: np.asarray(model._sample(lq, noise, words, None, settings))


if __name__ == '__main__':
    sys.exit(main())
