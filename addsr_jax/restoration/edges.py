"""Rims, bars and frames drawn along the edges that the small picture shows, where a network's wobble.

Where the small picture has one clear direction, which its structure tensor says (Förstner & Gülch 1987), the result is
averaged along it: a short line integral convolution (Cabral & Leedom 1993) steered as in coherence-enhancing filters
(Weickert 1999).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from addsr_jax.ops import rows as by_rows
from addsr_jax.ops.enlarged import Enlarged
from addsr_jax.ops.ycbcr import TO_YCBCR

CLEAR = 50.0  # sum of the tensor's eigenvalues, squared levels of 255 a pixel, beside which weaker edges count little
INNER, OUTER = 0.7, 1.0  # deviations of the tensor's blurs, before and after products are taken, in small pixels
REACH = 8  # small pixels that a tensor sees on every side: both blurs, as far as OpenCV takes them, and a gradient
COLUMNS = 1024  # at a time: OpenCV finds no place beyond 32,767
FAINTEST = 0.1  # deviation, pixels of the result, below which neighbours count nothing
LEAST = 0.01  # share of an edge below which nothing is done


@dataclass(frozen=True)
class Edges:
    """What was drawn along clear edges is averaged along them."""

    tensor: Enlarged  # [H, W, 3]: xx, yy and xy, squared levels of 255 a small pixel
    deviation: float  # pixels of the enlargement

    @property
    def farthest(self) -> int:
        """Pixels along an edge to the last place of its mean."""
        return int(np.ceil(2 * self.deviation))

    @property
    def reach(self) -> int:
        """Pixels of the enlargement beside a place that its mean sees, by cubic interpolation."""
        return self.farthest + 2

    def change(self, strip: np.ndarray, first: int, rows: slice) -> np.ndarray:
        """What is added to `rows` of a strip [h, W, 3] whose first row is the picture's row `first`."""
        tensor = self.tensor.rows(first + rows.start, first + rows.stop)
        out = np.zeros((rows.stop - rows.start, *strip.shape[1:]), np.float32)
        above = max(rows.start - self.reach, 0)
        for start in range(0, strip.shape[1], COLUMNS):
            stop, left = start + COLUMNS, max(start - self.reach, 0)
            shares, along = directions(tensor[:, start:stop])
            if shares.max() > LEAST:
                around = np.ascontiguousarray(strip[above : rows.stop + self.reach, left : stop + self.reach])
                mean = self._mean(around, along, rows.start - above, start - left)
                drawn = strip[rows, start:stop]
                out[:, start:stop] = shares[..., None] * (mean - drawn)
        return out

    def _mean(self, around: np.ndarray, along: np.ndarray, y: int, x: int) -> np.ndarray:
        """[n, w, 3]: means along unit vectors [n, w, 2] (x, y), of places from row y and column x of `around` on."""
        height, width = along.shape[:2]
        rows, columns = np.mgrid[y : y + height, x : x + width].astype(np.float32)
        total, weights = around[y : y + height, x : x + width].astype(np.float32), 1.0
        for distance, weight in self._steps():
            across, down = columns + distance * along[..., 0], rows + distance * along[..., 1]
            total += weight * cv2.remap(around, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
            weights += weight
        return total / np.float32(weights)

    def _steps(self) -> Iterator[tuple[np.float32, np.float32]]:
        """Distances along an edge, to both sides of a place, and their weights."""
        for step in range(1, self.farthest + 1):
            weight = np.float32(np.exp(-(step**2) / (2 * self.deviation**2)))
            yield np.float32(step), weight
            yield np.float32(-step), weight


def directions(tensor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of tensors [n, w, 3]: how clear an edge is, [n, w] in [0, 1], and unit vectors (x, y) along it, [n, w, 2]."""
    xx, yy, xy = np.moveaxis(tensor.astype(np.float32), -1, 0)  # squares do not fit into halves
    apart = np.sqrt((xx - yy) ** 2 + 4 * xy**2)  # of the eigenvalues
    shares = (apart / (xx + yy + np.float32(CLEAR))) ** 2
    across = np.arctan2(2 * xy, xx - yy) / 2
    return shares, np.stack([-np.sin(across), np.cos(across)], axis=-1)


def edges_of(small: np.ndarray, deviation: float, width: int, height: int) -> Edges | None:
    """Of [h, w, 3] uint8 or uint16, for its enlargement to height x width; None where no edge is clear."""
    if deviation < FAINTEST:
        return None
    tensor = by_rows.measured(small, lambda levels: _tensors(levels @ TO_YCBCR[0]), REACH)
    clear = any(directions(tensor[part])[0].max() > LEAST for part in by_rows.few(0, *small.shape[:2]))
    return Edges(Enlarged(tensor, width, height), deviation) if clear else None


def _tensors(luma: np.ndarray) -> np.ndarray:
    """[h, w, 3] of luma [h, w] in levels of 255."""
    luma = cv2.GaussianBlur(luma, (0, 0), INNER)
    right, down = (cv2.Scharr(luma, cv2.CV_32F, *axis) / 32 for axis in ((1, 0), (0, 1)))
    products = np.stack([right**2, down**2, right * down], axis=-1)  # 127.5 squared at most
    return cv2.GaussianBlur(products, (0, 0), OUTER).astype(np.float16)  # held for the whole small picture
