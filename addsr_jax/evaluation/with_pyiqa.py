"""MUSIQ, MANIQA, CLIPIQA and FID by pyiqa, where a user has installed it: it is no dependency, and not for commerce."""

import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from addsr_jax.errors import UserError

NAMES = ('musiq', 'maniqa', 'clipiqa')


def introduced() -> str:
    """Version and licence in one line; a UserError where pyiqa is not installed."""
    if importlib.util.find_spec('pyiqa') is None:
        raise UserError('pyiqa is not installed: pip install pyiqa (its licence allows noncommercial use alone)')
    return f'pyiqa {importlib.metadata.version("pyiqa")}: its licence allows noncommercial use alone'


def figure(name: str, image: np.ndarray) -> float:
    """A figure of one picture uint8 [H, W, 3] without a reference; more is better."""
    return float(_metric(name)(Image.fromarray(image)))


def fid(pictures: Path, truth: Path) -> float:
    """Distance of two folders of pictures; less is better."""
    return float(_metric('fid')(str(pictures), str(truth)))


@cache
def _metric(name: str) -> Any:
    import pyiqa  # pyright: ignore[reportMissingImports]

    return pyiqa.create_metric(name)
