"""Small real photographs in a folder, cut from those that scikit-image ships."""

from pathlib import Path

import numpy as np
from PIL import Image

from addsr_jax.data import pictures, sources


def crops(count: int, side: int = 160) -> list[np.ndarray]:
    """uint8 [side, side, 3], each another place of the sample photographs."""
    source, rng = sources.sample_photos(), np.random.default_rng(0)
    out = []
    for i in range(count):
        image = pictures.read(source.paths[i % len(source)])
        top, left = rng.integers(image.shape[0] - side), rng.integers(image.shape[1] - side)
        out.append(np.ascontiguousarray(image[top : top + side, left : left + side]))
    return out


def folder(root: Path, count: int, side: int = 160) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(crops(count, side)):
        Image.fromarray(image).save(root / f'{i:02d}.png')
    return root
