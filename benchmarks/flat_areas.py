"""Grain: how much a method's pictures vary where the photograph is flat.

    python benchmarks/flat_areas.py --lq LQ --hr HR [--limit N] [--methods addsr-1,addsr-4,addsr-4x2]

The mean standard deviation of luma and of the two chroma channels (levels of 255) in windows of 7 pixels, where the HR
picture varies by less than FLAT levels around; pictures with hardly any such place are left out.
"""

import argparse
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from addsr_jax.command_line import say
from addsr_jax.restoration import comparison, pipeline
from addsr_jax.restoration.settings import Settings
from addsr_jax.runtime import prepare

FLAT = 1.2  # levels of 255, in windows of 15 pixels of the smoothed photograph
LEAST = 0.02  # of a picture has to be flat


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--lq', type=Path, required=True)
    parser.add_argument('--hr', type=Path, required=True)
    parser.add_argument('--limit', type=int, default=16)
    parser.add_argument('--methods', default='bicubic,addsr-1,addsr-4,addsr-4x2')
    parser.add_argument('--weights', default='nano')
    values = parser.parse_args()
    prepare()
    methods = comparison.make_methods(values.methods.split(','), Settings(), partial(pipeline.load, values.weights))
    found: dict[str, list[tuple[float, float]]] = {}
    pairs = comparison.find_pairs(values.lq, values.hr, values.limit)
    for pair, low, high in comparison.read_pairs(pairs, factor=4):
        flat = flat_places(high)
        if flat.mean() < LEAST:
            continue
        for name, image in {'HR': high, **{n: restore(low, pair.name) for n, restore in methods.items()}}.items():
            found.setdefault(name, []).append(grain(image, flat))
    say(f'{len(next(iter(found.values()), []))} of {len(pairs)} pictures have flat places')
    for name, grains in found.items():
        luma, chroma = np.mean(grains, axis=0)
        say(f'{name:12} luma {luma:.2f}  chroma {chroma:.2f}')


def flat_places(image: np.ndarray) -> np.ndarray:
    """[H, W] bool of uint8 [H, W, 3]: where the smoothed luma hardly varies."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)[..., 0].astype(np.float32)
    return deviation(cv2.GaussianBlur(luma, (0, 0), 1.5), 15) < FLAT


def grain(image: np.ndarray, flat: np.ndarray) -> tuple[float, float]:
    """(luma, mean of both chroma channels) of uint8 [H, W, 3], levels of 255."""
    channels = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    luma, *chroma = (float(deviation(channels[..., c], 7)[flat].mean()) for c in range(3))
    return luma, sum(chroma) / 2


def deviation(x: np.ndarray, side: int) -> np.ndarray:
    """The standard deviation around every pixel, in windows of `side` pixels."""
    mean = cv2.blur(x, (side, side))
    return np.sqrt(np.maximum(cv2.blur(x * x, (side, side)) - mean * mean, 0))


if __name__ == '__main__':
    main()
