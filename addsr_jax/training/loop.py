"""The one loop that runs every stage.

Order: shapes, a new run's state, compile, else the newest checkpoint's state, steps, end. Metrics of step n are fetched
after step n + 1 was dispatched, through `fetch` alone; batches reach the devices through `prefetch` alone.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from addsr_jax import places, processes, sharding
from addsr_jax.data.batches import Batches, Shapes
from addsr_jax.errors import UserError, complain
from addsr_jax.evaluation.metrics import psnr_y
from addsr_jax.runtime import compiler_options, memory
from addsr_jax.stages.base import Stage, State
from addsr_jax.training.checkpoints import Checkpoints
from addsr_jax.training.options import LoopOptions, ProfileOptions
from addsr_jax.training.prefetch import prefetch
from addsr_jax.training.step import StateShapes, compile_step, first_state, state_shapes
from addsr_jax.training.writers import Writers
from addsr_jax.trees import Tree

Batch = dict[str, np.ndarray]
NAMED = 10  # files that cannot be decoded and are named; as many are always borne with
STALLED = 60  # seconds without a batch after which that is said


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
    params: Callable[[], Tree],
    batches: Batches,
    options: LoopOptions,
    *,
    workdir: Path,
    mesh: Mesh,
    seed: int,
    held_out: Batch | None,
    record_name: Callable[[int], str],
    files: int,
    report: Callable[[str], None],
    rates: Callable[[int, int], dict[str, float]] = lambda step, steps: {},
    steps_before: int | None = None,
    shapes: StateShapes | None = None,
) -> Result:
    """Trains to `options.steps`, resuming what `workdir` holds.

    params: called once for {part: tree}, which goes when the state is there. held_out: one host batch for evaluation
    and previews, or None. record_name: of a record that could not be decoded, by its index; `files` is the number of
    all. report: gets lines for people. rates: learning rates of an update by its number and the steps of the run, which
    were `steps_before` at the start before. shapes: what `state_shapes` says of these parameters, where it was asked.
    """
    sharding.check_batch(mesh, options.batch_size, options.accumulate)
    checkpoints, rates_of = Checkpoints.open(workdir, options.keep), Rates(rates, options.steps, steps_before)
    checkpoints.check_steps(options.steps)
    own = report if processes.first() else complain_as_one_of_several
    with Signals(own) as signals:
        begun = begin(stage, params, shapes, batches.shapes, checkpoints, mesh, seed, report)
        update, preview, frozen, state, start = begun
        if start:
            report(f'resuming at step {start}')
            rates_of.say_jumps(start, report)
        writers = Writers.open(workdir, options.steps, options.batch_size, options.log_every, report)
        writers.start(start, state.params)
        undecodable = Undecodable(record_name, own, files)
        log = Log(options, writers, undecodable, checkpoints, rates_of)
        trace = Trace(options.profile, places.Outbox(workdir / 'profile'), report, log.flush, start)
        done = start
        try:
            signals.orderly = True
            with prefetch(batches(start), mesh, undecodable.count, signals.while_waiting) as source:
                for step in range(start + 1, options.steps + 1):
                    asked = time.monotonic()
                    batch = None if signals.ask_to_end_before(step) else signals.unless_asked(source)
                    if batch is None:
                        break
                    log.waited += time.monotonic() - asked
                    trace.before(step)
                    state, metrics = update(state, frozen, batch)
                    done = step
                    log.add(step, metrics)

                    score = None
                    previews, evaluates = (due(step, n, options) for n in (options.preview_every, options.eval_every))
                    if held_out is not None and (previews or evaluates):
                        wanted = () if previews else (stage.scored, 'HR')
                        with jax.set_mesh(mesh):  # as the step: split weights are gathered, not activations
                            pictures = fetch(preview(state, frozen, sharding.put_replicated(held_out, mesh), wanted))
                        if previews:
                            writers.images(step, pictures)
                        if evaluates:
                            score = mean_psnr_y(pictures[stage.scored], pictures['HR'])
                            writers.score(step, 'held_out_psnr_y', score)

                    if due(step, options.checkpoint_every, options) or score is not None:
                        log.flush()  # a state whose own metrics are not finite is never saved
                        checkpoints.save(step, state, score)
                        writers.keep()
                trace.end(done)
                log.flush()
                if done > (checkpoints.latest or 0):
                    checkpoints.save(done, state)
        finally:
            try:
                checkpoints.close()
            finally:
                writers.close()
    if done < options.steps:
        kept = 'checkpoint written' if checkpoints.latest else 'before there was anything to keep'
        report(f'stopped at step {done}, {kept}: run the same command to go on')
    return Result(state, frozen, done >= options.steps)


def begin(
    stage: Stage,
    params: Callable[[], Tree],
    shapes: StateShapes | None,
    batch: Shapes,
    checkpoints: Checkpoints,
    mesh: Mesh,
    seed: int,
    report: Callable[[str], None],
) -> tuple[Callable[..., Any], Callable[..., Any], Tree, State, int]:
    """Makes a new run's state and compiles the step, before any data is touched; else restores the newest checkpoint.

    Programs of the step and of previews, frozen parameters, state, and the updates that it has behind it.
    """
    given = params()
    shapes = shapes or state_shapes(stage, given, mesh)
    frozen = jax.device_put(stage.freeze(given), shapes.frozen_shardings)
    new = first_state(stage, given, shapes, seed) if checkpoints.latest is None else None
    del given  # what the frozen parameters and the state have not kept is freed for the compiler and the steps
    update = compile_step(stage, shapes, batch, mesh)
    preview = some_pictures(stage, mesh)
    if new is not None:
        return update, preview, frozen, new, 0
    state, step = checkpoints.restore(shapes.state, shapes.shardings, report)
    return update, preview, frozen, state, step


def some_pictures(stage: Stage, mesh: Mesh) -> Callable[..., dict[str, jax.Array]]:
    """(state, frozen parameters, batch, names) -> the pictures of these names, or all where there are no names.

    What the others alone need is not computed: the compiler leaves it out.
    """

    def pictures(state: State, frozen: Tree, batch: Any, names: tuple[str, ...]) -> dict[str, jax.Array]:
        found = stage.preview(state, frozen, batch)
        return {name: found[name] for name in names or found}

    everywhere = sharding.replicated(mesh)
    return jax.jit(pictures, static_argnums=3, out_shardings=everywhere, compiler_options=compiler_options(mesh))


def due(step: int, every: int, options: LoopOptions) -> bool:
    """Whether something that happens every so many steps, and at the last, happens at this one; 0 is never."""
    return bool(every) and (step % every == 0 or step == options.steps)


@dataclass(frozen=True)
class Rates:
    """Learning rates by name of an update, whose number and whose run's length decide them."""

    at: Callable[[int, int], dict[str, float]]
    steps: int
    steps_before: int | None  # of the start before this one

    def of(self, step: int) -> dict[str, float]:
        return self.at(step, self.steps)

    def say_jumps(self, start: int, report: Callable[[str], None]) -> None:
        """Where another length of the run makes the next update's rate another than it would have been."""
        before = self.at(start + 1, self.steps_before or self.steps)
        for name, value in self.of(start + 1).items():
            if abs(value - before[name]) > 0.1 * before[name]:
                report(f'{name} jumps from {before[name]:.3g} to {value:.3g}: steps were {self.steps_before}')


