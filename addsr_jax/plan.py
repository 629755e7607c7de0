"""addsr plan: memory, FLOPs, traffic and time of a training run or a sampler, before it starts.

    python -m addsr_jax.plan --config configs/addsr.py --topology v5e:4x4 [--config.KEY=VALUE ...]
    python -m addsr_jax.plan --sample addsr-4 --topology v5e:1x1

The program is the product's own, compiled for hardware that need not be there.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from addsr_jax.errors import UserError, guard
from addsr_jax.flags import Parser, require, say, take
from addsr_jax.options import Options, option
from addsr_jax.train import split_overrides

CONFIG = 'configs/addsr.py'


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `plan` takes beside the keys of a config."""

    config: str | None = option(
        'configs/STAGE.py, or configs/STAGE.py:nano: its train step', default=None, unset=CONFIG
    )
    topology: str = option("a TPU slice, as v5e:4x4; 'local': the devices of this machine", default='local')
    json: Path | None = option('a file for the whole plan', default=None, unset='')
    search: bool = option('compile layouts for growing batches (minutes each), and recommend one', default=False)
    sample: str | None = option(
        'METHOD-STEPS: plan this sampler instead of a train step', default=None, unset='', group='sampler'
    )
    size: str | None = option('of the networks', default=None, unset='sd2', choices=('sd2', 'nano'), group='sampler')
    side: int | None = option(
        'of the restored picture or tile',
        default=None,
        unset='512',
        low=64,
        high=8192,
        multiple_of=64,
        unit='pixels',
        group='sampler',
    )
    batch: int | None = option(
        'on each device', default=None, unset='1', low=1, high=1024, unit='pictures', group='sampler'
    )

    def check_together(self) -> None:
        if self.search and self.sample:
            raise UserError('--search looks for the layout of a training run: leave out --sample')
        if self.config and self.sample:
            raise UserError('--config is of a training run: leave out --sample')
        of_sampler = [name for name in ('size', 'side', 'batch') if getattr(self, name) is not None]
        if of_sampler and not self.sample:
            raise UserError(f'--{of_sampler[0]} is of a sampler: give --sample METHOD-STEPS, or leave it out')


def main(arguments: Sequence[str]) -> None:
    p = Parser('plan', 'What a run needs on a machine that need not be there, from the compiler of that machine.')
    p.declare(Command)
    own, overrides = split_overrides(arguments)
    command = take(p.parse_args(own), Command)
    if command.sample and overrides:
        raise UserError(f'--config.{overrides[0][0]} is of a training run: leave out --sample')
    if command.json is not None and not command.json.absolute().parent.is_dir():
        raise UserError(f'--json {command.json}: there is no folder {command.json.absolute().parent}')
    require('train', 'ml_collections', 'grain')
    if command.topology != 'local':
        os.environ.setdefault('JAX_PLATFORMS', 'cpu')  # or jax looks for the TPU that libtpu is for, and complains
    from addsr_jax.atomic import write_text
    from addsr_jax.planning import hardware
    from addsr_jax.runtime import share_one_arena

    share_one_arena()  # what tracing frees serves the compiler's threads, of which each would keep its own
    machine = hardware.machine(command.topology)
    found = search(command, overrides, machine) if command.search else [single(command, overrides, machine)]
    # where nobody says how fast the devices are: the fewest operations an image, at the largest batch
    best = max(
        found,
        key=lambda plan: (
            plan.fits, plan.images_per_second_at_40_percent or 0, -plan.flops / plan.batch_size, plan.batch_size
        ),
    )  # fmt: skip
    if command.search:
        say(f'recommended: {layout_of(best)}')
    if command.json is not None:
        told = {**best.to_json(), 'tried': [plan.to_json() for plan in found]} if command.search else best.to_json()
        write_text(command.json, json.dumps(told, indent=1) + '\n')
    if not best.fits:
        raise UserError(f'{best.program} does not fit {best.topology} with 1 GB to spare: {advice(command, best)}')


def single(command: Command, overrides: Sequence[tuple[str, str]], machine: Any) -> Any:
    """The plan of what the flags say, told."""
    from addsr_jax.planning import programs
    from addsr_jax.planning.estimate import TooLarge, estimate
    from addsr_jax.training import config as config_file

    if command.sample:
        shape = (command.size or 'sd2', command.sample, command.side or 512, command.batch or 1)
        program = programs.sampler(*shape, machine)
    else:
        program = programs.train_step(config_file.train_options(command.config or CONFIG, overrides), machine)
    try:
        plan = estimate(program, machine)
    except TooLarge as error:
        raise UserError(f'{error}: {advice(command, program)}') from error
    for line in lines(plan):
        say(line)
    return plan


