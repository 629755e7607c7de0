"""Captions made from the record: what was done to the target is what its caption says."""

from collections.abc import Callable

import cv2
import numpy as np

from addsr_jax.data.jpeg import jpeg
from addsr_jax.data.resize import resize

CLEAN = 'clean, sharp'


def _blurry(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(1.0, 3.0))


def _noisy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(image.shape).astype(np.float32)
    return np.clip(image + np.float32(rng.uniform(5, 25) / 255) * noise, 0, 1)


def _jpeg(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return jpeg(image, rng.uniform(10, 40))


def _small(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    h, w, _ = image.shape
    factor = rng.uniform(2, 4)
    small = resize(image, (int(h / factor), int(w / factor)), 'area')
    return np.clip(resize(small, (h, w), 'bicubic'), 0, 1)


# In the order in which they are applied and named.
FAULTS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    'blurry': _blurry,
    'noisy': _noisy,
    'jpeg': _jpeg,
    'small': _small,
}


def degrade_target(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """A worse target [H, W, 3] in [0, 1] and the caption that names its faults, at least one."""
    chosen = rng.random(len(FAULTS)) < 0.4
    chosen[rng.integers(len(FAULTS))] = True
    names = [name for name, yes in zip(FAULTS, chosen, strict=True) if yes]
    for name in names:
        image = FAULTS[name](image, rng)
    return image.astype(np.float32), ', '.join(names)
