"""Methods side by side on pairs of images: names like 'addsr-4@0.8' become functions, results become scores."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from addsr_jax.data import pairs as data_pairs
from addsr_jax.data.pairs import Pair
from addsr_jax.diffusion.methods import METHODS
from addsr_jax.evaluation import report
from addsr_jax.evaluation.figures import BASIC
from addsr_jax.restoration.pipeline import Pipeline
from addsr_jax.restoration.settings import Settings, parse_method

ANCESTRAL = [name for name, method in METHODS.items() if not method.refines]
Restore = Callable[[np.ndarray, str], np.ndarray]  # (uint8 [H, W, 3], name) -> uint8 [4 H, 4 W, 3]


@dataclass(frozen=True)
class Trial:
    """One pair, restored by every method."""

    pair: Pair
    low: np.ndarray
    high: np.ndarray
    results: dict[str, np.ndarray]
    scores: list[report.Score]


def find_pairs(
    low: Path,
    high: Path,
    limit: int | None = None,
    *,
    factor: int = 4,
    tell: Callable[[str], None] | None = None,
    without: Path | None = None,
) -> list[Pair]:
    """Pairs of two folders and of those below them; `limit` of them, spread evenly.

    UserError where a true picture is not `factor` times as large as its partner, or has none: with `tell` that is a
    line. without: a folder of results, which is not searched.
    """
    found = data_pairs.find(low, high, whole=tell is None, without=without)
    alone = len(found.high.paths) - len(found.pairs)
    if tell is not None and alone:
        tell(f'{alone} of {len(found.high.paths)} pictures in {high} have no partner in {low}, and are left out')
    count = min(limit or len(found.pairs), len(found.pairs))
    chosen = [found.pairs[i * len(found.pairs) // count] for i in range(count)]
    data_pairs.check_sizes(chosen, factor)
    return chosen


def read_pairs(pairs: Sequence[Pair], *, factor: int) -> Iterator[tuple[Pair, np.ndarray, np.ndarray]]:
    """The pictures of each pair; the high one must be `factor` times as large as the low one."""
    for pair in pairs:
        yield pair, *data_pairs.read(pair, factor)


def slowest(scores: Sequence[report.Score]) -> str | None:
    """The method that others are held against in speed: the first that takes ancestral steps, if there is one."""
    names = dict.fromkeys(s.method for s in scores)
    return next((name for name in names if name.split('-')[0] in ANCESTRAL), None)


def make_methods(names: Sequence[str], defaults: Settings, model: Callable[[], Pipeline]) -> dict[str, Restore]:
    """Names to functions; `model` is called once, and only where a method needs it."""
    parsed = {name.strip(): parse_method(name, defaults) for name in names}
    pipeline = model() if any(parsed.values()) else None
    methods: dict[str, Restore] = {}
    for name, settings in parsed.items():
        if settings is None or pipeline is None:
            methods[name] = bicubic
        else:
            methods[name] = lambda image, key, s=settings, p=pipeline: p.restore(image, s, key)
    return methods


def bicubic(image: np.ndarray, name: str) -> np.ndarray:
    size = (4 * image.shape[1], 4 * image.shape[0])
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def compare(pairs: Sequence[Pair], methods: Mapping[str, Restore], names: Sequence[str] = BASIC) -> Iterator[Trial]:
    """Every method on every pair, judged by the named figures.

    The time of a method is that of its second call on a first shape, compiled.
    """
    warm = set()
    for pair, low, high in read_pairs(pairs, factor=4):
        results, scores = {}, []
        for name, restore in methods.items():
            if (name, low.shape) not in warm:
                restore(low, pair.name)
                warm.add((name, low.shape))
            start = time.monotonic()
            results[name] = restore(low, pair.name)
            seconds = time.monotonic() - start
            scores.append(report.score(pair.name, name, results[name], high, seconds, names))
        yield Trial(pair, low, high, results, scores)


def scored(
    record: Path,
    pairs: Sequence[Pair],
    names: Sequence[str],
    methods: Callable[[Sequence[str]], Mapping[str, Restore]],
    tell: Callable[[str], None],
    metrics: Sequence[str] = BASIC,
) -> list[report.Score]:
    """Scores of every named method on every pair, kept in a file: what it holds already is not run again."""
    wanted = {(pair.name, name) for pair in pairs for name in names}
    kept = report.read_json(record) if record.exists() else []
    found = [s for s in kept if set(metrics) <= set(s.figures) or (s.image, s.method) not in wanted]
    missing = wanted - {(s.image, s.method) for s in found}
    left = [name for name in names if any(name == method for _, method in missing)]
    rest = [pair for pair in pairs if any(pair.name == image for image, _ in missing)]
    for i, trial in enumerate(compare(rest, methods(left), metrics) if rest else (), 1):
        found += [s for s in trial.scores if (s.image, s.method) in missing]
        report.write_json(record, found)
        tell(f'[{i}/{len(rest)}] {trial.pair.name}')
    return sorted((s for s in found if (s.image, s.method) in wanted), key=lambda s: names.index(s.method))
