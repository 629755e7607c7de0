"""How sure a mean over pictures is: percentiles of means over pictures drawn again (Efron's bootstrap)."""

from collections.abc import Sequence

import numpy as np

DRAWS, SHARE = 5_000, 0.95


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The ends between which 95 % of the means of redrawn pictures lie; None of fewer than two pictures."""
    known = np.asarray([value for value in values if np.isfinite(value)])
    if len(known) < 2:
        return None
    drawn = np.random.default_rng(0).integers(0, len(known), (DRAWS, len(known)))
    low, high = np.quantile(known[drawn].mean(axis=1), ((1 - SHARE) / 2, (1 + SHARE) / 2))
    return float(low), float(high)
