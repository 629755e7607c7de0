"""The loop: resumed runs end where unbroken ones do, and everything that can go wrong is one clear line."""

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import time
import weakref
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest

from addsr_jax import sharding
from addsr_jax.errors import UserError
from addsr_jax.training import loop
from addsr_jax.training.checkpoints import Checkpoints
from addsr_jax.training.options import ProfileOptions
from addsr_jax.weights import older
from tests import tiny
from tests.stages import toy
from tests.training.common import assert_equal, run


@dataclasses.dataclass(frozen=True)
class Troubled(tiny.Batches):
    """Batches of which number `at` is spoiled."""

    at: int = 3
    kind: str = 'nan'
    after: str = ''  # a signal waits for this path

    def __call__(self, start):
        for n, batch in enumerate(super().__call__(start), start):
            if n == self.at and self.kind == 'nan':
                batch = {**batch, 'hr': np.full_like(batch['hr'], np.nan)}
            if n == self.at and self.kind == 'broken':
                batch = {**batch, 'replaced': np.arange(self.size, dtype=np.int32)}
            if n >= self.at and self.kind == 'many broken':
                batch = {**batch, 'replaced': np.arange(self.size, dtype=np.int32)}
            if n == self.at and self.kind in ('SIGTERM', 'SIGINT', 'SIGKILL'):
                while self.after and not Path(self.after).exists():
                    time.sleep(0.05)
                os.kill(os.getpid(), getattr(signal, self.kind))
            yield batch


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A run that nothing interrupts."""
    return run(tmp_path_factory.mktemp('whole'))


def test_weights_that_the_state_was_made_of_are_let_go_before_the_first_batch(tmp_path):
    given = [jax.tree.map(jax.numpy.copy, toy.bundle())]
    leaves = [weakref.ref(leaf) for leaf in jax.tree.leaves(given[0])]
    alive: list[int] = []

    @dataclasses.dataclass(frozen=True)
    class Watching(tiny.Batches):
        def __call__(self, start):
            alive.append(sum(leaf() is not None for leaf in leaves))
            yield from super().__call__(start)

    run(tmp_path, params=given.pop, batches=Watching(), steps=1)
    assert alive == [0]


def test_a_run_stopped_at_half_and_started_again_ends_bit_for_bit_the_same(tmp_path, whole):
    assert run(tmp_path, steps=3).finished
    lines: list[str] = []
    again = run(tmp_path, report=lines.append)
    assert lines[0] == 'resuming at step 3'
    assert_equal(again.state, whole.state)


def test_a_run_goes_on_on_a_mesh_of_other_axes(tmp_path, monkeypatch):
    monkeypatch.setattr(sharding, 'SMALL', 1)  # the toy's kernels of 4 x 4 are split too
    run(tmp_path, steps=3, mesh='data:8')
    lines: list[str] = []
    again = run(tmp_path, mesh='data:2,fsdp:4', report=lines.append)
    assert lines[0] == 'resuming at step 3'
    assert again.finished
    assert any(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(again.state.params))


def test_a_workdir_of_version_0_1_goes_on_to_the_same_end(tmp_path, whole):
    state = run(tmp_path / 'now', steps=4).state
    before = Checkpoints.open(tmp_path / 'before', keep=2)
    before.save(4, older.state_without_parts(state))
    before.close()
    assert_equal(run(tmp_path / 'before').state, whole.state)


def test_learning_rates_waits_and_memory_are_told_and_a_jump_of_the_rate_is_said(tmp_path):
    def rates(step, steps):
        return {'learning_rate': 0.1 * (1 - (step - 1) / steps)}

    lines: list[str] = []
    run(tmp_path, steps=4, rates=rates, report=lines.append)
    assert 'learning_rate 0.075 ' in lines[0]
    assert 'data_wait_s ' in lines[0]
    assert 'memory_gb ' in lines[0]
    lines.clear()
    run(tmp_path, steps=8, rates=rates, steps_before=4, report=lines.append)
    assert lines[:2] == ['resuming at step 4', 'learning_rate jumps from 0 to 0.05: steps were 4']
    lines.clear()
    run(tmp_path, steps=8, rates=rates, steps_before=8, report=lines.append)
    assert not any('jumps' in line for line in lines)


def test_a_finished_run_is_not_trained_further(tmp_path, whole):
    run(tmp_path)
    assert_equal(run(tmp_path).state, whole.state)
    with pytest.raises(UserError, match=r'beyond --config\.steps 4'):
        run(tmp_path, steps=4)


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT'])
def test_a_signal_saves_and_ends_and_the_next_start_goes_on(tmp_path, whole, name):
    lines: list[str] = []
    stopped = run(tmp_path, batches=Troubled(at=3, kind=name), report=lines.append, checkpoint_every=100)
    assert not stopped.finished
    assert 'run the same command to go on' in lines[-1]
    assert 0 < int(stopped.state.step) < 6
    assert_equal(run(tmp_path).state, whole.state)


@dataclasses.dataclass(frozen=True)
class Stuck(tiny.Batches):
    """Batches of a disk that is gone after two, for a while."""

    def __call__(self, start):
        yield from itertools.islice(super().__call__(start), 2)
        time.sleep(4)


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT'])
def test_a_signal_saves_and_ends_while_the_data_hang_and_a_stall_is_said(tmp_path, whole, name, monkeypatch):
    monkeypatch.setattr(loop, 'STALLED', 1)
    lines: list[str] = []

    def report(line):
        lines.append(line)
        if line.startswith('no batch for 1 s'):
            os.kill(os.getpid(), getattr(signal, name))

    stopped = run(tmp_path, batches=Stuck(), report=report, checkpoint_every=100)
    assert int(stopped.state.step) == 2
    assert 'run the same command to go on' in lines[-1]
    assert_equal(run(tmp_path).state, whole.state)


def ended(body: str) -> tuple[int, str]:
    """Exit code and stderr of a process that runs `body` with training's signals."""
    code = (
        'import os, signal, time\n'
        'from addsr_jax.training.loop import Signals\n'
        'with Signals(print) as signals:\n' + body + '    time.sleep(20)\n'
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT'])
def test_a_second_signal_and_one_before_the_first_step_end_the_process_at_once(name):
    kill = f'    os.kill(os.getpid(), signal.{name})\n'
    number = getattr(signal, name)
    assert ended(kill) == (128 + number, 'addsr: stopped at once\n')
    assert ended(f'    signals.orderly = True\n{kill}    time.sleep(0.5)\n{kill}') == (
        128 + number,
        'addsr: stopped at once\n',
    )


def test_kill_minus_nine_costs_only_the_steps_since_the_last_checkpoint(tmp_path, whole):
    code = (
        'import tests.conftest\n'
        'from pathlib import Path\n'
        'from tests.training.common import run\n'
        'from tests.training.test_loop import Troubled\n'
        f"run(Path({str(tmp_path)!r}), batches=Troubled(8, 5, 'SIGKILL', '{tmp_path}/checkpoints/2'))\n"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    lines: list[str] = []
    again = run(tmp_path, report=lines.append)
    assert lines[0] in ('resuming at step 2', 'resuming at step 4')
    assert_equal(again.state, whole.state)


def test_a_loss_that_is_not_finite_stops_the_run_names_it_and_is_never_saved(tmp_path, whole):
    with pytest.raises(UserError, match=r'stopped at step 4: .*mse.* not finite; the last checkpoint is 2'):
        run(tmp_path, batches=Troubled())
    assert_equal(run(tmp_path).state, whole.state)


def test_a_few_records_that_cannot_be_decoded_are_named_and_counted(tmp_path):
    lines: list[str] = []
    run(tmp_path, batches=Troubled(kind='broken'), report=lines.append)
    named = [line for line in lines if line.startswith('cannot decode')]
    assert named == [f'cannot decode photo {i}: replaced by the next record' for i in range(8)]
    assert any('replaced_records 8' in line for line in lines)


@dataclasses.dataclass(frozen=True)
class Late(Troubled):
    """The third batch lets wait for itself."""

    def __call__(self, start):
        for n, batch in enumerate(super().__call__(start)):
            time.sleep(2.5 if n == 2 else 0)
            yield batch


def test_a_process_that_prints_nothing_else_names_its_own_files_and_says_that_it_waits(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, 'STALLED', 1)
    monkeypatch.setattr(loop.processes, 'first', lambda: False)
    run(tmp_path, batches=Late(at=0, kind='broken'), steps=3)
    told = capsys.readouterr().err
    assert 'addsr: process 0: cannot decode photo 0: replaced by the next record\n' in told
    assert 'addsr: process 0: no batch for 1 s: are the photographs still there?' in told


def test_files_that_come_again_and_again_do_not_end_a_run_and_are_named_and_counted_once(tmp_path):
    lines: list[str] = []
    assert run(tmp_path, batches=Troubled(kind='many broken', at=0), files=99, report=lines.append).finished
    named = [line for line in lines if line.startswith('cannot decode')]
    assert named == [f'cannot decode photo {i}: replaced by the next record' for i in range(8)]
    assert any('replaced_records 8' in line for line in lines)


@pytest.mark.parametrize(('files', 'borne'), [(12, 10), (99, 10), (5000, 50)])
def test_more_files_than_one_in_a_hundred_and_ten_end_a_run_and_are_named(files, borne):
    lines: list[str] = []
    undecodable = loop.Undecodable(lambda index: f'photo {index}', lines.append, files)
    for epoch in range(3):
        undecodable.count(np.arange(borne))
        assert len(lines) == 10, epoch
    told = ', '.join(f'photo {i}' for i in range(10))
    with pytest.raises(UserError, match=f'{borne + 1} of {files} files cannot be decoded, .*; the first are {told}$'):
        undecodable.count(np.array([-1, borne]))


def test_the_loop_moves_data_to_the_devices_through_the_prefetch_alone(tmp_path, monkeypatch):
    original = loop.prefetch

    @contextmanager
    def guarded(*arguments):
        with original(*arguments) as source, jax.transfer_guard_host_to_device('disallow'):
            yield source

    monkeypatch.setattr(loop, 'prefetch', guarded)
    assert run(tmp_path).finished


def test_metrics_come_from_the_devices_through_fetch_alone_and_once_a_step(tmp_path, monkeypatch):
    calls, original = [], loop.fetch

    def counted(tree):
        calls.append(sorted(tree))
        return original(tree)

    monkeypatch.setattr(loop, 'fetch', counted)
    run(tmp_path, checkpoint_every=100)
    assert calls == [['gradient_norm', 'loss', 'mse']] * 6


def test_progress_says_step_terms_speed_and_time_left(tmp_path):
    lines: list[str] = []
    run(tmp_path, report=lines.append)
    told = [line for line in lines if line.startswith('step ')]
    assert [line.split()[1] for line in told] == ['2/6', '4/6', '6/6']
    assert all(word in told[0] for word in ('mse', 'gradient_norm', 'images/s', 'ETA 0:'))


def test_what_a_picture_alone_needs_is_not_computed_where_nobody_sees_it():
    computed = []

    def picture(name, images):
        shape = jax.ShapeDtypeStruct(images.shape, images.dtype)
        return jax.pure_callback(lambda x: (computed.append(name), x)[1], shape, images)

    def preview(state, frozen, batch):
        return {name: picture(name, batch[of]) for name, of in (('LQ', 'lq'), ('teacher', 'lq'), ('HR', 'hr'))}

    made = dataclasses.replace(toy.stage('seesr'), preview=preview)
    pictures = loop.some_pictures(made, sharding.make_mesh('data:1', jax.devices()[:1]))
    for names, wanted in ((('teacher', 'HR'), ['HR', 'teacher']), ((), ['HR', 'LQ', 'teacher'])):
        found = jax.block_until_ready(pictures(None, None, tiny.batch(9), names))
        assert sorted(found) == sorted(computed) == wanted
        computed.clear()


def test_evaluation_scores_the_held_out_batch_writes_grids_and_keeps_the_best(tmp_path, monkeypatch):
    lines: list[str] = []
    fetched, fetch = [], loop.fetch
    monkeypatch.setattr(loop, 'fetch', lambda tree: (fetched.append(sorted(tree)), fetch(tree))[1])
    run(
        tmp_path,
        eval_every=1,
        preview_every=3,
        checkpoint_every=100,
        keep=1,
        held_out=tiny.batch(9),
        report=lines.append,
    )
    scores = {int(line.split()[1]): float(line.split()[-1]) for line in lines if 'held_out_psnr_y' in line}
    assert sorted(scores) == [1, 2, 3, 4, 5, 6]
    assert [names for names in fetched if 'HR' in names] == 2 * [*2 * [['HR', 'teacher']], ['HR', 'LQ', 'teacher']]
    kept = sorted(int(p.name) for p in (tmp_path / 'checkpoints').iterdir())
    assert kept == sorted({6, max(scores, key=lambda step: scores[step])})
    assert Checkpoints.open(tmp_path, 1).scores == {step: pytest.approx(scores[step], abs=0.01) for step in kept}
    tags = events(tmp_path / 'tensorboard')
    assert {'loss', 'images_per_second', 'held_out_psnr_y'} <= tags
    assert 'LQ | teacher | HR' in tags


def events(folder: Path) -> set[str]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found = [event for path in folder.iterdir() for event in EventFileLoader(str(path)).Load()]
    return {value.tag.removesuffix('/image/0') for event in found for value in event.summary.value}


def test_a_profile_of_the_window_is_written(tmp_path):
    lines: list[str] = []
    run(tmp_path, steps=3, profile=ProfileOptions(start=1, steps=1), report=lines.append)
    assert any('profile of step 2 written' in line for line in lines)
    assert list((tmp_path / 'profile').rglob('*.xplane.pb'))


def test_a_resumed_run_makes_a_profile_of_the_same_length(tmp_path):
    run(tmp_path, steps=3)
    lines: list[str] = []
    run(tmp_path, profile=ProfileOptions(start=1, steps=1), report=lines.append)
    assert any('profile of step 5 written' in line for line in lines)
    assert list((tmp_path / 'profile').rglob('*.xplane.pb'))


def test_a_profile_that_the_end_of_the_run_cuts_short_is_written(tmp_path):
    lines: list[str] = []
    run(tmp_path, steps=2, profile=ProfileOptions(start=1, steps=5), report=lines.append)
    assert any('profile of step 2 written' in line for line in lines)
    assert list((tmp_path / 'profile').rglob('*.xplane.pb'))


@pytest.mark.parametrize('key', ['steps', 'batch_size', 'keep', 'log_every', 'checkpoint_every', 'accumulate'])
def test_counts_below_one_are_refused_by_name(tmp_path, key):
    with pytest.raises(UserError, match=f'^{key} is 0'):
        run(tmp_path, **{key: 0})
    assert not list(tmp_path.iterdir())


def test_a_batch_that_devices_cannot_share_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match='not divisible by 8 devices'):
        run(tmp_path, batch_size=12, mesh='data:8')
    assert not list(tmp_path.iterdir())
