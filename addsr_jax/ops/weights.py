"""Interpolation weights of one axis, numpy only: [target, source] float32 with torch's conventions.

align_corners is False and nothing is antialiased. `factor` is the scale that sets the sampling places,
target / source by default.
"""

from collections.abc import Callable

import numpy as np


def area_matrix(source: int, target: int) -> np.ndarray:
    """Adaptive average: row i averages floor(i s / t) to ceil((i + 1) s / t)."""
    weights = np.zeros((target, source), np.float32)
    for i in range(target):
        start, stop = i * source // target, -(-(i + 1) * source // target)
        weights[i, start:stop] = 1 / (stop - start)
    return weights


def bilinear_matrix(source: int, target: int, factor: float | None = None) -> np.ndarray:
    """Two taps; places before the first pixel are clamped to it."""
    return _interpolation(source, np.maximum(_places(source, target, factor), 0), lambda f: [(0, 1 - f), (1, f)])


def bicubic_matrix(source: int, target: int, factor: float | None = None) -> np.ndarray:
    """Keys' cubic with a = -0.75, borders replicated."""
    return _interpolation(source, _places(source, target, factor), _cubic_taps)


def _places(source: int, target: int, factor: float | None) -> np.ndarray:
    return (np.arange(target) + 0.5) / (target / source if factor is None else factor) - 0.5


def _cubic_taps(f: np.ndarray, a: float = -0.75) -> list[tuple[int, np.ndarray]]:
    def near(x):  # |x| <= 1
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x):  # 1 < |x| < 2
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [(-1, far(f + 1)), (0, near(f)), (1, near(1 - f)), (2, far(2 - f))]


def _interpolation(source: int, places: np.ndarray, taps: Callable) -> np.ndarray:
    base = np.floor(places).astype(int)
    weights = np.zeros((len(places), source))
    for offset, weight in taps(places - base):
        np.add.at(weights, (np.arange(len(places)), np.clip(base + offset, 0, source - 1)), weight)
    return weights.astype(np.float32)
