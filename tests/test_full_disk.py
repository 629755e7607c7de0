"""A full disk is one line, what was whole stays, and the next start goes on."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SIZE = '2m'
ROOT = Path(__file__).parents[1]


def alone(*command: str) -> list[str] | None:
    """The command in a mount namespace of its own, as root or as a user who may play root; None where neither works."""
    for flags in ('-m', '-rm'):
        tried = ['unshare', flags, 'true']
        if shutil.which('unshare') and not subprocess.run(tried, check=False, capture_output=True).returncode:
            return ['unshare', flags, *command]
    return None


def test_a_full_disk_is_one_line_the_last_whole_one_stays_and_the_next_start_goes_on(tmp_path):
    script = f'mount -t tmpfs -o size={SIZE} none "$1" || exit 77; exec "$2" -m tests.full_disk "$1"'
    command = alone('sh', '-c', script, 'sh', str(tmp_path), sys.executable)
    if command is None:
        pytest.skip('this machine lets nobody mount a small disk of his own (unshare -m)')
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip(f'this machine lets nobody mount a small disk of his own: {done.stderr}')
    assert done.returncode == 0, done.stderr
    assert 'Traceback' not in done.stderr
    found = json.loads(done.stdout)
    full = 'No space left on device'
    assert found['told']['checkpoint'].endswith(
        f'cannot be written ({full}); the last whole checkpoint is 1: make room and run the same command again'
    )
    assert found['told']['tensorboard'].endswith(f'({full}): make room and run the same command again')
    for name in ('picture', 'final', 'safetensors'):
        assert full in found['told'][name], name
    assert found['kept'] == {'picture': True, 'final': 1}
    assert found['after'] == [1, [], True]
    assert found['again'] == [2, [], True]
    assert found['left'] == ['checkpoints', 'final', 'tensorboard', 'x.png']
