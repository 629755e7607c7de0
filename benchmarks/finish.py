"""Grain and colours of finished pictures: what is left on flat areas, and how near chroma is to the photograph's.

    python -m benchmarks.finish --lq LQ --hr HR [--limit N] [--methods bicubic,addsr-4]
        [--color wavelet] [--grain 0] [--overshoot 0.3]

Prints a table, with the bounds of the finish and without them (docs/nano.md). Grain: the mean standard deviation of
luma and of the two chroma channels (levels of 255) in windows of 7 pixels, where the HR picture varies by less than
FLAT levels around; pictures with hardly any such place are left out of it. Chroma PSNR: of both channels, whole
pictures, the mean of all.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

from addsr_jax.data.pairs import Pair
from addsr_jax.flags import say
from addsr_jax.restoration import comparison, pipeline
from addsr_jax.restoration.comparison import Restore
from addsr_jax.restoration.settings import Settings
from addsr_jax.runtime import prepare
from addsr_jax.specs import COLORS

FLAT = 1.2  # levels of 255, in windows of 15 pixels of the smoothed photograph
LEAST = 0.02  # of a picture has to be flat
UNBOUNDED = 10.0  # an overshoot that nothing reaches


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--lq', type=Path, required=True)
    parser.add_argument('--hr', type=Path, required=True)
    parser.add_argument('--limit', type=int)
    parser.add_argument('--methods', default='bicubic,addsr-1,addsr-4')
    parser.add_argument('--weights', default='nano')
    parser.add_argument('--color', choices=COLORS, help="colour fix (default: the model's own)")
    parser.add_argument('--grain', type=float, help="levels of 255 that are smoothed (default: the model's own)")
    parser.add_argument('--overshoot', type=float, help="beyond the input's range (default: the model's own)")
    values = parser.parse_args()
    prepare()
    settings = Settings(color=values.color, grain=values.grain, overshoot=values.overshoot)
    names = values.methods.split(',')
    pairs = comparison.find_pairs(values.lq, values.hr, values.limit)
    load = lru_cache(partial(pipeline.load, values.weights))
    bounded = measured(pairs, comparison.make_methods(names, settings, load))
    free = measured(pairs, comparison.make_methods(names, replace(settings, overshoot=UNBOUNDED), load))
    flat = len(bounded['grain of luma']['HR'])
    say(f'{flat} of {len(pairs)} pictures have flat places')
    say(f'| | {" | ".join(["HR", *names])} |')
    say('| --- |' + ' --- |' * (1 + len(names)))
    for row, found in bounded.items():
        say(f'| {row} | {cells(found, ["HR", *names])} |')
        own = {name: values for name, values in free[row].items() if name not in ('HR', 'bicubic')}
        say(f'| ... without bounds | {cells(own, ["HR", *names])} |')


def cells(found: dict[str, list[float]], names: list[str]) -> str:
    return ' | '.join(f'{np.mean(found[name]):.2f}' if name in found else '' for name in names)


def measured(pairs: Sequence[Pair], methods: Mapping[str, Restore]) -> dict[str, dict[str, list[float]]]:
    """{what is measured: {method: a number for each picture}}; HR is a method of its own."""
    rows: dict[str, dict[str, list[float]]] = {'grain of luma': {}, 'grain of chroma': {}, 'PSNR of chroma': {}}
    for pair, low, high in comparison.read_pairs(pairs, factor=4):
        flat = flat_places(high)
        for name, image in {'HR': high, **{n: restore(low, pair.name) for n, restore in methods.items()}}.items():
            found = dict(zip(rows, grain(image, flat) if flat.mean() >= LEAST else (), strict=False))
            if name != 'HR':
                found['PSNR of chroma'] = chroma_psnr(image, high)
            for row, number in found.items():
                rows[row].setdefault(name, []).append(number)
    return rows


def ycc(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] to luma and two chroma channels, float32."""
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb) * 255


def chroma_psnr(image: np.ndarray, reference: np.ndarray) -> float:
    error = (ycc(image) - ycc(reference))[..., 1:]
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def flat_places(image: np.ndarray) -> np.ndarray:
    """[H, W] bool of uint8 [H, W, 3]: where the smoothed luma hardly varies."""
    luma = ycc(image)[..., 0]
    return deviation(cv2.GaussianBlur(luma, (0, 0), 1.5), 15) < FLAT


def grain(image: np.ndarray, flat: np.ndarray) -> tuple[float, float]:
    """(luma, mean of both chroma channels) of uint8 [H, W, 3], levels of 255."""
    channels = ycc(image)
    luma, *chroma = (float(deviation(channels[..., c], 7)[flat].mean()) for c in range(3))
    return luma, sum(chroma) / 2


def deviation(x: np.ndarray, side: int) -> np.ndarray:
    """The standard deviation around every pixel, in windows of `side` pixels."""
    mean = cv2.blur(x, (side, side))
    return np.sqrt(np.maximum(cv2.blur(x * x, (side, side)) - mean * mean, 0))


if __name__ == '__main__':
    main()
