"""From an empty environment to the finished picture: what can be installed, and what that costs.

    python -m benchmarks.install WHAT ...

WHAT: wheels, sdists, or folders of the source. Each goes into a new environment, without pip's cache, and has to pass a
smoke test there: its version, a line instead of a traceback where an extra is missing, `addsr doctor`, and a photograph
restored twice, with an empty cache of programs and with the one it left. Prints a table of seconds and megabytes; ends
with 1 where anything fails.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from addsr_jax import __version__
from addsr_jax.flags import say

PHOTO = """
import numpy as np
from PIL import Image
y, x = np.mgrid[:96, :128]
image = np.stack([x * 2, y * 2, 255 - x], -1).astype(np.uint8)
image[30:60, 40:80] = 255 - image[30:60, 40:80]
Image.fromarray(image).save('photo.png')
"""
SIZE = "from PIL import Image; print(*Image.open('photo_x4.png').size)"
DOWNLOADED = re.compile(r'Downloading \S+(?<!\.metadata) \(([\d.]+) (kB|MB|GB)\)')
TAKEN = re.compile(r'Processing (/\S+\.whl) \(from')
UNITS = {'kB': 1e-3, 'MB': 1.0, 'GB': 1e3}
HEAD = '| what | download, MB | install, s | disk, MB | first picture, s | second, s | empty to picture, s |'


class Failed(Exception):
    """What does not hold, in a line."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('what', nargs='+', type=Path)
    rows = []
    for what in parser.parse_args().what:
        say(f'{what} ...')
        try:
            rows.append(measured(what.resolve()))
        except Failed as error:
            say(f'{what}: {error}')
            return 1
    say('\n'.join(['', HEAD, '| --- |' + ' --- |' * 6, *rows]))
    return 0


def measured(what: Path) -> str:
    """The row of a table; Failed where the smoke test is not passed."""
    with tempfile.TemporaryDirectory(prefix='addsr-install-') as name:
        folder = Path(name)
        start = time.monotonic()
        run([sys.executable, '-m', 'venv', 'env'], folder)
        output = run(['env/bin/pip', 'install', '--no-cache-dir', '--progress-bar', 'off', str(what)], folder)
        installed = time.monotonic() - start
        disk = size(folder / 'env')
        run(['env/bin/python', '-c', PHOTO], folder)
        first, second = (picture(folder) for _ in range(2))
        check(folder)
    total = installed + first
    return (
        f'| {what.name} | {megabytes(output):.0f} | {installed:.0f} | {disk:.0f} | {first:.1f} | {second:.1f} '
        f'| {total:.0f} |'
    )


def run(words: Sequence[str], folder: Path, code: int = 0) -> str:
    """Output of a command that has to end with `code`."""
    done = subprocess.run(words, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    if done.returncode != code:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise Failed(f'{" ".join(words[:3])} ended with {done.returncode}: {" / ".join(lines[-3:])}')
    return done.stdout + done.stderr


def environment(folder: Path) -> Mapping[str, str]:
    """Without what would let the new environment find this one's packages or programs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(('PYTHON', 'VIRTUAL_ENV'))}
    return {**kept, 'ADDSR_CACHE': str(folder / 'cache')}


def picture(folder: Path) -> float:
    """Seconds of `addsr photo.png`."""
    start = time.monotonic()
    run(['env/bin/addsr', 'photo.png', '--overwrite', '--quiet'], folder)
    return time.monotonic() - start


def check(folder: Path) -> None:
    """The smoke test, beside the picture."""
    if (found := run(['env/bin/python', '-c', SIZE], folder).strip()) != '512 384':
        raise Failed(f'the picture is {found}, not 512 384')
    if (found := run(['env/bin/addsr', '--version'], folder).strip()) != f'addsr-jax {__version__}':
        raise Failed(f'the version is {found}, not {__version__}')
    said = run(['env/bin/addsr', 'demo'], folder, code=2).strip()
    if len(said.splitlines()) != 1 or '[train]' not in said:
        raise Failed(f'addsr demo says {said}')
    run(['env/bin/addsr', 'doctor'], folder)


def megabytes(output: str) -> float:
    """What pip says that it fetches, metadata of packages left out: from the net, or from folders of this machine."""
    fetched = sum(float(size) * UNITS[unit] for size, unit in DOWNLOADED.findall(output))
    return fetched + sum(Path(name).stat().st_size / 1e6 for name in TAKEN.findall(output))


def size(folder: Path) -> float:
    """MB of all files, once each."""
    files = {(s.st_dev, s.st_ino): s.st_blocks * 512 for p in folder.rglob('*') for s in (p.lstat(),)}
    return sum(files.values()) / 1e6


if __name__ == '__main__':
    sys.exit(main())