def search(command: Command, overrides: Sequence[tuple[str, str]], machine: Any) -> list[Any]:
    """Plans at growing batches, each of the layout that costs least of those that fit.

    A layout that a batch is too large for is too small for all larger ones; one that costs more is no quicker.
    """
    import dataclasses

    from addsr_jax.planning import programs
    from addsr_jax.planning.estimate import TooLarge, estimate
    from addsr_jax.sharding import axes, described
    from addsr_jax.training import config as config_file
    from addsr_jax.training import fit

    options, found = config_file.train_options(command.config or CONFIG, overrides), []
    left = fit.layouts(options, len(machine.devices))
    for images in (1, 2, 4, 8):
        batch = images * len(machine.devices) * options.accumulate
        while left:
            mesh, remat = left[0]
            tried = dataclasses.replace(options, mesh=mesh, remat=remat, batch_size=batch)
            try:
                plan = estimate(programs.train_step(tried, machine), machine)
            except TooLarge as error:
                say(f'mesh {described(axes(mesh, len(machine.devices)))}, remat {remat}, batch {batch}: {error}')
            else:
                say(f'{layout_of(plan)}: {gigabytes(plan.peak_bytes_per_device)} of {gigabytes(plan.available_bytes)}')
                found.append(plan)
                if plan.fits:
                    break
            left = left[1:]
    if not found:
        raise UserError(f'no layout of {options.stage} fits {machine.name}: take more or larger devices')
    return found


def layout_of(plan: Any) -> str:
    from addsr_jax.sharding import described

    return f'mesh {described(plan.mesh)}, remat {plan.remat}, batch {plan.batch_size}'


def gigabytes(count: int | None) -> str:
    return '?' if count is None else f'{count / 1e9:.2f} GB'


def advice(command: Command, planned: Any) -> str:
    """The nearest thing that may work, of a plan or a program, as the same command takes it."""
    if command.sample:
        batch = '--batch or ' if (command.batch or 1) > 1 else ''
        return f'a smaller {batch}--side, or a larger device, may do'
    layout = '' if planned.remat == 'full' else '--config.remat=full, --config.mesh=fsdp:-1 or '
    return f'{layout}a smaller --config.batch_size may do'


def lines(plan: Any) -> Iterator[str]:
    """The plan for people; what the compiler knows first, what needs the chip last."""
    from addsr_jax.sharding import some_of

    yield f'{plan.program} on {plan.topology}: {plan.devices} devices, {layout_of(plan)}'
    yield f'compiled in {plan.compile_seconds:.0f} s, after {plan.trace_seconds:.0f} s of tracing'
    yield 'on each device, as the compiler lays it out:'
    for part, size in sorted(plan.arguments.items(), key=lambda item: -item[1]):
        yield f'  {part:38} {gigabytes(size):>10}'
    if plan.unsplit:
        yield f'  cannot be split: {some_of(plan.unsplit)} (all in --json)'
    for name, size in plan.memory.items():
        yield f'  {name:38} {gigabytes(size):>10}'
    yield f'  {"peak":38} {gigabytes(plan.peak_bytes_per_device):>10} of {gigabytes(plan.available_bytes)}'
    for kind, size in plan.collectives.items():
        yield f'  {kind:38} {gigabytes(size):>10} in {plan.collective_counts[kind]} operations'
    each = plan.flops / plan.batch_size
    yield f'{plan.flops / 1e12:.4g} TFLOP, {each / 1e12:.4g} an image (products and convolutions)'
    if plan.seconds_at_peak is None:
        yield 'nobody says what these devices can compute: `addsr benchmark train` measures it'
        return
    yield (
        f'{plan.seconds_at_peak:.3g} s at 100 % of the peak, {plan.seconds_at_40_percent:.3g} s at 40 %: '
        f'{plan.images_per_second_at_40_percent:.3g} images/s'
        + (f', {plan.days_at_40_percent:.2g} days for the run' if plan.days_at_40_percent else '')
    )
    yield "memory and traffic are the compiler's, FLOPs are counted; seconds follow from the peak: the chip may differ"


if __name__ == '__main__':
    sys.exit(guard(main))
