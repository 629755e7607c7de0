"""A sample of the kills that `benchmarks/kill.py` does at every operation of every write."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(sys.platform != 'linux' or shutil.which('gcc') is None, reason='kill.c needs Linux and gcc')
def test_a_write_that_is_killed_leaves_the_old_or_the_new_and_work_goes_on():
    command = [sys.executable, '-m', 'benchmarks.kill', '--sample', '2', '--only', 'picture', 'checkpoint', 'final']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split(' | ')[2] for line in done.stdout.splitlines() if line.startswith('| ')][2:] == ['2', '2', '2']
