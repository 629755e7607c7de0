"""Blur kernels of Real-ESRGAN's degradation (Wang et al. 2021; reference: basicsr/data/degradations.py).

All kernels are square with an odd side, sum to 1 and are applied as correlations.
"""

import numpy as np
from scipy import special

KINDS = ('iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso')


def gaussian_kernel(kind: str, size: int, sigma_x: float, sigma_y: float, theta: float, beta: float) -> np.ndarray:
    """[size, size] float64: a function of q = v^T Sigma^-1 v, Sigma = R diag(sigma_x^2, sigma_y^2) R^T.

    Plain exp(-q / 2), generalised exp(-q^beta / 2), plateau 1 / (1 + q^beta); the `iso` kinds use sigma_x alone.
    """
    if kind not in KINDS:
        raise ValueError(f'kind is one of {", ".join(KINDS)}, not {kind!r}')
    if kind.endswith('_iso') or kind == 'iso':
        sigma_y, theta = sigma_x, 0.0
    rotation = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    inverse = np.linalg.inv(rotation @ np.diag([sigma_x**2, sigma_y**2]) @ rotation.T)
    axis = np.arange(size) - (size - 1) / 2
    v = np.stack(np.meshgrid(axis, axis), axis=-1)  # [size, size, (x, y)]
    q = np.einsum('hwi,ij,hwj->hw', v, inverse, v)
    if kind.startswith('plateau'):
        kernel = 1 / (q**beta + 1)
    elif kind.startswith('generalized'):
        kernel = np.exp(-0.5 * q**beta)
    else:
        kernel = np.exp(-0.5 * q)
    return kernel / kernel.sum()


def sinc_kernel(size: int, cutoff: float) -> np.ndarray:
    """[size, size] float64 circular low-pass of angular `cutoff` in (0, pi]: cutoff J1(cutoff r) / (2 pi r)."""
    axis = np.arange(size) - (size - 1) / 2
    r = np.sqrt(axis[:, None] ** 2 + axis[None] ** 2)
    centre = r == 0
    safe = np.where(centre, 1.0, r)
    kernel = np.where(centre, cutoff**2 / (4 * np.pi), cutoff * special.j1(cutoff * safe) / (2 * np.pi * safe))
    return kernel / kernel.sum()


def pad_kernel(kernel: np.ndarray, size: int) -> np.ndarray:
    """Zeros around it, up to [size, size]."""
    return np.pad(kernel, (size - kernel.shape[0]) // 2)


def delta_kernel(size: int) -> np.ndarray:
    """The kernel that changes nothing."""
    kernel = np.zeros((size, size))
    kernel[size // 2, size // 2] = 1
    return kernel
