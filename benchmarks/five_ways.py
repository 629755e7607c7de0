"""One picture by command, page, Python, an artefact of jax.export and ONNX: equal, how fast, in how much memory.

    python -m benchmarks.five_ways [--repeats 3] [--workdir DIR]

Needs `pip install '.[serve,onnx]'`. Each way runs in a process of its own, on a photograph of several tiles, and is
started twice: the first start compiles or converts, the second finds what the first has kept. Tiles, noise, colour fix
and finish are the pipeline's in every way; of an artefact it is the sampler that is compared. Ends with 1 where a
picture differs from the command's by more than a level of 255.
"""

import argparse
import dataclasses
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from gradio_client import handle_file
from PIL import Image

import addsr_jax
from addsr_jax.data import pictures, sources
from addsr_jax.flags import say
from addsr_jax.restoration import exported
from addsr_jax.restoration.settings import Settings
from addsr_jax.runtime import prepare
from addsr_jax.serving.work import USUAL, WORDS
from benchmarks.serve import file_of
from benchmarks.served import running

COMMAND, PAGE, PYTHON, ARTEFACT = 'addsr upscale', 'page', 'Python', 'jax.export'
ONNX = "ONNX, load(runtime='onnx')"
IN_PYTHON = (PYTHON, ARTEFACT, ONNX)
WAYS = (COMMAND, PAGE, PYTHON, ARTEFACT, ONNX)
HEAD = (
    '| way | first start, CPU-s | next start and a picture, CPU-s | s | each further picture, CPU-s | s | peak MB '
    '| largest difference |'
)
DONE = 'done\n'
SIDES = (240, 160)  # pixels of the photograph
SETTINGS: dict[str, Any] = {'fidelity': WORDS[USUAL]}


@dataclasses.dataclass(frozen=True)
class ByArtefact:
    """`device_model.Runtime` of what `addsr export` wrote for one size of tiles."""

    artefact: exported.Artefact

    def bytes_of(self, model: Any, shape: tuple[int, int], settings: Settings) -> int:
        return 0

    def sample(self, model: Any, lq: Any, noise: Any, settings: Settings) -> Any:
        return self.artefact(np.asarray(lq, np.float32), np.asarray(noise, np.float32))


Taken = tuple[float, float]  # CPU-seconds of the process, and seconds


@dataclasses.dataclass
class Measured:
    """One start of a way: until its first picture, each further one, MB, and the picture."""

    start: Taken
    further: list[Taken]
    peak: int
    picture: np.ndarray


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--workdir', type=Path)
    parser.add_argument('--serve', choices=IN_PYTHON, help=argparse.SUPPRESS)
    values = parser.parse_args()
    if values.serve:
        serve(values.serve, values.workdir)
        return 0
    with tempfile.TemporaryDirectory(prefix='addsr-ways-') as temporary:
        place = values.workdir or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        write_photo(place / 'photo.png')
        first = {way: measured(way, place, 0) for way in WAYS}
        found = {way: measured(way, place, values.repeats) for way in WAYS}
    apart = differences({way: one.picture for way, one in found.items()})
    say('\n' + HEAD + '\n| --- |' + ' --- |' * 7)
    for way, one in found.items():
        each = [f'{statistics.median(column):.1f}' for column in zip(*one.further, strict=True)] or ['', '']
        cells = [f'{first[way].start[0]:.0f}', *(f'{n:.1f}' for n in one.start), *each, one.peak, apart[way]]
        say(f'| {way} | {" | ".join(map(str, cells))} |')
    return int(max(apart.values()) > 1)


