"""A picture on its way through a model."""

from dataclasses import dataclass

import jax
import numpy as np

from addsr_jax.ops import tiling
from addsr_jax.restoration.noise import Field
from addsr_jax.restoration.settings import Settings


@dataclass(frozen=True)
class Cut:
    """A picture in tiles, and what its restored tiles need to become a picture again."""

    given: np.ndarray  # uint8 or uint16 [H, W, 3]
    name: str
    settings: Settings
    scale: float
    small: np.ndarray  # [H, W, 3] as given, mirrored where that is too small
    size: tuple[int, int]  # height and width of the enlarged picture
    plan: tiling.Plan
    large: np.ndarray  # [*plan.padded, 3] as given, enlarged and padded
    noise: Field
    words: np.ndarray  # [2, 77] tokens of the prompt and of the negative prompt
    tokens: jax.Array | None  # [1, 1 + n, I] image tokens of the whole file, for models that take those

    @property
    def count(self) -> int:
        """Of tiles."""
        return len(self.plan.offsets)

    def canvas(self) -> tiling.Canvas:
        return tiling.Canvas(self.plan)
