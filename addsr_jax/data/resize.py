"""F.interpolate of torch on the host, for one image: two sparse matrices, one per axis.

cv2's own resizing samples at other places where a scale factor is given, and its 'area' is another average.
"""

from functools import lru_cache

import numpy as np
from scipy import sparse

from addsr_jax.ops.weights import area_matrix, bicubic_matrix, bilinear_matrix


def resize(image: np.ndarray, size: tuple[int, int], mode: str, factor: float | None = None) -> np.ndarray:
    """[H, W, C] float32 -> [*size, C]; mode 'area', 'bilinear' or 'bicubic' (a = -0.75), no antialias.

    `factor` is the scale factor that set the coordinates; None takes size / source of each axis. Area ignores it.
    """
    h, w, c = image.shape
    rows, columns = _matrix(h, size[0], mode, factor), _matrix(w, size[1], mode, factor)
    tall = (rows @ image.reshape(h, w * c)).reshape(size[0], w, c)
    flat = np.ascontiguousarray(tall.transpose(1, 0, 2)).reshape(w, size[0] * c)
    return np.ascontiguousarray((columns @ flat).reshape(size[1], size[0], c).transpose(1, 0, 2))


def small_view(small: np.ndarray, side: int) -> np.ndarray:
    """uint8 [H, W, 3] -> [1, side, side, 3] in [0, 1]: the file as the prompt extractor first sees it, aspect not
    kept."""
    return resize(small.astype(np.float32) / np.float32(255), (side, side), 'bilinear')[None]


@lru_cache(maxsize=32)
def _matrix(source: int, target: int, mode: str, factor: float | None) -> sparse.csr_array:
    makers = {'area': area_matrix, 'bilinear': bilinear_matrix, 'bicubic': bicubic_matrix}
    if mode not in makers:
        raise ValueError(f'mode is one of {", ".join(makers)}, not {mode!r}')
    if mode == 'area' or factor is None:
        return sparse.csr_array(makers[mode](source, target))
    return sparse.csr_array(makers[mode](source, target, factor))
