"""A model a tenth of nano's width, its random parameters, and batches: what stages and samplers are tested with."""

import dataclasses
from functools import cache
from typing import Any
from unittest import mock

import jax
import numpy as np
import pytest

from addsr_jax import sizes, trees
from addsr_jax.networks.build import build
from addsr_jax.specs import ModelSpec
from addsr_jax.weights import bundle as bundles

SIDE, FACTOR = 32, 4
_UNET = dataclasses.replace(
    sizes.NANO.unet,
    block_out_channels=(8, 16),
    attention=(False, True),
    heads=(1, 2),
    text_dim=8,
    image_dim=64,
    norm_groups=4,
)
_NANO = sizes.NANO
SPEC = dataclasses.replace(
    _NANO,
    name='tiny',
    autoencoder=dataclasses.replace(_NANO.autoencoder, block_out_channels=(8, 8), scaling_factor=1.5),
    text_encoder=dataclasses.replace(_NANO.text_encoder, width=8, mlp_width=16, layers=1, heads=1),
    prompt_extractor=dataclasses.replace(
        _NANO.prompt_extractor,
        swin=dataclasses.replace(
            _NANO.prompt_extractor.swin, image_size=32, width=8, depths=(1, 1), heads=(1, 2), window=4
        ),
        tagging=dataclasses.replace(_NANO.prompt_extractor.tagging, width=8, mlp_width=16, layers=1),
        token_dim=64,
    ),
    unet=_UNET,
    controlnet=dataclasses.replace(_NANO.controlnet, unet=_UNET, condition_embedding_channels=(4, 8, 8)),
    discriminator=dataclasses.replace(
        _NANO.discriminator,
        feature_channels=(8, 16),
        hooks=(0, 1),
        condition_dim=64,
        projection_dim=8,
        norm_groups=4,
        image_size=16,
    ),
)
_LEVEL = dataclasses.replace(_UNET, block_out_channels=(8,), attention=(False,), heads=(1,))
# one level of each network, for runs: their steps compile in half the time
LEAST = dataclasses.replace(
    SPEC,
    name='least',
    prompt_extractor=dataclasses.replace(
        SPEC.prompt_extractor, swin=dataclasses.replace(SPEC.prompt_extractor.swin, depths=(1,), heads=(1,))
    ),
    unet=_LEVEL,
    controlnet=dataclasses.replace(SPEC.controlnet, unet=_LEVEL),
    discriminator=dataclasses.replace(SPEC.discriminator, feature_channels=(8,), hooks=(0,)),
)
PARTS = ('prompt_extractor', 'autoencoder', 'text_encoder', 'teacher', 'student')


@cache
def networks(spec: ModelSpec = SPEC):
    return build(spec)


@cache
def bundle(spec: ModelSpec = SPEC) -> bundles.Bundle:
    """Random, non-zero parameters everywhere: what starts at zero would hide mistakes."""
    params = {part: trees.flatten(tree) for part, tree in bundles.expected(spec, list(PARTS)).items()}
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        if path.endswith('scale'):
            return (1 + 0.1 * rng.standard_normal(leaf.shape)).astype(np.float32)
        fan_in = int(np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 100
        return (rng.standard_normal(leaf.shape) / np.sqrt(fan_in)).astype(np.float32)

    filled = {part: trees.unflatten({p: fill(p, leaf) for p, leaf in flat.items()}) for part, flat in params.items()}
    return bundles.Bundle(spec, filled, bundles.NANO / 'tokenizer', {})


def batch(seed: int, size: int = 8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    hr, lq = rng.uniform(-1, 1, (2, size, SIDE, SIDE, 3)).astype(np.float32)
    tokens = rng.integers(0, 500, (size, 77)).astype(np.int32)
    return {'hr': hr, 'lq': lq, 'tokens': tokens}


@dataclasses.dataclass(frozen=True)
class Batches:
    """Endless batches of any contents, as the loop takes them."""

    size: int = 8

    @property
    def shapes(self):
        return {name: (value.shape, value.dtype) for name, value in batch(0, self.size).items()}

    def __call__(self, start):
        n = start
        while True:
            yield {**batch(n, self.size), 'replaced': np.full(self.size, -1, np.int32)}
            n += 1


def on_device(tree):
    return jax.tree.map(jax.numpy.asarray, tree)


def standing_for_nano(spec: ModelSpec) -> Any:
    """A fixture of a module: size nano is `spec` there, named `nano`."""

    @pytest.fixture(scope='module', autouse=True)
    def size():
        with mock.patch.dict(sizes.MODELS, nano=dataclasses.replace(spec, name='nano')):
            yield

    return size
