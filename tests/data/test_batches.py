"""Batches: the same for any number of threads and workers, from any position, with undecodable records replaced."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from addsr_jax.data import sources
from addsr_jax.data.batches import FRAMES, Decoded, described, make_batches, random_crop
from addsr_jax.data.options import DataOptions
from addsr_jax.data.tokens import load_tokenizer
from addsr_jax.errors import UserError
from addsr_jax.weights.bundle import NANO
from tests.data import photos

OPTIONS = DataOptions(hr_size=80, captions='record', degraded_target=0.3, threads=0)
TOKENIZER = load_tokenizer(NANO / 'tokenizer')


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    return sources.folder(str(photos.folder(tmp_path_factory.mktemp('photos'), 6)))


def made(source, process=(0, 1), batch_size=4, seed=3, **changes):
    return make_batches(
        dataclasses.replace(OPTIONS, **changes),
        source,
        TOKENIZER,
        batch_size=batch_size,
        seed=seed,
        process_index=process[0],
        process_count=process[1],
    )


def batches(source, start=0, count=3, **changes):
    return list(islice(made(source, **changes)(start), count))


def same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        for name in x:
            np.testing.assert_array_equal(x[name], y[name], err_msg=name)


def test_a_batch_has_the_shapes_and_ranges_that_the_step_is_compiled_for(source):
    data = made(source)
    batch = next(data(0))
    assert {k: (v.shape, v.dtype) for k, v in batch.items() if k != 'replaced'} == data.shapes
    for name in ('hr', 'lq'):
        assert -1 <= batch[name].min() < batch[name].max() <= 1
    assert (batch['replaced'] == -1).all()


@pytest.mark.parametrize(('threads', 'workers'), [(1, 0), (3, 0), (0, 2)])
def test_batches_and_their_order_do_not_depend_on_threads_or_workers(source, threads, workers):
    same(batches(source), batches(source, threads=threads, workers=workers))


@pytest.mark.parametrize('threads', [0, 2])
def test_a_start_in_the_middle_gives_the_rest_of_the_same_batches(source, threads):
    same(batches(source, count=5)[3:], batches(source, start=3, count=2, threads=threads))


@pytest.mark.parametrize('threads', [0, 2])
def test_batches_of_one_are_the_rows_of_larger_ones(source, threads):
    single = batches(source, start=4, count=4, batch_size=1, threads=threads)
    joined = {name: np.concatenate([row[name] for row in single]) for name in single[0]}
    same([joined], batches(source, start=1, count=1))


def test_epochs_and_seeds_differ(source):
    first, second = batches(source, count=1, batch_size=6), batches(source, start=1, count=1, batch_size=6)
    assert (first[0]['hr'] != second[0]['hr']).any()
    assert (first[0]['hr'] != batches(source, count=1, batch_size=6, seed=4)[0]['hr']).any()


@pytest.mark.parametrize('processes', [2, 4])
@pytest.mark.parametrize('workers', [0, 2])
def test_processes_make_the_rows_of_the_batches_that_one_process_makes(source, processes, workers):
    parts = [batches(source, process=(i, processes), start=1, workers=workers) for i in range(processes)]
    joined = [{name: np.concatenate([p[name] for p in row]) for name in row[0]} for row in zip(*parts, strict=True)]
    same(joined, batches(source, start=1))


def test_captions_are_empty_as_often_as_the_config_says(source):
    empty = TOKENIZER([''])[0]
    for share, wanted in ((0.0, 0), (1.0, 12)):
        got = batches(source, null_text=share, batch_size=12, count=1)[0]['tokens']
        assert (got == empty).all(axis=1).sum() == wanted


def test_sidecar_captions_reach_the_tokens(tmp_path):
    photos.folder(tmp_path, 1)
    (tmp_path / '00.txt').write_text('sharp, clean')
    out = batches(sources.folder(str(tmp_path)), captions='sidecar', degraded_target=0.0, null_text=0.0, count=1)
    np.testing.assert_array_equal(out[0]['tokens'], TOKENIZER(['sharp, clean'] * 4))


def test_a_broken_record_is_replaced_by_the_next_and_flagged(tmp_path):
    photos.folder(tmp_path, 5)
    (tmp_path / '02.png').write_bytes(b'broken')
    got = batches(sources.folder(str(tmp_path)), batch_size=5, count=1)[0]
    assert sorted(got['replaced'].tolist()) == [-1, -1, -1, -1, 2]


def _row(path):
    Image.fromarray(np.zeros((1, 200, 3), np.uint8)).save(path)


UNUSABLE = {
    'broken': (lambda path: path.write_bytes(b'broken'), 'cannot be read as an image: it is no'),
    'a row of pixels': (_row, 'is too small, 200 x 1: training takes 16 pixels a side'),
    'gone': (lambda path: path.unlink(), 'it is gone'),
    'a caption of Windows': (
        lambda path: path.with_suffix('.txt').write_bytes(b'caf\xe9'),
        'caption that is not UTF-8',
    ),
}


@pytest.mark.parametrize('kind', UNUSABLE)
def test_a_record_that_cannot_be_used_is_replaced_by_the_next_and_described(kind, tmp_path):
    spoil, reason = UNUSABLE[kind]
    photos.folder(tmp_path, 3)
    source = sources.folder(str(tmp_path))
    spoil(tmp_path / '01.png')
    record, following = Decoded(source)[1], Decoded(source)[2]
    assert (record['replaced'], following['replaced']) == (1, -1)
    np.testing.assert_array_equal(record['image'], following['image'])
    text = described(source, 1)
    assert text.startswith(f'{tmp_path / "01.png"} (')
    assert reason in text


def test_a_source_of_which_nothing_can_be_used_ends_with_the_first_name_and_its_reason(tmp_path):
    for name in ('a.png', 'b.png'):
        (tmp_path / name).write_bytes(b'broken')
    with pytest.raises(UserError, match=r'none of 2 records can be used, from .*b\.png \(cannot be read as an image'):
        Decoded(sources.folder(str(tmp_path)))[1]


@pytest.mark.parametrize(
    'change',
    [
        {'hr_size': 72},
        {'hr_size': 90},
        {'degradation': 'none'},
        {'captions': 'tags'},
        {'null_text': 1.5},
        {'degraded_target': 0.5, 'captions': 'sidecar'},
        {'threads': -1},
    ],
)
def test_impossible_values_are_refused_by_name(change):
    with pytest.raises(UserError, match=f'^{next(iter(change))} is'):
        dataclasses.replace(OPTIONS, **change)


def test_pictures_smaller_than_the_crop_are_mirrored_up_to_it():
    small = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    out = random_crop(small, 32, np.random.default_rng(0))
    assert out.shape == (32, 32, 3)
    assert set(out.reshape(-1)) == set(small.reshape(-1))


@pytest.mark.parametrize('shape', [(1, 200, 3), (200, 1, 3), (1, 1, 3)])
def test_a_picture_without_anything_to_reflect_is_refused_and_not_mirrored_for_ever(shape):
    with pytest.raises(UserError, match='nothing to reflect'):
        random_crop(np.zeros(shape, np.uint8), 32, np.random.default_rng(0))


def test_workers_end_and_shared_memory_is_freed_when_the_process_that_started_them_is_killed():
    code = (
        'import os\n'
        'from addsr_jax.data import sources\n'
        'from tests.data.test_batches import made\n'
        'batches = made(sources.sample_photos(), workers=1)(0)\n'
        'next(batches)\n'
        'print(*os.listdir("/dev/shm"), flush=True)\n'
        'os.kill(os.getpid(), 9)\n'
    )
    before = set(os.listdir('/dev/shm'))
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, '-c', code], cwd=root, stdout=subprocess.PIPE, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL  # and whoever had its stdout has ended, too
    shared = set(done.stdout.decode().split()) - before
    assert shared
    end = time.monotonic() + 60  # the tracker of what is shared sees that all are gone, and removes it
    while (left := shared & set(os.listdir('/dev/shm'))) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left


def test_a_worker_that_was_killed_for_its_memory_is_no_fault_of_the_package():
    code = (
        'import multiprocessing, os, sys\n'
        'from addsr_jax.data import sources\n'
        'from addsr_jax.errors import guard\n'
        'from tests.data.test_batches import made\n'
        'def command(arguments):\n'
        '    batches = made(sources.sample_photos(), workers=1)(0)\n'
        '    next(batches)\n'
        '    os.kill(multiprocessing.active_children()[0].pid, 9)\n'
        '    for _ in range(20): next(batches)\n'
        'code = guard(command, [])\n'
        'os._exit(code)\n'
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, timeout=300, check=False)
    assert done.returncode == 1
    assert b'addsr: a data worker was killed, as the system does where memory is short' in done.stderr
    assert b'fewer --config.data.workers' in done.stderr
    assert b'fault of addsr' not in done.stderr


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=['a terminal', 'SLURM or systemd'])
def test_workers_leave_a_signal_to_the_whole_group_to_the_process_that_started_them(number):
    code = (
        'import os, signal\n'
        'from addsr_jax.data import sources\n'
        'from tests.data.test_batches import made\n'
        f'signal.signal({number}, lambda *_: None)\n'  # as training does, which ends after the step
        'batches = made(sources.sample_photos(), workers=1)(0)\n'
        'next(batches)\n'
        f'os.killpg(0, {number})\n'
        'print(*(next(batches)["hr"].shape[0] for _ in range(6)), flush=True)\n'
        'os.kill(os.getpid(), 9)\n'
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, cwd=root, capture_output=True, timeout=300, check=False, start_new_session=True)
    assert len(done.stdout.split()) == 6
    assert b'KeyboardInterrupt' not in done.stderr


def test_a_whole_photograph_is_squeezed_into_the_square_and_a_crop_is_not():
    image = np.zeros((40, 200, 3), np.uint8)
    image[:, 100:] = 200  # its right half
    rng = np.random.default_rng(0)
    whole = FRAMES['whole'](image, 96, rng)
    assert whole.shape == (96, 96, 3)
    assert (whole[:, :44] == 0).all()
    assert (whole[:, 52:] == 200).all()
    assert FRAMES['crop'](image, 32, rng).shape == (32, 32, 3)
