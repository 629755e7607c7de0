"""The one loop that runs every stage.

Order: shapes, compile, restore or initialise, steps, end. Metrics of step n are fetched after step n + 1 was
dispatched, through `fetch` alone; batches reach the devices through `prefetch` alone.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from addsr_jax import processes, sharding
from addsr_jax.data.batches import Batches
from addsr_jax.errors import UserError
from addsr_jax.evaluation.metrics import psnr_y
from addsr_jax.runtime import compiler_options
from addsr_jax.stages.base import Stage, State
from addsr_jax.training.checkpoints import Checkpoints
from addsr_jax.training.options import LoopOptions, ProfileOptions
from addsr_jax.training.prefetch import prefetch
from addsr_jax.training.step import compile_step, first_state, state_shapes
from addsr_jax.training.writers import Writers
from addsr_jax.trees import Tree

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Result:
    """Where a run stands when `train` returns."""

    state: State
    frozen: Tree
    finished: bool  # False: a signal asked for an early end; the checkpoint is written


def fetch(tree: Mapping[str, jax.Array]) -> dict[str, np.ndarray]:
    """The only way from device to host inside the loop."""
    return {name: np.asarray(value) for name, value in jax.device_get(dict(tree)).items()}


def train(
    stage: Stage,
    params: Tree,
    batches: Batches,
    options: LoopOptions,
    *,
    workdir: Path,
    mesh: Mesh,
    seed: int,
    held_out: Batch | None,
    record_name: Callable[[int], str],
    report: Callable[[str], None],
) -> Result:
    """Trains to `options.steps`, resuming what `workdir` holds.

    params: {part: tree} on the host. held_out: one host batch for evaluation and previews, or None.
    record_name: of a record that could not be decoded, by its index. report: gets lines for people.
    """
    sharding.check_batch(mesh, options.batch_size, options.accumulate)
    checkpoints = Checkpoints.open(workdir, options.keep)

    # The step is compiled before any data is touched.
    shapes = state_shapes(stage, params, mesh)
    frozen = jax.device_put(stage.freeze(params), shapes.frozen_shardings)
    update = compile_step(stage, shapes, batches.shapes, mesh)
    everywhere = sharding.replicated(mesh)
    preview = jax.jit(stage.preview, out_shardings=everywhere, compiler_options=compiler_options(mesh))

    # Resume, else a new state.
    if checkpoints.latest is not None:
        state, start = checkpoints.restore(shapes.state, shapes.shardings)
        report(f'resuming at step {start}')
    else:
        state, start = first_state(stage, params, shapes, seed), 0
    if start > options.steps:
        raise UserError(f'{workdir} is at step {start}, beyond --config.steps {options.steps}: raise steps')

    writers = Writers.open(workdir, options.steps, options.batch_size, options.log_every, report)
    writers.start(start, state.params)
    undecodable = Undecodable(record_name, report)
    log = Log(options, writers, undecodable, checkpoints)
    trace = Trace(options.profile, workdir / 'profile', report)
    done = start
    try:
        with Signals() as signals, prefetch(batches(start), mesh, undecodable.count) as source:
            for step in range(start + 1, options.steps + 1):
                if signals.ask_to_end_before(step):
                    break
                trace.before(step)
                state, metrics = update(state, frozen, next(source))
                done = step
                log.add(step, metrics)

                score = None
                previews, evaluates = due(step, options.preview_every, options), due(step, options.eval_every, options)
                if held_out is not None and (previews or evaluates):
                    pictures = fetch(preview(state, frozen, sharding.put_replicated(held_out, mesh)))
                    if previews:
                        writers.images(step, pictures)
                    if evaluates:
                        score = mean_psnr_y(pictures[stage.scored], pictures['HR'])
                        writers.score(step, 'held_out_psnr_y', score)

                if due(step, options.checkpoint_every, options) or score is not None:
                    log.flush()  # a state whose own metrics are not finite is never saved
                    checkpoints.save(step, state, step, None if score is None else {'psnr': score})
            trace.end(done)
            log.flush()
            if done > (checkpoints.latest or 0):
                checkpoints.save(done, state, done, None)
    finally:
        checkpoints.close()
        writers.close()
    if done < options.steps:
        report(f'stopped at step {done}, checkpoint written: run the same command to go on')
    return Result(state, frozen, done >= options.steps)


def due(step: int, every: int, options: LoopOptions) -> bool:
    """Whether something that happens every so many steps, and at the last, happens at this one; 0 is never."""
    return bool(every) and (step % every == 0 or step == options.steps)


@dataclass
class Log:
    """Metrics, one step late, so that the devices never wait for the host: averaged, written, and checked."""

    options: LoopOptions
    writers: Writers
    undecodable: 'Undecodable'
    checkpoints: Checkpoints
    pending: tuple[int, Any] | None = None  # step, its metrics on the devices
    since_last: list[dict[str, float]] = field(default_factory=list)

    def add(self, step: int, metrics: Any) -> None:
        """Takes the metrics of a step that was dispatched, and looks at those of the step before."""
        self.flush()
        self.pending = (step, metrics)
        self.writers.progress(step, time.time())

    def flush(self) -> None:
        """Looks at what was taken; a UserError where a metric is not finite."""
        if self.pending is None:
            return
        (step, metrics), self.pending = self.pending, None
        values = {name: float(value) for name, value in fetch(metrics).items()}
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            raise UserError(
                f'training stopped at step {step}: {", ".join(bad)} is not finite; the last checkpoint is '
                f'{self.checkpoints.latest or "none"}: lower the learning rate and run again'
            )
        self.since_last.append(values)
        if due(step, self.options.log_every, self.options):
            means = {name: float(np.mean([metrics[name] for metrics in self.since_last])) for name in values}
            if self.undecodable.indices:
                means['replaced_records'] = float(len(self.undecodable.indices))
            self.writers.scalars(step, means)
            self.since_last.clear()


@dataclass
class Undecodable:
    """Records that could not be decoded: the first ten are named; above 1 % of all the run stops."""

    record_name: Callable[[int], str]
    report: Callable[[str], None]
    records: int = 0
    indices: list[int] = field(default_factory=list)

    def count(self, flags: np.ndarray) -> None:
        """A batch's flags: the index of a record that another one stands in for, else -1."""
        self.records += len(flags)
        for index in flags[flags >= 0].tolist():
            known = index in self.indices  # from an earlier epoch
            self.indices.append(index)
            if not known and len(self.indices) <= 10:
                self.report(f'cannot decode {self.record_name(index)}: replaced by the next record')
        if len(self.indices) > max(0.01 * self.records, 10):
            raise UserError(
                f'{len(self.indices)} of {self.records} records cannot be decoded, more than 1 %; the first is '
                f'{self.record_name(self.indices[0])}: mend or remove them'
            )


