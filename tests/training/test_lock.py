"""Two runs never train in one workdir, and a killed one leaves no lock behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from addsr_jax.errors import UserError
from addsr_jax.training import lock

ROOT = Path(__file__).parents[2]


def inside(workdir):
    """A process that is inside, and has said so."""
    code = (
        'import sys, time; from pathlib import Path; from addsr_jax.training import lock\n'
        f'with lock.alone(Path({str(workdir)!r}), print):\n    print("in", flush=True)\n    time.sleep(60)'
    )
    process = subprocess.Popen([sys.executable, '-c', code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == 'in\n'
    return process


def test_a_second_run_is_refused_until_the_first_has_ended_even_by_kill_minus_nine(tmp_path):
    with inside(tmp_path) as process:
        with pytest.raises(UserError, match='another run trains in'), lock.alone(tmp_path, print):
            raise AssertionError
        process.kill()
    with lock.alone(tmp_path, print):
        pass


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='run cannot be written'), lock.alone(tmp_path / 'file' / 'run', print):
        raise AssertionError


def test_a_disk_without_locks_is_said_and_does_not_stop_a_run(tmp_path, monkeypatch):
    def without(*_):
        raise OSError(37, 'No locks available')

    monkeypatch.setattr(lock.fcntl, 'flock', without)
    lines = []
    with lock.alone(tmp_path, lines.append):
        pass
    assert lines == [f'{tmp_path} cannot be locked (No locks available): see that nobody else writes there']
