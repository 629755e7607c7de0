"""A server of buckets on this machine, in a process of its own, and what is asked of it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

NAME = 'photos'  # the one bucket there is


def free_port() -> int:
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


@contextmanager
def server() -> Iterator[str]:
    """Environment variables lead to it while it runs; gives 'gs://BUCKET'."""
    port = free_port()
    url = f'http://127.0.0.1:{port}'
    quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
    command = [sys.executable, '-m', 'tests.bucket_server', str(port), NAME]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], **quiet) as process:
        try:
            until = time.monotonic() + 30
            while not _answers(port):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
            names = 'STORAGE_EMULATOR_HOST', 'TENSORSTORE_GCS_HTTP_URL', 'CLOUD_STORAGE_EMULATOR_ENDPOINT'
            with mock.patch.dict(os.environ, dict.fromkeys(names, url)):  # of gcsfs, tensorstore and array_record
                yield f'gs://{NAME}'
        finally:
            process.kill()


def _answers(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(('127.0.0.1', port)) == 0


def told(capsys) -> str:
    """The one line on stderr."""
    found = capsys.readouterr()
    assert found.err.count('\n') == 1, found.err
    return found.err
