"""PSNR and SSIM on luma of one pair of images: the conventions of the published tables (pyiqa).

Images are [H, W, 3] uint8 RGB; the whole image counts, no border is cropped.
"""

import numpy as np
from scipy.ndimage import correlate1d


def luma_studio(image: np.ndarray) -> np.ndarray:
    """Y of ITU-R BT.601, studio range: [H, W] float64 in 16 / 255 .. 235 / 255, not rounded."""
    rgb = image.astype(np.float64) / 255
    return (rgb @ np.array([65.481, 128.553, 24.966]) + 16) / 255


def psnr_y(image: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio of Y in dB; 80 for equal images."""
    _same_size(image, reference)
    mse = np.mean((luma_studio(image) - luma_studio(reference)) ** 2)
    return float(10 * np.log10(1 / (mse + 1e-8)))


def ssim_y(image: np.ndarray, reference: np.ndarray) -> float:
    """Structural similarity of rounded Y (Wang et al. 2004): Gaussian window 11, sigma 1.5, valid part only."""
    _same_size(image, reference)
    if min(image.shape[:2]) < 11:
        raise ValueError(f'SSIM needs 11 pixels along each side, not {image.shape[0]} x {image.shape[1]}')
    x, y = (np.rint(luma_studio(i) * 255) for i in (image, reference))
    mean_x, mean_y = _window(x), _window(y)
    var_x, var_y = _window(x * x) - mean_x**2, _window(y * y) - mean_y**2
    covariance = _window(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    structure = np.maximum((2 * covariance + c2) / (var_x + var_y + c2), 0)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float(np.mean(luminance * structure))


def _window(x: np.ndarray) -> np.ndarray:
    """Weighted means over 11 x 11 windows that lie wholly inside."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    return correlate1d(correlate1d(x, taps, axis=0), taps, axis=1)[5:-5, 5:-5]


def _same_size(image: np.ndarray, reference: np.ndarray) -> None:
    if image.shape != reference.shape:
        raise ValueError(f'images of different sizes: {image.shape} and {reference.shape}')