@dataclass
class Log:
    """Metrics, one step late, so that the devices never wait for the host: averaged, written, and checked."""

    options: LoopOptions
    writers: Writers
    undecodable: 'Undecodable'
    checkpoints: Checkpoints
    rates: Rates
    waited: float = 0.0  # seconds for batches since the last line
    pending: tuple[int, Any] | None = None  # step, its metrics on the devices
    since_last: list[dict[str, float]] = field(default_factory=list)

    def add(self, step: int, metrics: Any) -> None:
        """Takes the metrics of a step that was dispatched, and looks at those of the step before."""
        self.flush()
        self.pending = (step, metrics)
        self.writers.passed(step)

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
                f'{self.checkpoints.latest or "none"}: begin another --workdir with a lower '
                '--config.optimizer.learning_rate'
            )
        self.since_last.append(values)
        if due(step, self.options.log_every, self.options):
            means = {name: float(np.mean([metrics[name] for metrics in self.since_last])) for name in values}
            if self.undecodable.names:
                means['replaced_records'] = float(len(self.undecodable.names))
            means |= {**self.rates.of(step), 'memory_gb': memory(), 'data_wait_s': self.waited}
            self.writers.scalars(step, means)
            self.since_last.clear()
            self.waited = 0.0


def complain_as_one_of_several(line: str) -> None:
    """What a process that prints nothing else has to say of its own rows of the batches."""
    complain(f'process {jax.process_index()}: {line}')


