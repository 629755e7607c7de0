"""Where a small picture shows nothing that could be restored, and what becomes of its enlargement there."""

from dataclasses import dataclass

import cv2
import numpy as np

from addsr_jax.ops import rows
from addsr_jax.ops.enlarged import Enlarged
from addsr_jax.ops.ycbcr import TO_YCBCR

REACH = 5  # pixels of the small picture that have to be calm around a calm one
PLAIN = 0.6  # levels of 255 by which pixels differ from their neighbours' mean where a place is plain no more
WINDOW = 5  # pixels of the small picture over which that is the mean
RADIUS = 4  # of the smoothing, in pixels of the enlargement, which therefore sees twice as many on every side


@dataclass(frozen=True)
class Plain:
    """Texture that a network gives to plain places is taken away."""

    shares: Enlarged  # [H, W, 1]: 1 where it is plain, 0 nearly everywhere
    texture: float  # deviation of luma, in levels of 255, that is halved

    def change(self, strip: np.ndarray, first: int, rows: slice) -> np.ndarray:
        """What is added to `rows` of a strip [h, W, 3] in [-1, 1] whose first row is the picture's row `first`.

        A guided filter of luma by itself (He, Sun & Tang 2013, as `ops.guided_filter`, for few rows at a time).
        """
        above, below = max(rows.start - 2 * RADIUS, 0), rows.stop + 2 * RADIUS
        luma = strip[above:below] @ TO_YCBCR[0]
        level = _mean(luma)
        variance = np.maximum(_mean(luma * luma) - level * level, 0)
        slope = variance / (variance + np.float32((self.texture / 127.5) ** 2))
        smooth = _mean(slope) * luma + _mean(level - slope * level)
        change = (smooth - luma)[rows.start - above : rows.stop - above, :, None]
        return self.shares.rows(first + rows.start, first + rows.stop) * change


def calm_places(small: np.ndarray, below: float, width: int, height: int) -> Enlarged | None:
    """Where [H, W, 3] uint8 or uint16 is calm, for its enlargement to height x width, [height, width, 1]; None where no
    place is.

    1 where no pixel within REACH differs from the mean of its neighbours by more than `below` levels of 255 in any
    channel, as in areas of one colour, or where a clean gradient is rounded to bytes: there is nothing to restore. 0
    where one differs by a fifth more, as nearly everywhere in photographs.
    """
    most = cv2.dilate(
        rows.measured(small, lambda levels: _away(levels).max(-1), 1), np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    )
    return _shares(np.clip((1.2 * below - most) / (0.2 * below), 0, 1, dtype=np.float32), width, height)


def plain_places(small: np.ndarray, texture: float, width: int, height: int) -> Plain | None:
    """Where [H, W, 3] is plain: walls, skies and what lies out of focus, for its enlargement; None where no place is.

    1 where luma differs from the mean of its neighbours by half of PLAIN or less, in the mean over WINDOW; 0 from PLAIN
    on.
    """
    away = cv2.blur(rows.measured(small, lambda levels: _away(levels @ TO_YCBCR[0]), 1), (WINDOW, WINDOW))
    shares = _shares(np.clip(2 - away / (0.5 * PLAIN), 0, 1, dtype=np.float32), width, height)
    return None if shares is None else Plain(shares, texture)


def _shares(places: np.ndarray, width: int, height: int) -> Enlarged | None:
    """Of float32 [h, w]; None where all are 0."""
    return Enlarged(places[..., None], width, height) if places.any() else None


def _away(levels: np.ndarray) -> np.ndarray:
    """How far every pixel is from the mean of its neighbours; the picture is mirrored at its borders."""
    return np.abs(levels - cv2.blur(levels, (3, 3)))


def _mean(x: np.ndarray) -> np.ndarray:
    return cv2.blur(x, (2 * RADIUS + 1,) * 2, borderType=cv2.BORDER_REFLECT)
