"""addsr benchmark: speed and memory of this machine.

python -m addsr_jax.benchmark sample|train|data|start
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from addsr_jax.errors import UserError, guard
from addsr_jax.flags import Parser, number, require, say
from addsr_jax.runtime import prepare


def main(arguments: Sequence[str]) -> None:
    p = Parser('benchmark', 'Measures this machine; every figure is the median of --repeats runs after a warm-up.')
    p.add_argument(
        'what', choices=tuple(BENCHMARKS), help='upscaling, training steps, the data pipeline, or cold and warm starts'
    )
    p.add_argument('--weights', default='nano', help="sample: 'nano' or a folder")
    p.add_argument('--sizes', default='32,64,128', help='sample: sides of the inputs in pixels, with commas')
    p.add_argument('--methods', default='addsr-1,addsr-4,seesr-50', help='sample: METHOD-STEPS, with commas')
    p.add_argument('--config', default='configs/addsr.py:nano', help='train: config file')
    p.add_argument('--hr_size', type=number(int, 80, 4096), default=512, help='data: pixels of the target')
    p.add_argument('--repeats', type=number(int, 1, 1000), default=3, help='runs of each')
    values = p.parse_args(arguments)
    BENCHMARKS[values.what](values)


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.monotonic()
        call()
        times.append(time.monotonic() - start)
    return float(np.median(times))


def peak_memory() -> float:
    """GB: of the device where it says so, else the largest resident size of this process so far."""
    stats = jax.devices()[0].memory_stats()
    if stats and 'peak_bytes_in_use' in stats:
        return stats['peak_bytes_in_use'] / 1e9
    status = Path('/proc/self/status')
    if status.exists():  # getrusage also counts what the process that started this one held
        line = next(text for text in status.read_text().splitlines() if text.startswith('VmHWM'))
        return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def sample(values) -> None:
    from addsr_jax.restoration import pipeline
    from addsr_jax.restoration.settings import Settings

    prepare()
    model = pipeline.load(values.weights)
    rng = np.random.default_rng(0)
    say(f'{jax.devices()[0].device_kind}, {len(os.sched_getaffinity(0))} cores; seconds per image, one image a call')
    say(f'{"input":>9} {"output":>9} {"method":>18} {"s/image":>9} {"images/s":>9} {"first call s":>13} {"peak GB":>8}')
    for side in (int(text) for text in values.sizes.split(',')):
        image = Image.fromarray(rng.integers(0, 256, (side // 4, side // 4, 3), np.uint8)).resize((side, side))
        seconds = {}
        for text in values.methods.split(','):
            method, _, steps = text.partition('-')
            guided = [None, 1.0] if method == 'seesr' else [None]
            for guidance in guided:
                name = text + (' no guidance' if guidance else '')
                settings = Settings(method=method, steps=int(steps), guidance_scale=guidance)
                once = partial(model.restore, image, settings, '')
                first = median_seconds(once, 1)
                seconds[name] = median_seconds(once, values.repeats)
                say(
                    f'{side:>9} {4 * side:>9} {name:>18} {seconds[name]:9.3f} {1 / seconds[name]:9.2f} '
                    f'{first:13.1f} {peak_memory():8.2f}'
                )
        for slow in (name for name in seconds if name.startswith('seesr')):
            ratios = [f'{name} {seconds[slow] / s:.1f}x' for name, s in seconds.items() if name.startswith('addsr')]
            say(f'{side:>9} faster than {slow}: {", ".join(ratios)}')


def train(values) -> None:
    require('train', 'clu', 'grain', 'ml_collections', 'tensorflow')
    from addsr_jax import sharding
    from addsr_jax.training import config as config_file
    from addsr_jax.training import job, step

    prepare()
    config = config_file.train_options(values.config, ())
    start, mesh = job.starting_weights(config), sharding.make_mesh(config.mesh)
    stage = job.make_stage(config, start.spec, mesh)
    known = job.known_params(stage, start)
    rng, side = np.random.default_rng(0), config.data.hr_size
    images = [rng.uniform(-1, 1, (config.batch_size, side, side, 3)).astype(np.float32) for _ in range(2)]
    tokens = np.zeros((config.batch_size, start.spec.text_encoder.positions), np.int32)
    arrays = {'hr': images[0], 'lq': images[1], 'tokens': tokens}
    began = time.monotonic()
    shapes = step.state_shapes(stage, known, mesh)
    update = step.compile_step(stage, shapes, {name: (a.shape, a.dtype) for name, a in arrays.items()}, mesh)
    compiled = time.monotonic() - began
    frozen = sharding.put_replicated(stage.freeze(known), mesh)
    state, batch = step.first_state(stage, known, shapes, config.seed), sharding.put_batch(arrays, mesh)

    def once() -> None:
        nonlocal state
        state, metrics = update(state, frozen, batch)
        jax.block_until_ready(metrics)

    once()
    seconds = median_seconds(once, values.repeats)
    say(
        f'{values.config}: {seconds:.3f} s a step, {config.batch_size / seconds:.2f} images/s at {side} pixels, batch '
        f'{config.batch_size}, {mesh.size} devices; ready after {compiled:.1f} s; peak {peak_memory():.2f} GB'
    )


def data(values) -> None:
    require('train', 'grain', 'skimage')
    from addsr_jax.data import sources
    from addsr_jax.data.batches import make_dataset, make_iterator
    from addsr_jax.data.options import DataOptions
    from addsr_jax.data.tokens import load_tokenizer
    from addsr_jax.weights.bundle import NANO

    options = DataOptions(source='sample_photos', hr_size=values.hr_size, captions='record', threads=0)
    tokenizer = load_tokenizer(NANO / 'tokenizer')
    dataset = make_dataset(
        options, sources.sample_photos(), tokenizer, batch_size=4, seed=0, process_index=0, process_count=1
    )
    iterator = make_iterator(dataset, 0, 0, 0)
    next(iterator)
    wall, cpu = time.monotonic(), time.process_time()
    for _ in range(4 * values.repeats):
        next(iterator)
    count = 16 * values.repeats
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    say(
        f'{count / cpu:.1f} samples/s per core at {values.hr_size} pixels '
        f'({count / wall:.1f} a second of wall time, one thread)'
    )


def start(values) -> None:
    """Cold and warm starts, with a cache of their own: `upscale` to a first small picture, `train` to one step."""
    require('train', 'clu', 'grain', 'ml_collections', 'tensorflow', 'skimage')
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(root / 'in.png')
        upscale = ['upscale', str(root / 'in.png'), '--weights', values.weights, '--overwrite', '-o', str(root / 'out')]
        train = ['train', '--config', values.config, '--config.steps=1', '--config.log_every=1']
        train += ['--config.eval_every=0', '--config.preview_every=0']
        for command, sign in ((upscale, '[1/1]'), (train, 'step 1/1')):
            name, seconds = command[0], []
            for attempt in ('first', 'second'):
                extra = ['--workdir', str(root / attempt)] if name == 'train' else []
                seconds.append(_seconds_to_line([*command, *extra], sign, root / 'cache'))
            say(
                f'{name}: {sign!r} after {seconds[0]:.1f} s at the first start, {seconds[1]:.1f} s at the second: '
                f'{seconds[0] / seconds[1]:.1f}x faster'
            )


def _seconds_to_line(command: list[str], sign: str, cache: Path) -> float:
    """Runs a command of this package to its end; seconds until it prints a line that begins with `sign`."""
    began, found, lines = time.monotonic(), None, []
    with subprocess.Popen(
        [sys.executable, '-m', f'addsr_jax.{command[0]}', *command[1:]],
        env={**os.environ, 'ADDSR_CACHE': str(cache)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            lines.append(line)
            if found is None and line.startswith(sign):
                found = time.monotonic() - began
    if process.returncode or found is None:
        raise UserError(f'{command[0]} did not run: {"".join(lines[-3:]).strip()}')
    return found


BENCHMARKS = {'sample': sample, 'train': train, 'data': data, 'start': start}

if __name__ == '__main__':
    sys.exit(guard(main))
