"""How far a restored picture may leave the small one: a little beyond the range of the four pixels around a place.

Where those four say the same, as beside letters and along rims, there is no room for the rings and the haze that a
network draws there, and where they differ there is room for a sharper edge. A network tints the edges that it draws:
chroma stays inside the range.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from addsr_jax.ops.ycbcr import FROM_YCBCR, TO_YCBCR

SLACK = 1.0  # levels of 255 that luma has beside its overshoot: rounding, and faint texture


@dataclass(frozen=True)
class Bounds:
    """Of an enlargement, in YCbCr of pictures in [-1, 1]."""

    small: np.ndarray  # uint8 or uint16 [h, w, 3]
    overshoot: float  # the share of its range that luma may go beyond it
    size: tuple[int, int]  # height and width of the enlargement

    def clipped(self, part: np.ndarray, start: int) -> np.ndarray:
        """Rows from `start` on of the restored picture, [n, W, 3] in [-1, 1], inside the bounds.

        The bounds are widened by a quarter of a small pixel and blurred by as much, or squares would show.
        """
        height, width = self.small.shape[:2]
        scale = [self.size[0] / height, self.size[1] / width]
        reach = max(round(max(scale)) // 4, 1)
        rows = _squares(np.arange(start - 2 * reach, start + len(part) + 2 * reach), scale[0], height + 1)
        columns = _squares(np.arange(-2 * reach, self.size[1] + 2 * reach), scale[1], width + 1)
        window, inside = (2 * reach + 1,) * 2, slice(2 * reach, -2 * reach)
        low, high = (
            cv2.blur(widest(edge[rows - rows[0]][:, columns], np.ones(window, np.uint8)), window)[inside, inside]
            for edge, widest in zip(self._ranges(rows[0], rows[-1] + 1), (cv2.erode, cv2.dilate), strict=True)
        )
        return np.clip(part @ TO_YCBCR.T, low, high) @ FROM_YCBCR.T

    def _ranges(self, first: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest of the squares between four pixels, [stop - first, w + 1, 3].

        A row of squares lies above the row of pixels of its number; at the border a square has two, in a corner one.
        """
        near = self.small[np.clip(np.arange(first - 1, stop), 0, len(self.small) - 1)]
        colors = (near.astype(np.float32) / np.float32(np.iinfo(near.dtype).max / 2) - 1) @ TO_YCBCR.T
        square = np.ones((2, 2), np.uint8)  # its anchor is the lower right pixel
        wide = cv2.copyMakeBorder(colors, 0, 0, 1, 1, cv2.BORDER_REPLICATE)
        low, high = cv2.erode(wide, square)[1:, 1:], cv2.dilate(wide, square)[1:, 1:]
        free = np.float32(self.overshoot) * (high[..., :1] - low[..., :1]) + np.float32(SLACK / 127.5)
        room = np.concatenate([free, np.zeros((*free.shape[:2], 2), np.float32)], -1)
        return low - room, high + room


def _squares(at: np.ndarray, scale: float, count: int) -> np.ndarray:
    """In which of `count` squares along an axis the pixels `at` of the enlargement lie, middles to middles."""
    return np.clip(np.floor((at + 0.5) / scale - 0.5).astype(int) + 1, 0, count - 1)
