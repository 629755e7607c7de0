"""Shapes of the parameters of each part of a bundle, from the networks alone."""

import dataclasses
import json
from functools import lru_cache

import jax

from addsr_jax import keep, trees
from addsr_jax.networks.build import build
from addsr_jax.networks.prompt_extractor import dape
from addsr_jax.specs import ModelSpec
from addsr_jax.trees import Tree

DENOISERS = ('teacher', 'student')  # a UNet and a ControlNet each


def of(spec: ModelSpec, part: str) -> Tree:
    """Of a part of a bundle; nothing is allocated."""
    if part in DENOISERS:
        return {name: _network_shapes(spec, name) for name in ('unet', 'controlnet')}
    if part == 'unet':
        unet = dataclasses.replace(spec.unet, image_dim=None)
        controlnet = dataclasses.replace(spec.controlnet, unet=unet)
        return _network_shapes(dataclasses.replace(spec, unet=unet, controlnet=controlnet), 'unet')
    if part == 'dape':
        adapters, extractor = dape(spec.prompt_extractor), _network_shapes(spec, 'prompt_extractor')
        return jax.eval_shape(lambda: adapters.init(jax.random.key(0), extractor))
    return _network_shapes(spec, part)


@lru_cache(maxsize=64)  # tracing a network takes a second; a size's are asked for again and again
def _network_shapes(spec: ModelSpec, network: str) -> Tree:
    def traced() -> bytes:
        leaves = trees.flatten(build(spec).shapes(network))
        return json.dumps({name: (leaf.shape, leaf.dtype.name) for name, leaf in leaves.items()}).encode()

    shapes = json.loads(keep.kept('shapes', f'{network} {spec}', traced))
    return trees.unflatten({name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in shapes.items()})
