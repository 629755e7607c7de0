"""State dicts of the PyTorch originals to parameter trees and back; the only place that has heard of OIHW."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from addsr_jax import trees
from addsr_jax.trees import Tree
from addsr_jax.weights import names

# Leaves that keep PyTorch's layout whatever their rank: tables, tokens, low-rank factors.
AS_THEY_ARE = ('embedding', 'label_embed', 'pos_embed', 'cls_token', 'mask_token', 'relative_position_bias_table')
SPECTRAL = ('weight_u', 'weight_v')


def from_tensors(tensors: Iterable[tuple[str, np.ndarray]], network: str) -> tuple[Tree, Tree, Tree]:
    """(parameters, low-rank factors, vectors of the spectral norm) of named tensors, in our layout.

    network: unet, controlnet, autoencoder, text_encoder, prompt_extractor, dape, dino, dinov2, tiny_decoder or
    discriminator.
    """
    flat: dict[str, np.ndarray] = {}
    rows: dict[str, dict[int, np.ndarray]] = {}
    for name, tensor in tensors:
        if names.is_computed(name):
            continue
        path = names.to_path(names.PREFIX.get(network, '') + name, tensor.ndim)
        stacked, value = names.stack_of(path, network), _to_ours(path, tensor)
        if stacked is None:
            flat[path] = value
        else:
            rows.setdefault(stacked[0], {})[stacked[1]] = value
    for path, values in rows.items():
        if sorted(values) != list(range(len(values))):
            raise ValueError(f'{path}: rows {sorted(values)} are not 0 to {len(values) - 1}')
        flat[path] = np.stack([values[i] for i in range(len(values))])
    kinds: tuple[dict, dict, dict] = ({}, {}, {})
    for path, value in flat.items():
        last = path.rsplit('/', 1)[-1]
        kinds[1 if last.startswith('lora_') else 2 if last in SPECTRAL else 0][path] = value
    params, lora, spectral = (trees.unflatten(kind) for kind in kinds)
    return params, lora, spectral


def to_state_dict(network: str, *collections: Tree) -> dict[str, np.ndarray]:
    """The inverse of `from_tensors` of a whole state dict, without the computed buffers."""
    return {
        name: _to_theirs(path, np.asarray(leaf if row is None else leaf[row]))
        for name, path, leaf, row in _unstacked(network, *collections)
    }


def state_shapes(network: str, *collections: Tree) -> dict[str, tuple[int, ...]]:
    """Shapes of `to_state_dict`, of trees that need not hold more than shapes themselves."""
    return {
        name: _their_shape(path, tuple(leaf.shape) if row is None else tuple(leaf.shape[1:]))
        for name, path, leaf, row in _unstacked(network, *collections)
    }


def _unstacked(network: str, *collections: Tree) -> Iterable[tuple[str, str, Any, int | None]]:
    """(PyTorch's name, path, leaf, row of the leaf or None) of every tensor."""
    for tree in collections:
        for path, leaf in trees.flatten(tree).items():
            rows = range(leaf.shape[0]) if names.is_stacked(path, network) else [None]
            for row in rows:
                single = path if row is None else names.unstacked(path, network, row)
                yield names.to_name(single).removeprefix(names.PREFIX.get(network, '')), path, leaf, row


def _to_ours(path: str, tensor: np.ndarray) -> np.ndarray:
    """OIHW -> HWIO, OIK -> KIO, OI -> IO."""
    if _keeps_layout(path, tensor.ndim):
        return tensor
    return np.ascontiguousarray(tensor.transpose(*range(2, tensor.ndim), 1, 0))


def _to_theirs(path: str, array: np.ndarray) -> np.ndarray:
    if _keeps_layout(path, array.ndim):
        return array
    return np.ascontiguousarray(array.transpose(array.ndim - 1, array.ndim - 2, *range(array.ndim - 2)))


def _their_shape(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if _keeps_layout(path, len(shape)) else (shape[-1], shape[-2], *shape[:-2])


def _keeps_layout(path: str, rank: int) -> bool:
    last = path.rsplit('/', 1)[-1]
    return rank < 2 or last in AS_THEY_ARE or last.startswith('lora_')
