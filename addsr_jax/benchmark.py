"""addsr benchmark: speed and memory of this machine.

python -m addsr_jax.benchmark sample|train|data|start
"""

import dataclasses
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from addsr_jax.errors import UserError, guard
from addsr_jax.flags import Parser, require, say, take
from addsr_jax.options import Options, option
from addsr_jax.restoration.settings import Settings, parse_method


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `benchmark` takes."""

    repeats: int = option('runs of each', default=3, low=1, high=1000)
    weights: str = option("'nano' or a folder", default='nano', group='sample, start')
    sizes: tuple[int, ...] = option(
        'sides of the inputs', default=(32, 64, 128), low=8, high=8192, least_items=1, unit='pixels', group='sample'
    )
    methods: tuple[str, ...] = option(
        'METHOD-STEPS, with commas', default=('addsr-1', 'addsr-4', 'seesr-50'), least_items=1, group='sample'
    )
    config: str = option('config file', default='configs/addsr.py:nano', group='train, start')
    hr_size: int = option(
        'side of the target', default=512, low=80, high=4096, multiple_of=16, unit='pixels', group='data'
    )


def main(arguments: Sequence[str]) -> None:
    p = Parser('benchmark', 'Measures this machine; every figure is the median of several runs after a warm-up.')
    p.add_argument(
        'what', choices=tuple(BENCHMARKS), help='upscaling, training steps, the data pipeline, or cold and warm starts'
    )
    p.declare(Command)
    values = p.parse_args(arguments)
    BENCHMARKS[values.what](take(values, Command))


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.monotonic()
        call()
        times.append(time.monotonic() - start)
    return statistics.median(times)


def peak_memory() -> float:
    """GB: of the device where it says so, else the largest resident size of this process so far."""
    import jax

    stats = jax.devices()[0].memory_stats()
    if stats and 'peak_bytes_in_use' in stats:
        return stats['peak_bytes_in_use'] / 1e9
    status = Path('/proc/self/status')
    if status.exists():  # getrusage also counts what the process that started this one held
        line = next(text for text in status.read_text().splitlines() if text.startswith('VmHWM'))
        return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def sample(values: Command) -> None:
    import jax
    import numpy as np
    from PIL import Image

    from addsr_jax.restoration import pipeline
    from addsr_jax.runtime import prepare

    methods = named(values.methods)
    prepare()
    model = pipeline.load(values.weights)
    rng = np.random.default_rng(0)
    say(f'{jax.devices()[0].device_kind}, {len(os.sched_getaffinity(0))} cores; seconds per image, one image a call')
    say(f'{"input":>9} {"output":>9} {"method":>18} {"s/image":>9} {"images/s":>9} {"first call s":>13} {"peak GB":>8}')
    for side in values.sizes:
        image = Image.fromarray(rng.integers(0, 256, (side // 4, side // 4, 3), np.uint8)).resize((side, side))
        seconds = {}
        for name, settings in methods.items():
            once = partial(model.restore, image, settings, '')
            first = median_seconds(once, 1)
            seconds[name] = median_seconds(once, values.repeats)
            say(
                f'{side:>9} {4 * side:>9} {name:>18} {seconds[name]:9.3f} {1 / seconds[name]:9.2f} '
                f'{first:13.1f} {peak_memory():8.2f}'
            )
        slow = [name for name, settings in methods.items() if not settings.of_method.refines]
        for base in slow:
            ratios = [f'{name} {seconds[base] / s:.1f}x' for name, s in seconds.items() if name not in slow]
            say(f'{side:>9} faster than {base}: {", ".join(ratios)}')


def named(texts: Sequence[str]) -> dict[str, Settings]:
    """Settings of every method; of one that is guided, without guidance as well."""
    found = {}
    for text in texts:
        settings = parse_method(text, Settings())
        if settings is None:
            raise UserError(f'--methods: {text} runs no network: name METHOD-STEPS')
        found[text] = settings
        if settings.of_method.guided:
            found[f'{text} no guidance'] = dataclasses.replace(settings, guidance_scale=1.0)
    return found


def train(values: Command) -> None:
    require('train', 'clu', 'grain', 'ml_collections', 'tensorflow')
    import jax
    import numpy as np

    from addsr_jax import sharding
    from addsr_jax.runtime import prepare
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


def data(values: Command) -> None:
    require('train', 'grain', 'skimage')
    from addsr_jax.data import sources
    from addsr_jax.data.batches import make_batches
    from addsr_jax.data.options import DataOptions
    from addsr_jax.data.tokens import load_tokenizer
    from addsr_jax.weights.bundle import NANO

    options = DataOptions(source='sample_photos', hr_size=values.hr_size, captions='record', threads=0, workers=0)
    tokenizer = load_tokenizer(NANO / 'tokenizer')
    batches = make_batches(
        options, sources.sample_photos(), tokenizer, batch_size=4, seed=0, process_index=0, process_count=1
    )
    iterator = batches(0)
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


def start(values: Command) -> None:
    """Cold and warm starts, with a cache of their own: `upscale` to a first small picture, `train` to one step."""
    import numpy as np
    from PIL import Image

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
