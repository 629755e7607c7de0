"""A small picture of floats, enlarged bilinearly, of which rows are made when they are asked for."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Enlarged:
    """[height, W, C], of which the small picture's rows alone are held."""

    wide: np.ndarray  # float32 [h, W, C]
    height: int

    @classmethod
    def of(cls, small: np.ndarray, width: int, height: int) -> 'Enlarged':
        """Of float32 [h, w, C], of 1 to 4 channels."""
        wide = cv2.resize(small, (width, len(small)), interpolation=cv2.INTER_LINEAR)
        return cls(wide.reshape(len(small), width, small.shape[2]), height)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """[stop - start, W, C], between the small picture's rows, middles to middles."""
        last = len(self.wide) - 1
        at = np.clip((np.arange(start, stop) + 0.5) * (len(self.wide) / self.height) - 0.5, 0, last)
        above = np.minimum(at.astype(int), max(last - 1, 0))
        share = (at - above).astype(np.float32)[:, None, None]
        return (1 - share) * self.wide[above] + share * self.wide[np.minimum(above + 1, last)]