@dataclass
class Undecodable:
    """Files that could not be used, each counted once: ten are named; above 1 % of all, and ten, the run stops."""

    record_name: Callable[[int], str]
    report: Callable[[str], None]
    files: int
    names: dict[int, str] = field(default_factory=dict)  # by index; '' from the eleventh on

    def count(self, flags: np.ndarray) -> None:
        """A batch's flags: the index of a record that another one stands in for, else -1."""
        for index in flags[flags >= 0].tolist():
            if index in self.names:  # from an earlier epoch
                continue
            self.names[index] = self.record_name(index) if len(self.names) < NAMED else ''
            if self.names[index]:
                self.report(f'cannot decode {self.names[index]}: replaced by the next record')
        if len(self.names) > max(0.01 * self.files, NAMED):
            raise UserError(
                f'{len(self.names)} of {self.files} files cannot be decoded, more than 1 % and more than {NAMED}: mend '
                f'or remove them; the first are {", ".join(filter(None, self.names.values()))}'
            )


def mean_psnr_y(images: np.ndarray, truth: np.ndarray) -> float:
    """Mean PSNR on luma of pictures [B, H, W, 3] in [-1, 1], as bytes."""
    pairs = zip(_to_uint8(images), _to_uint8(truth), strict=True)
    return float(np.mean([psnr_y(image, true) for image, true in pairs]))


def _to_uint8(images: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(images / 2 + 0.5, 0, 1) * 255).astype(np.uint8)


@dataclass
class Trace:
    """A trace of a few updates, for TensorBoard; every start of a run makes one, a resumed one too."""

    options: ProfileOptions
    outbox: places.Outbox
    report: Callable[[str], None]
    settle: Callable[[], None]  # waits for the updates that were dispatched: they belong to one side of the trace alone
    resumed: int  # updates done before this start of the run
    running: bool = False

    @property
    def first(self) -> int:
        return self.resumed + self.options.start

    def before(self, step: int) -> None:
        """Called before step number `step` is dispatched; the first is 1."""
        done = step - 1
        if self.running and done == self.first + self.options.steps:
            self.end(done)
        if self.options.steps and done == self.first:
            self.settle()
            jax.profiler.start_trace(str(places.absolute(self.outbox.here)))
            self.running = True

    def end(self, done: int) -> None:
        """Writes the trace, if one runs."""
        if self.running:
            self.settle()
            jax.profiler.stop_trace()
            self.outbox.send(self.report)
            self.running = False
            first = self.first + 1
            self.report(f'profile of step{f" {done}" if done == first else f"s {first} to {done}"} written')


class Asked(Exception):
    """A signal came while the loop waited for a batch."""


class Signals:
    """SIGTERM and Ctrl-C: the first asks for an orderly end after the step in flight, the second ends the process.

    Where there is nothing to save yet (while the step compiles) the first ends it. A thread hears them as they come:
    the main one may be inside the compiler, or wait for data from a disk that is gone.

    Of several processes SIGTERM to one ends all, before the same step: jax's own service, which watches for it, agrees
    on that step. Ctrl-C is not taken there.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self.report, self.caught, self.orderly = report, False, False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> 'Signals':
        if threading.current_thread() is threading.main_thread() and not processes.several():
            self._hears, self._told = os.pipe()
            os.set_blocking(self._told, False)
            self._before = {s: signal.signal(s, lambda number, frame: None) for s in (signal.SIGTERM, signal.SIGINT)}
            self._wakeup = signal.set_wakeup_fd(self._told, warn_on_full_buffer=False)
            self._thread = threading.Thread(target=self._listen, daemon=True)
            self._thread.start()
        return self

    def _listen(self) -> None:
        while heard := os.read(self._hears, 1):
            if heard[0] not in self._before:
                continue
            if self.caught or not self.orderly:
                complain('stopped at once')
                os._exit(128 + heard[0])
            self.caught = True

    def ask_to_end_before(self, step: int) -> bool:
        return multihost_utils.reached_preemption_sync_point(step) if processes.several() else self.caught

    def unless_asked(self, source: Iterator[Any]) -> Any:
        """The next batch; None where a signal came before it did."""
        try:
            return next(source)
        except Asked:
            return None

    def while_waiting(self, seconds: int) -> None:
        """Says once a minute that there is no batch, and ends the waiting where a signal came."""
        if self.caught:
            raise Asked
        if seconds % STALLED == 0:
            end = '' if processes.several() else ' Ctrl-C ends with a checkpoint'
            self.report(f'no batch for {seconds} s: are the photographs still there?{end}')

    def __exit__(self, *_: object) -> None:
        if not self._before:
            return
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._told)
        self._thread.join()
        os.close(self._hears)
