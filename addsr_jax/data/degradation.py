"""The two-stage degradation of the originals (Real-ESRGAN, Wang et al. 2021; reference: make_paired_data.py).

Images are [H, W, 3] float32 RGB in [0, 1]. All chance is drawn first, into `DegradationDraws`; noise fields are asked
of a source with `standard_normal(shape)` and `poisson(rate)`, a numpy Generator in training.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

from addsr_jax.data.degradation_tables import StageTable, Table
from addsr_jax.data.jpeg import jpeg
from addsr_jax.data.kernels import KINDS, delta_kernel, gaussian_kernel, pad_kernel, sinc_kernel
from addsr_jax.data.resize import resize

SCALE = 4
KERNEL = 21
LUMA = np.array([0.2989, 0.587, 0.114], np.float32)
KIND_WEIGHTS = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
MODES = ('area', 'bilinear', 'bicubic')


class NoiseSource(Protocol):
    """A numpy Generator, or recorded fields."""

    def standard_normal(self, size: Any) -> Any: ...

    def poisson(self, lam: Any) -> Any: ...


@dataclass(frozen=True)
class StageDraws:
    kernel: np.ndarray | None  # [21, 21]; None: no blur
    factor: float
    mode: str
    gaussian: bool
    strength: float  # sigma in 1 / 255, or the Poisson scale
    grey: bool
    quality: float


@dataclass(frozen=True)
class DegradationDraws:
    stages: tuple[StageDraws, StageDraws]
    final_kernel: np.ndarray  # [21, 21]
    final_mode: str
    sinc_first: bool  # the final filter before the last JPEG


def draw_kernel(rng: np.random.Generator, stage: StageTable) -> np.ndarray:
    """[21, 21]: a blur of the table's mixture, or a sinc."""
    size = 2 * int(rng.integers(3, 11)) + 1
    if rng.random() < stage.sinc:
        low = np.pi / 3 if size < 13 else np.pi / 5
        return pad_kernel(sinc_kernel(size, rng.uniform(low, np.pi)), KERNEL)
    kind = KINDS[rng.choice(len(KINDS), p=KIND_WEIGHTS)]
    sigma_x, sigma_y = rng.uniform(*stage.sigma, size=2)
    theta = rng.uniform(-np.pi, np.pi)
    low, high = (1.0, 2.0) if kind.startswith('plateau') else (0.5, 4.0)
    beta = rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high)
    return pad_kernel(gaussian_kernel(kind, size, sigma_x, sigma_y, theta, beta), KERNEL)


def _draw_stage(rng: np.random.Generator, stage: StageTable) -> StageDraws:
    kernel = draw_kernel(rng, stage)
    blurred = rng.random() < stage.blur
    direction = rng.choice(3, p=stage.up_down_keep)
    factor = (rng.uniform(1, stage.factor[1]), rng.uniform(stage.factor[0], 1), 1.0)[direction]
    gaussian = bool(rng.random() < stage.gaussian)
    return StageDraws(
        kernel=kernel if blurred else None,
        factor=float(factor),
        mode=MODES[rng.integers(3)],
        gaussian=gaussian,
        strength=float(rng.uniform(*(stage.sigma_noise if gaussian else stage.poisson_scale))),
        grey=bool(rng.random() < stage.grey),
        quality=float(rng.uniform(*stage.quality)),
    )


def draw_degradation(rng: np.random.Generator, table: Table) -> DegradationDraws:
    """All decisions of one image."""
    if table.otherwise is not None and rng.random() < table.share:
        table = table.otherwise
    first, second = (_draw_stage(rng, stage) for stage in table.stages)
    final = delta_kernel(KERNEL)
    if rng.random() < table.final_sinc:
        size = 2 * int(rng.integers(3, 11)) + 1
        final = pad_kernel(sinc_kernel(size, rng.uniform(np.pi / 3, np.pi)), KERNEL)
    return DegradationDraws((first, second), final, MODES[rng.integers(3)], bool(rng.random() < 0.5))


def filter2d(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlation, borders reflected without repeating the edge pixel."""
    return cv2.filter2D(image, cv2.CV_32F, kernel.astype(np.float32), borderType=cv2.BORDER_REFLECT_101)


def sharpen(image: np.ndarray, weight: float = 0.5, threshold: float = 10) -> np.ndarray:
    """Unsharp mask of the target: Gaussian 51 x 51, `weight` times the residual where it exceeds threshold / 255."""

    def blur(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (51, 51), 0)

    residual = image - blur(image)
    mask = (np.abs(residual) * 255 > threshold).astype(np.float32)
    soft = blur(mask)
    return soft * np.clip(image + np.float32(weight) * residual, 0, 1) + (1 - soft) * image


def gaussian_noise(image: np.ndarray, field: np.ndarray, sigma: float) -> np.ndarray:
    """image + sigma / 255 * field, clipped; field [H, W, 3], or [H, W, 1] for grey noise."""
    return np.clip(image + np.float32(sigma / 255) * field.astype(np.float32), 0, 1)


def poisson_noise(image: np.ndarray, source: NoiseSource, scale: float, grey: bool) -> np.ndarray:
    """Shot noise: the image rounded to 8 bit, as many levels as it has distinct values (to the next power of two)."""
    seen = (image @ LUMA)[..., None] if grey else image
    levels = np.clip(np.rint(seen * 255), 0, 255).astype(np.uint8)
    clean = levels.astype(np.float32) / 255
    distinct = int((np.bincount(levels.reshape(-1), minlength=256) > 0).sum())
    values = np.float32(2 ** int(np.ceil(np.log2(distinct))))
    counts = np.asarray(source.poisson(clean * values)).astype(np.float32)
    return np.clip(image + (counts / values - clean) * np.float32(scale), 0, 1)


def _noise(image: np.ndarray, draws: StageDraws, source: NoiseSource) -> np.ndarray:
    if not draws.gaussian:
        return poisson_noise(image, source, draws.strength, draws.grey)
    shape = (*image.shape[:2], 1 if draws.grey else 3)
    return gaussian_noise(image, np.asarray(source.standard_normal(shape)), draws.strength)


def degrade(image: np.ndarray, draws: DegradationDraws, source: NoiseSource) -> np.ndarray:
    """[H, W, 3] in [0, 1] -> [H / 4, W / 4, 3] in [0, 1], not rounded."""
    h, w, _ = image.shape
    target = (h // SCALE, w // SCALE)
    first, second = draws.stages
    x = image if first.kernel is None else filter2d(image, first.kernel)
    x = resize(x, (int(h * first.factor), int(w * first.factor)), first.mode, first.factor)
    x = _noise(x, first, source)
    x = jpeg(np.clip(x, 0, 1), first.quality)
    x = x if second.kernel is None else filter2d(x, second.kernel)
    x = resize(x, (int(target[0] * second.factor), int(target[1] * second.factor)), second.mode)
    x = _noise(x, second, source)
    if draws.sinc_first:
        x = filter2d(resize(x, target, draws.final_mode), draws.final_kernel)
        x = jpeg(np.clip(x, 0, 1), second.quality)
    else:
        x = jpeg(np.clip(x, 0, 1), second.quality)
        x = filter2d(resize(x, target, draws.final_mode), draws.final_kernel)
    return np.clip(x, 0, 1)
