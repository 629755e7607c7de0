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

    low: np.ndarray  # [h + 1, w + 1, 3], of the squares between four pixels; at the border two, in a corner one
    high: np.ndarray
    size: tuple[int, int]  # height and width of the enlargement

    @classmethod
    def around(cls, small: np.ndarray, overshoot: float, size: tuple[int, int]) -> 'Bounds':
        """Of [h, w, 3] uint8 or uint16; `overshoot`: the share of its range that luma may go beyond it."""
        colors = (small.astype(np.float32) / np.float32(np.iinfo(small.dtype).max / 2) - 1) @ TO_YCBCR.T
        square = np.ones((2, 2), np.uint8)  # its anchor is the lower right pixel
        wide = cv2.copyMakeBorder(colors, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        low, high = cv2.erode(wide, square)[1:, 1:], cv2.dilate(wide, square)[1:, 1:]
        free = np.float32(overshoot) * (high[..., :1] - low[..., :1]) + np.float32(SLACK / 127.5)
        room = np.concatenate([free, np.zeros((*free.shape[:2], 2), np.float32)], -1)
        return cls(low - room, high + room, size)

    def clipped(self, part: np.ndarray, start: int) -> np.ndarray:
        """Rows from `start` on of the restored picture, [n, W, 3] in [-1, 1], inside the bounds.

        The bounds are widened by a quarter of a small pixel and blurred by as much, or squares would show.
        """
        scale = [large / (squares - 1) for large, squares in zip(self.size, self.low.shape, strict=False)]
        reach = max(round(max(scale)) // 4, 1)
        rows = _squares(np.arange(start - 2 * reach, start + len(part) + 2 * reach), scale[0], self.low.shape[0])
        columns = _squares(np.arange(-2 * reach, self.size[1] + 2 * reach), scale[1], self.low.shape[1])
        window, inside = (2 * reach + 1,) * 2, slice(2 * reach, -2 * reach)
        low, high = (
            cv2.blur(widest(edge[rows][:, columns], np.ones(window, np.uint8)), window)[inside, inside]
            for edge, widest in ((self.low, cv2.erode), (self.high, cv2.dilate))
        )
        return np.clip(part @ TO_YCBCR.T, low, high) @ FROM_YCBCR.T


def _squares(at: np.ndarray, scale: float, count: int) -> np.ndarray:
    """In which of `count` squares along an axis the pixels `at` of the enlargement lie, middles to middles."""
    return np.clip(np.floor((at + 0.5) / scale - 0.5).astype(int) + 1, 0, count - 1)
