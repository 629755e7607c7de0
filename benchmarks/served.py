"""The page as people start it, `addsr serve`, in a process and a folder for temporary files of its own."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradio_client import Client

from addsr_jax.serving.store import PREFIX

ROOT = Path(__file__).parents[1]
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
NO_BROWSER = 'there is no Chromium: `sudo make browser` installs it, or CHROMIUM=PATH says where it is'


def chromium() -> str | None:
    """The system's browser."""
    return os.environ.get('CHROMIUM') or next(filter(None, map(shutil.which, BROWSERS)), None)


class Running:
    """`address` of the page, and what the process says and keeps."""

    def __init__(self, process: subprocess.Popen, address: str, log: Path, temporary: Path) -> None:
        self.process, self.address, self.log, self.temporary = process, address, log, temporary

    @property
    def store(self) -> Path:
        """The folder of uploads and results."""
        (found,) = self.temporary.glob(f'{PREFIX}*')
        return found

    def client(self) -> Client:
        """Another user."""
        return Client(self.address, verbose=False, download_files=False)


@contextmanager
def running(place: Path, *arguments: str) -> Iterator[Running]:
    """A server with its page ready; ended, and all of its files gone, afterwards."""
    server = start(place, *arguments)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(60)
        assert not list(server.temporary.glob(f'{PREFIX}*'))


def start(place: Path, *arguments: str) -> Running:
    """`addsr serve` with its files below `place`, and its page ready."""
    temporary, log = place / 'tmp', place / 'log.txt'
    temporary.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, '-m', 'addsr_jax.serve', '--port', '0', *arguments]
    environment = {**os.environ, 'TMPDIR': str(temporary), 'PYTHONUNBUFFERED': '1'}
    with log.open('wb') as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=ROOT, env=environment)
    for _ in range(3000):
        found = re.search(r'^http://\S+$', log.read_text(), re.MULTILINE)
        if found:
            return Running(process, found[0], log, temporary)
        if process.poll() is not None:
            break
        time.sleep(0.1)
    process.kill()
    raise RuntimeError(log.read_text())
