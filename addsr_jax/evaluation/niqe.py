"""NIQE, image quality without a reference; lower is better (Mittal, Soundararajan & Bovik, IEEE SPL 2013).

Conventions of the published tables (pyiqa): luma 0.299 R + 0.587 G + 0.114 B over the full range, rounded; blocks of
96 x 96 at full and at half size; 36 features a block; distance to a model of pristine photographs.
"""

from functools import cache
from pathlib import Path

import numpy as np
from scipy.ndimage import correlate
from scipy.special import gammaln

BLOCK = 96
PRISTINE = Path(__file__).with_name('niqe_pristine.npz')  # mean [36] and covariance [36, 36] of the authors' model


def niqe(image: np.ndarray) -> float:
    """NIQE of [H, W, 3] uint8 RGB; nan where no block has texture, ValueError under 96 pixels."""
    luma = luma_full(image)
    h, w = (n // BLOCK * BLOCK for n in luma.shape)
    if not h or not w:
        raise ValueError(f'NIQE needs at least 96 x 96 pixels, not {image.shape[0]} x {image.shape[1]}')
    luma = luma[:h, :w]
    scales = [(luma, BLOCK), (half_size(luma), BLOCK // 2)]
    with np.errstate(divide='ignore', invalid='ignore'):  # a block of one colour has no features, only nans
        features = np.concatenate([_features(normalised(x), size) for x, size in scales], axis=1)
    whole = features[~np.isnan(features).any(axis=1)]
    if not len(whole):
        return float('nan')
    known = [column[~np.isnan(column)].mean() for column in features.T]
    covariance = np.cov(whole, rowvar=False) if len(whole) > 1 else np.zeros((36, 36))
    mean, pristine = _pristine()
    away = mean - np.asarray(known)
    inverse = np.linalg.pinv((pristine + covariance) / 2, rcond=36 * np.finfo(float).eps)
    return float(np.sqrt(away @ inverse @ away))


def luma_full(image: np.ndarray) -> np.ndarray:
    """[H, W] float64 in 0..255, whole numbers; float32 products decide the halves as the published tool does."""
    rgb = image[..., :3].astype(np.float32) / np.float32(255)
    weights = [np.float32(w) for w in (0.299, 0.587, 0.114)]
    return np.rint(sum(rgb[..., c] * weights[c] for c in range(3)) * np.float32(255)).astype(np.float64)


def normalised(x: np.ndarray) -> np.ndarray:
    """Mean-subtracted, contrast-normalised luma: Gaussian window 7, sigma 7 / 6, borders repeated."""
    taps = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    window = np.outer(taps, taps)
    # single precision, as the published tool rounds it: in flat blocks the rounding is all there is to see
    window = (window / window.sum()).astype(np.float32).astype(np.float64)

    def blur(y: np.ndarray) -> np.ndarray:
        return correlate(y, window, mode='nearest')

    mean = blur(x)
    deviation = np.sqrt(np.abs(blur(x * x) - mean**2) + np.finfo(float).eps)
    return (x - mean) / (deviation + 1)


def half_size(x: np.ndarray) -> np.ndarray:
    """Half of even sides by MATLAB's antialiased bicubic (a = -0.5 stretched by two), borders mirrored."""
    d = np.abs(np.arange(8) - 3.5) / 2
    taps = np.where(d <= 1, (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2)
    taps = (taps / taps.sum()).astype(np.float32)

    def half_rows(y: np.ndarray) -> np.ndarray:
        wide = np.pad(y, ((3, 3), (0, 0)), mode='symmetric')
        even = [taps[i] * wide[i : i + len(y) : 2] for i in range(8)]
        return np.asarray(np.sum(even, axis=0, dtype=np.float32))

    return half_rows(half_rows((x / 255).astype(np.float32)).T).T.astype(np.float64) * 255


def _features(x: np.ndarray, size: int) -> np.ndarray:
    """[blocks, 18]: generalised Gaussian fits of the map and of its products with four neighbours."""
    rows, columns = x.shape[0] // size, x.shape[1] // size
    blocks = x.reshape(rows, size, columns, size).swapaxes(1, 2).reshape(-1, size, size)
    shape, left, right = _fit(blocks)
    out = [shape, (left + right) / 2]
    for offset in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = _fit(blocks * np.roll(blocks, offset, axis=(1, 2)))
        mean = (right - left) * np.exp(gammaln(2 / shape) - gammaln(1 / shape))
        out += [shape, mean, left, right]
    return np.stack(out, axis=1)


def _fit(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Asymmetric generalised Gaussian of each block by moments: shape, left scale, right scale."""
    flat = blocks.reshape(len(blocks), -1)
    square = flat**2
    left = np.sqrt((square * (flat < 0)).sum(axis=1) / (flat < 0).sum(axis=1))
    right = np.sqrt((square * (flat > 0)).sum(axis=1) / (flat > 0).sum(axis=1))
    ratio = left / right
    moment = np.abs(flat).mean(axis=1) ** 2 / square.mean(axis=1)
    moment = moment * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shapes, moments = _shape_table()
    shape = shapes[np.abs(moments - moment[:, None]).argmin(axis=1)]
    scale = np.exp((gammaln(1 / shape) - gammaln(3 / shape)) / 2)
    return shape, left * scale, right * scale


@cache
def _shape_table() -> tuple[np.ndarray, np.ndarray]:
    """Shapes 0.2, 0.201, ... 10 and the moment ratio of each."""
    shapes = (0.2 + 0.001 * np.arange(9801)).astype(np.float32).astype(np.float64)
    return shapes, np.exp(2 * gammaln(2 / shapes) - gammaln(1 / shapes) - gammaln(3 / shapes))


@cache
def _pristine() -> tuple[np.ndarray, np.ndarray]:
    with np.load(PRISTINE) as data:
        return data['mu'].ravel(), data['cov']
