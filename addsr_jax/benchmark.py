"""addsr benchmark: speed and memory of this machine.

python -m addsr_jax.benchmark sample|train|data|start [--config.KEY=VALUE ...]
"""

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from addsr_jax.chips import chip_of
from addsr_jax.errors import UserError, guard
from addsr_jax.flags import Parser, require, say, take
from addsr_jax.options import Options, option
from addsr_jax.restoration.settings import Settings, parse_method
from addsr_jax.specs import ATTENTIONS
from addsr_jax.train import split_overrides


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `benchmark` takes."""

    repeats: int = option('runs of each', default=3, low=1, high=1000)
    weights: str = option("'nano', a folder, or ORG/NAME on a hub", default='nano', group='sample, start')
    sizes: tuple[int, ...] = option(
        'sides of the inputs', default=(32, 64, 128), low=8, high=8192, least_items=1, unit='pixels', group='sample'
    )
    methods: tuple[str, ...] = option(
        'METHOD-STEPS, with commas', default=('addsr-1', 'addsr-4', 'seesr-50'), least_items=1, group='sample'
    )
    config: str = option('config file', default='configs/addsr.py:nano', group='train, start')
    attention: str | None = option(
        'kernel of attention, for --config.attention',
        default=None,
        unset="the config's",
        choices=ATTENTIONS,
        group='train',
    )
    peak: float | None = option(
        'what the devices together can do, to print the share of it',
        default=None,
        low=0,
        high=1e9,
        unset='what the vendor says of them, where that is known',
        unit='TFLOP/s',
        group='train',
    )
    hr_size: int = option(
        'side of the target', default=512, low=80, high=4096, multiple_of=16, unit='pixels', group='data'
    )


def main(arguments: Sequence[str]) -> None:
    p = Parser('benchmark', 'Measures this machine; times of a step or a picture are medians of several runs.')
    p.add_argument(
        'what', choices=tuple(BENCHMARKS), help='upscaling, training steps, the data pipeline, or cold and warm starts'
    )
    p.declare(Command)
    own, overrides = split_overrides(arguments)
    values = p.parse_args(own)
    command = take(values, Command)
    if values.what == 'train':
        train(command, overrides)
    elif overrides:
        raise UserError(f'--config.{overrides[0][0]} is for `benchmark train`: {values.what} takes no keys of a config')
    else:
        BENCHMARKS[values.what](command)


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.monotonic()
        call()
        times.append(time.monotonic() - start)
    return statistics.median(times)


def sample(values: Command) -> None:
    import jax
    import numpy as np
    from PIL import Image

    from addsr_jax.restoration import pipeline
    from addsr_jax.runtime import cores, memory, prepare

    methods = named(values.methods)
    prepare()
    model = pipeline.load(values.weights)
    rng = np.random.default_rng(0)
    say(f'{jax.devices()[0].device_kind}, {cores()} cores; seconds per image, one image a call')
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
                f'{first:13.1f} {memory(peak=True):8.2f}'
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


def train(values: Command, overrides: Sequence[tuple[str, str]] = ()) -> None:
    """The train step of a config: from its weights, or without any from random ones, which take the same time.

    Every figure is said when it is known: at full size compiling alone takes minutes, and one may have seen enough.
    """
    require('train', 'grain', 'ml_collections')
    import jax

    from addsr_jax import sharding
    from addsr_jax.data.batches import batch_shapes
    from addsr_jax.planning.flops import flops
    from addsr_jax.runtime import memory, prepare, return_freed_memory
    from addsr_jax.training import config as config_file
    from addsr_jax.training import fit, job, step
    from addsr_jax.weights.random import random_params

    prepare()
    options = config_file.train_options(values.config, overrides)
    options = dataclasses.replace(options, attention=values.attention or options.attention)
    job.attention_of(options, sharding.make_mesh('data:-1'))  # refuses what these devices do not have
    options, start = job.abstract_start(options)
    options = fit.settled(options, jax.devices(), partial(job.step_sizes, start))
    mesh = sharding.make_mesh(options.mesh)
    sharding.check_batch(mesh, options.batch_size, options.accumulate)
    dtype = sharding.compute_dtype(mesh, options.dtype)
    stage = job.make_stage(options, start.spec, mesh)
    known = job.known_shapes(stage, start)
    say(
        f'{values.config}: {options.stage}, {options.size}, {options.data.hr_size} pixels, batch {options.batch_size}, '
        f'{mesh.size} x {mesh.devices.flat[0].device_kind}, mesh {sharding.described(mesh.shape)}, '
        f'remat {options.remat}, attention {job.attention_of(options, mesh)}, {options.weights or "random"} weights'
    )

    began = time.monotonic()
    shapes = step.state_shapes(stage, known, mesh)
    batch = batch_shapes(options.data, options.batch_size)
    traced = step.trace_step(stage, shapes, batch, mesh)
    lowered = traced.lower()
    say(f'traced and lowered in {time.monotonic() - began:.1f} s')
    began = time.monotonic()
    update = lowered.compile()
    return_freed_memory()
    say(f'compiled in {time.monotonic() - began:.1f} s')
    if (laid_out := update.memory_analysis()) is not None:
        names = ('argument', 'output', 'alias', 'temp')
        sizes = [f'{name} {getattr(laid_out, f"{name}_size_in_bytes") / 1e9:.2f}' for name in names]
        say(f'GB of the program, on each device: {", ".join(sizes)} (outputs lie in their aliased arguments)')

    began = time.monotonic()
    if options.weights:
        known = job.tensors(options, stage, start, mesh)
    else:
        given = job.known_params(stage, start)
        parts = {part: given[part] for part in job.needed(stage, start)}
        known = {**sharding.put_params(random_params(parts, dtype), mesh), **job.distance_networks(stage)}
    frozen = jax.device_put(stage.freeze(known), shapes.frozen_shardings)
    state = step.first_state(stage, known, shapes, options.seed)
    del known  # the tensors that the state has copied
    arrays = sharding.put_batch(random_batch(batch), mesh)
    jax.block_until_ready((state, frozen, arrays))
    say(f'weights and state on the devices in {time.monotonic() - began:.1f} s')

    def once() -> None:
        nonlocal state
        state, metrics = update(state, frozen, arrays)
        jax.block_until_ready((state, metrics))

    say(f'first step {median_seconds(once, 1):.3f} s')
    seconds = median_seconds(once, values.repeats)
    say(f'{seconds:.3f} s a step, {options.batch_size / seconds:.2f} images/s, peak {memory(peak=True):.2f} GB')
    work = flops(traced.jaxpr) / 1e12
    peak = values.peak or (chip_of(mesh.devices.flat[0]).peak or 0) * mesh.size / 1e12
    share = f', {work / seconds / peak:.1%} of {peak:g}' if peak else ''
    say(f'{work:.3g} TFLOP a step, {work / seconds:.3g} TFLOP/s{share}: products and convolutions, loops as they run')


def random_batch(shapes: Mapping[str, tuple[tuple[int, ...], Any]]) -> dict[str, Any]:
    """A batch of these shapes: images of noise in [-1, 1], and empty texts."""
    import numpy as np

    rng = np.random.default_rng(0)
    return {
        name: np.zeros(shape, dtype) if np.issubdtype(dtype, np.integer) else rng.uniform(-1, 1, shape).astype(dtype)
        for name, (shape, dtype) in shapes.items()
    }


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
