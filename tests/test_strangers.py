"""Files of strangers, bombs and files that were changed a little: listed or refused, soon and in little memory."""

import mmap
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import strategies as st

from addsr_jax.errors import UserError
from benchmarks import fuzz, limits

ROOT = Path(__file__).parents[1]
# a part of each kind; `python -m benchmarks.bombs` has those that take long to make
SOME = (
    'numpy |',
    'spec |',
    'protocol',
    'escape codes',
    'holds itself',
    'zip64',
    'lie',
    '4 GB |',
    'a number',
    'loop',
    'words',
    'd/*: a pipe',
    'names that climb',
    'tensors |',
    'of a terabyte |',
    'GB, compressed',
    'many digits |',
)


def test_no_bomb_breaks_the_rule_or_reaches_the_last_net():
    command = [sys.executable, '-m', 'benchmarks.bombs', '--only', *SOME]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ', 0 break the rule' in done.stdout
    assert int(done.stdout.splitlines()[-1].split()[0]) > 70


TARGETS = [(kind, target) for kind, targets in fuzz.TARGETS.items() for target in targets]


@pytest.mark.parametrize(('kind', 'target'), TARGETS, ids=[f'{kind} {target.file}' for kind, target in TARGETS])
def test_changed_files_are_listed_or_refused(tmp_path, kind, target):
    with warnings.catch_warnings(action='ignore'):  # zipfile's of names that occur twice
        tally = fuzz.round_of(target, 1, 100 if kind == 'weights' else 200, tmp_path)
    assert not tally.failures, tally.failures[0]
    assert tally.outcomes['listed'] + tally.outcomes['refused'] >= 100
    assert tally.outcomes['refused']


def raising(folder):
    raise ZeroDivisionError


def executing(folder):
    subprocess.run(['true'], check=True)
    return []


def allocating(folder):
    """100 MB of the system's own: what malloc gives may be memory that earlier tests have used and freed."""
    with mmap.mmap(-1, 100_000_000) as memory:
        memory[::4096] = bytes(len(memory[::4096]))
    return []


@pytest.mark.parametrize(
    ('look', 'what'),
    [
        (raising, 'ZeroDivisionError'),
        (executing, 'EXECUTED'),
        (lambda folder: ['\x1b[2J'], 'RAW'),
        (allocating, 'too large'),
        (lambda folder: [str(sum(i * i for i in range(1_000_000)))], 'too slow'),
    ],
    ids=['raises', 'executes', 'raw', 'large', 'slow'],
)
def test_what_breaks_the_rule_is_noticed(tmp_path, monkeypatch, look, what):
    monkeypatch.setattr(limits, 'MEMORY', 20e6)
    monkeypatch.setattr(limits, 'SECONDS', 0.02)
    tally = fuzz.round_of(fuzz.Target(st.just(b'x'), 'x', look), 0, 1, tmp_path)
    assert len(tally.failures) == tally.outcomes['failed'] == 1
    assert what in tally.failures[0][0]


def test_a_call_that_raises_a_user_error_is_refused_and_one_that_returns_is_listed():
    def refused():
        raise UserError('no\nfile')

    watch = limits.Watch()
    assert limits.called(refused, watch).outcome == 'refused'
    assert limits.called(lambda: ['a'], watch).outcome == 'listed'