def differences(found: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Of each picture from the command's: the largest, in levels of 255."""
    wanted = found[COMMAND].astype(np.int32)
    return {way: int(np.abs(picture.astype(np.int32) - wanted).max()) for way, picture in found.items()}


def write_photo(path: Path) -> None:
    photo = Image.fromarray(pictures.read(sources.held_out().paths[0]))
    photo.crop((100, 40, 100 + SIDES[0], 40 + SIDES[1])).save(path)


def measured(way: str, place: Path, repeats: int) -> Measured:
    """One start of a way, and `repeats` pictures more."""
    if way == PAGE:
        return by_page(place, repeats)
    if way in IN_PYTHON:
        return by_python(way, place, repeats)
    words = ['-o', str(place / 'out'), '--overwrite', '--fidelity', str(SETTINGS['fidelity'])]
    process = subprocess.Popen([sys.executable, '-m', 'addsr_jax.upscale', str(place / 'photo.png'), *words])
    watched = Watched(process)
    if process.wait():
        raise SystemExit(process.returncode)
    return Measured(watched.lap(), [], watched.peak, pictures.read(place / 'out' / 'photo_x4.png'))


def by_page(place: Path, repeats: int) -> Measured:
    laps, began = [], time.monotonic()
    with running(place / 'page') as server:
        watched, client = Watched(server.process, began), server.client()
        for _ in range(1 + repeats):
            told, *_, button = client.predict(handle_file(str(place / 'photo.png')), USUAL, api_name='/restore')
            if not told.startswith('Done'):
                raise SystemExit(f'the page says: {told}')
            data = httpx.get(f'{server.address}gradio_api/file={file_of(button)}', timeout=60).raise_for_status()
            (place / 'page.png').write_bytes(data.content)
            laps.append(watched.lap())
        return Measured(laps[0], laps[1:], watched.peak, pictures.read(place / 'page.png'))


def by_python(way: str, place: Path, repeats: int) -> Measured:
    command = [sys.executable, '-m', 'benchmarks.five_ways', '--serve', way, '--workdir', str(place)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    watched, laps = Watched(process), []
    for _ in range(1 + repeats):
        process.stdin.write('again\n')
        process.stdin.flush()
        if DONE not in process.stdout:
            raise SystemExit(process.wait())
        laps.append(watched.lap())
    process.communicate()
    return Measured(laps[0], laps[1:], watched.peak, np.load(place / 'python.npy'))


def serve(way: str, place: Path) -> None:
    """The picture, for every line on stdin."""
    prepare()
    model = addsr_jax.load('nano', runtime='onnx' if way == ONNX else 'xla')
    if way == ARTEFACT:
        model = with_artefact(model, place / 'tile.zip', SIDES, Settings(**SETTINGS))
    for _ in sys.stdin:
        np.save(place / 'python.npy', np.asarray(model.upscale(place / 'photo.png', **SETTINGS)))
        say(DONE.strip())


def with_artefact(model: Any, path: Path, size: tuple[int, int], settings: Settings) -> Any:
    """The model with an artefact for the tiles of a picture of that width and height, made where there is none."""
    if not path.exists():
        shape = model.plan(4 * size[1], 4 * size[0], settings.tile).shape
        exported.write(exported.sampled(model, settings, shape), path, ('cpu',), None)
    return dataclasses.replace(model, runtime=ByArtefact(exported.load(path)))


class Watched:
    """What a process takes, looked at while it runs: of one that has ended, the last look counts."""

    def __init__(self, process: subprocess.Popen, began: float | None = None) -> None:
        self.process, self.peak, self.cpu = process, 0, 0.0
        self.last: Taken = (0.0, time.monotonic() if began is None else began)
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self) -> None:
        while self.look():
            time.sleep(0.02)

    def look(self) -> bool:
        """Whether it still runs."""
        place = Path('/proc') / str(self.process.pid)
        try:
            status, times = (place / 'status').read_text(), (place / 'stat').read_text()
        except OSError:
            return False
        most = re.search(r'VmHWM:\s*(\d+) kB', status)
        if most is None:
            return False
        user, system = times.rpartition(')')[2].split()[11:13]
        self.peak = round(int(most[1]) * 1024 / 1e6)
        self.cpu = (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')
        return True

    def lap(self) -> Taken:
        """Since the one before, or the start."""
        self.look()
        now = (self.cpu, time.monotonic())
        taken, self.last = (now[0] - self.last[0], now[1] - self.last[1]), now
        return taken


if __name__ == '__main__':
    sys.exit(main())
