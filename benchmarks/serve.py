"""Many people on one page at once, and the server killed and started again in the middle.

python -m benchmarks.serve [--users 20] [--side 64]

Every user uploads a picture of their own, waits in the queue, takes the result away and looks whether it is theirs: its
size, the name in its metadata, and its mean colour. When a third has been served the process is killed (SIGKILL) and
started again on the same port; those whose connection broke begin anew. Prints a table.
"""

import argparse
import io
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from gradio_client import Client, handle_file
from PIL import Image

from addsr_jax.errors import guard
from addsr_jax.flags import say
from addsr_jax.serving.store import PREFIX
from benchmarks.served import Running, start

TRIES, PATIENCE = 20, 900  # of a user; seconds of a try


@dataclass
class User:
    """Somebody with a picture of their own, of one colour that nobody else has."""

    number: int
    side: int
    tries: int = 0
    seconds: float = 0.0
    is_mine: bool = False
    errors: list[str] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        return self.side + self.number, self.side

    @property
    def level(self) -> int:
        """Of green, of 255."""
        return 30 + 10 * self.number

    def photo(self, place: Path) -> Path:
        rng = np.random.default_rng(self.number)
        pixels = rng.integers(90, 110, (self.size[1], self.size[0], 3)).astype(np.uint8)
        pixels[..., 1] = self.level
        path = place / f'of user {self.number}.png'
        Image.fromarray(pixels).save(path)
        return path

    def work(self, address: str, photo: Path) -> None:
        """Until a result is there, or patience ends."""
        started = time.monotonic()
        while not self.is_mine and self.tries < TRIES:
            self.tries += 1
            try:
                self.is_mine = self.takes(address, photo)
            except Exception as error:  # the server is away: whatever the client makes of it
                self.errors.append(f'{type(error).__name__}: {error}')
                time.sleep(3)
        self.seconds = time.monotonic() - started

    def takes(self, address: str, photo: Path) -> bool:
        """Whether the result of one try is this user's."""
        client = Client(address, verbose=False, download_files=False)
        *_, button = client.submit(handle_file(str(photo)), 'balanced', api_name='/restore').result(PATIENCE)
        data = httpx.get(f'{address}gradio_api/file={file_of(button)}', timeout=60).raise_for_status().content
        with Image.open(io.BytesIO(data)) as image:
            named = json.loads(image.info['addsr'])['source']
            green = float(np.asarray(image.convert('RGB'))[..., 1].mean())
            size = image.size
        return size == tuple(4 * n for n in self.size) and named == photo.name and abs(green - self.level) < 8


def file_of(button: Any) -> str:
    """The path in what the client gives for a download button."""
    value = button.get('value', button) if isinstance(button, dict) else button
    return value['path'] if isinstance(value, dict) else value


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--users', type=int, default=20)
    parser.add_argument('--side', type=int, default=64)
    values = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        report(*crowd(Path(folder), values.users, values.side))


def crowd(place: Path, count: int, side: int) -> tuple[list[User], float, float, int]:
    """(users, seconds in all, seconds without a server, folders of files left after the end)."""
    port = free_port()
    server = start(place, '--port', str(port))
    try:
        users = [User(number, side) for number in range(count)]
        threads = [threading.Thread(target=user.work, args=(server.address, user.photo(place))) for user in users]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        while sum(user.is_mine for user in users) < count / 3 and any(thread.is_alive() for thread in threads):
            time.sleep(0.2)
        server, away = restarted(server, place, port)
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
    finally:
        server.process.terminate()
        server.process.wait(60)
    return users, seconds, away, len(list(server.temporary.glob(f'{PREFIX}*')))


def restarted(server: Running, place: Path, port: int) -> tuple[Running, float]:
    """Killed, and started again; and how long nobody was there."""
    killed = time.monotonic()
    server.process.kill()
    server.process.wait()
    time.sleep(5)  # as long as a supervisor waits, and a fresh folder counts as somebody's
    server = start(place, '--port', str(port))
    return server, time.monotonic() - killed


def free_port() -> int:
    with socket.create_server(('127.0.0.1', 0)) as found:
        return found.getsockname()[1]


def report(users: list[User], seconds: float, away: float, left: int) -> None:
    waits = sorted(user.seconds for user in users)
    cores = len(os.sched_getaffinity(0))
    rows = {
        f'users at once, pictures of {users[0].side} to {users[-1].size[0]} pixels, cores': f'{len(users)}, {cores}',
        'results that are their own': sum(user.is_mine for user in users),
        'users whose connection broke and who asked again': sum(user.tries > 1 for user in users),
        'seconds in all, of these without a server': f'{seconds:.0f}, {away:.0f}',
        'seconds that a user waited: median, longest': f'{waits[len(waits) // 2]:.0f}, {waits[-1]:.0f}',
        'folders left by the killed and by the ended process': left,
    }
    for user in users:
        if not user.is_mine:
            say(f'user {user.number}: {user.errors[-1:]}')
    say('| | |\n| --- | --- |')
    for name, value in rows.items():
        say(f'| {name} | {value} |')


if __name__ == '__main__':
    raise SystemExit(guard(main))