def mean_psnr_y(images: np.ndarray, truth: np.ndarray) -> float:
    """Mean PSNR on luma of pictures [B, H, W, 3] in [-1, 1], as bytes."""
    pairs = zip(_to_uint8(images), _to_uint8(truth), strict=True)
    return float(np.mean([psnr_y(image, true) for image, true in pairs]))


def _to_uint8(images: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(images / 2 + 0.5, 0, 1) * 255).astype(np.uint8)


@dataclass
class Trace:
    """A trace of a few updates, for TensorBoard."""

    options: ProfileOptions
    folder: Path
    report: Callable[[str], None]
    running: bool = False

    def before(self, step: int) -> None:
        """Called before step number `step` is dispatched; the first is 1."""
        done = step - 1
        if self.running and done == self.options.start + self.options.steps:
            self.end(done)
        if self.options.steps and done == self.options.start:
            jax.profiler.start_trace(str(self.folder.absolute()))
            self.running = True

    def end(self, done: int) -> None:
        """Writes the trace, if one runs."""
        if self.running:
            jax.profiler.stop_trace()
            self.running = False
            self.report(f'profile of steps {self.options.start} to {done} written')


class Signals:
    """SIGTERM and Ctrl-C ask for an orderly end after the step in flight.

    Of several processes SIGTERM to one ends all, before the same step: jax's own service, which watches for it, agrees
    on that step. Ctrl-C is not taken there.
    """

    def __enter__(self) -> 'Signals':
        self.caught = False
        self._before = {}
        if threading.current_thread() is threading.main_thread() and not processes.several():
            self._before = {s: signal.signal(s, self._catch) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def ask_to_end_before(self, step: int) -> bool:
        return multihost_utils.reached_preemption_sync_point(step) if processes.several() else self.caught

    def _catch(self, number: int, frame: Any) -> None:
        self.caught = True

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
