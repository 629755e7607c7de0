"""JPEG as arithmetic (DiffJPEG with hard rounding; reference: basicsr/utils/diffjpeg.py), without a codec."""

from functools import lru_cache

import numpy as np

from addsr_jax.ops.ycbcr import TO_YCBCR

# Standard luminance table, transposed as the original has it; chroma is 99 but for the low frequencies.
_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
).T
_CHROMINANCE = np.full((8, 8), 99, np.float32)
_CHROMINANCE[:4, :4] = np.array([[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]])

_TO_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32).T
_CHROMA_SHIFT = np.array([0, 128, 128], np.float32)


@lru_cache(maxsize=1)
def _dct() -> np.ndarray:
    """[8, 8] orthonormal DCT-II."""
    x = np.arange(8)
    table = np.cos((2 * x[None] + 1) * x[:, None] * np.pi / 16) * 0.5
    table[0] *= 2**-0.5
    return table.astype(np.float32)


def quality_factor(quality: float) -> float:
    """Multiplier of the tables: 50 / q below 50, else 2 - q / 50; q real in (0, 100)."""
    return 50 / quality if quality < 50 else 2 - quality / 50


def jpeg(image: np.ndarray, quality: float) -> np.ndarray:
    """[H, W, 3] float32 in [0, 1] -> the same after one compression; chroma halved by means, nearest back."""
    h, w, _ = image.shape
    padded = np.pad(image, ((0, -h % 16), (0, -w % 16), (0, 0)))
    ycbcr = (padded * 255) @ TO_YCBCR.T + _CHROMA_SHIFT
    factor = np.float32(quality_factor(quality))
    luma = _through(ycbcr[..., 0], _LUMINANCE * factor)
    big_h, big_w = luma.shape
    chroma = ycbcr[..., 1:].reshape(big_h // 2, 2, big_w // 2, 2, 2).mean(axis=(1, 3))
    table = _CHROMINANCE * factor
    chroma = np.stack([_through(chroma[..., i], table) for i in (0, 1)], axis=-1)
    chroma = chroma.repeat(2, axis=0).repeat(2, axis=1)
    ycbcr = np.concatenate([luma[..., None], chroma], axis=-1)
    rgb = (ycbcr - _CHROMA_SHIFT) @ _TO_RGB
    return (np.clip(rgb, 0, 255) / 255)[:h, :w].astype(np.float32)


def _through(plane: np.ndarray, table: np.ndarray) -> np.ndarray:
    """[H, W] -> [H, W]: blocks of 8 x 8 to the DCT, divided, rounded, and back."""
    h, w = plane.shape
    d = _dct()
    blocks = (plane - 128).reshape(h // 8, 8, w // 8, 8).transpose(0, 2, 1, 3)  # [h/8, w/8, 8, 8]
    coefficients = d @ (blocks @ d.T)
    rounded = np.rint(coefficients / table) * table
    blocks = d.T @ (rounded @ d)
    return blocks.transpose(0, 2, 1, 3).reshape(h, w) + 128
