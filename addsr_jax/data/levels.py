"""Numbers of any range as those of 16 bits: what stands for white in them, and what lies beyond."""

import numpy as np

NEARLY_BLACK = 16.0  # of 255


def white(values: np.ndarray) -> tuple[float, tuple[str, ...]]:
    """(1, or 255 where floats are clearly on that scale; the remark that some lie above 1 all the same).

    On that scale most of what is not black is above 1, and something is not nearly black; lights of an HDR picture are
    few.
    """
    if not np.isfinite(values).all():
        raise ValueError('it holds numbers that are not finite')
    highest = values.max()
    if highest <= 1:
        return 1.0, ()
    if highest > NEARLY_BLACK and np.count_nonzero(values > 1) * 2 > np.count_nonzero(values > 0):
        return 255.0, ()
    return 1.0, (f'its values reach to {highest:g}: what is above 1 is cut off',)


def sixteen_bits(values: np.ndarray, white: float) -> np.ndarray:
    """0..white -> uint16; ValueError for what lies beyond."""
    lowest, highest = values.min(), values.max()
    if not np.isfinite((lowest, highest)).all():
        raise ValueError('it holds numbers that are not finite')
    if lowest < 0 or highest > white:
        raise ValueError(f'its values reach from {lowest:g} to {highest:g}, beyond 0 to {white:g}')
    scaled = values.astype(np.float64)
    scaled *= 65535 / white
    return np.rint(scaled, out=scaled).astype(np.uint16)
