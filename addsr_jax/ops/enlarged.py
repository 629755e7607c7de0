"""A small picture of floats, enlarged bilinearly, of which rows are made when they are asked for."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Enlarged:
    """[height, width, C], of which the small picture alone is held."""

    small: np.ndarray  # floats [h, w, C], of 1 to 4 channels
    width: int
    height: int

    def rows(self, start: int, stop: int) -> np.ndarray:
        """[stop - start, width, C], between the small picture's pixels, middles to middles."""
        last = len(self.small) - 1
        at = np.clip((np.arange(start, stop) + 0.5) * (len(self.small) / self.height) - 0.5, 0, last)
        above = np.minimum(at.astype(int), max(last - 1, 0))
        share = (at - above).astype(np.float32)[:, None, None]
        narrow = (1 - share) * self.small[above] + share * self.small[np.minimum(above + 1, last)]
        wide = cv2.resize(narrow, (self.width, len(narrow)), interpolation=cv2.INTER_LINEAR)
        return wide.reshape(len(narrow), self.width, -1)
