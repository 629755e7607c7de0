"""Every name and shape of the published checkpoints, against our modules at full size; nothing is allocated."""

import gzip
import json

import numpy as np
import pytest

from addsr_jax import sizes
from addsr_jax.networks.build import build
from addsr_jax.stages.projected import make_projection
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import layout, ldm, names, published
from addsr_jax.weights.stored import Stored
from tests import tiny_sd
from tests.golden import MANIFESTS

pytestmark = pytest.mark.parity


def manifest(name: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape, without computed buffers."""
    listed = json.loads(gzip.decompress((MANIFESTS / f'{name}.json.gz').read_bytes()))
    return {key: tuple(shape) for key, (shape, _) in listed.items() if not names.is_computed(key)}


@pytest.fixture(scope='module')
def expected():
    parts = ['student', 'autoencoder', 'text_encoder', 'prompt_extractor', 'dape', 'dino', 'dinov2']
    trees = bundles.expected(sizes.SD2, parts)
    return {
        'unet': ('unet', trees['student']['unet']),
        'controlnet': ('controlnet', trees['student']['controlnet']),
        'vae': ('autoencoder', trees['autoencoder']),
        'text_encoder': ('text_encoder', trees['text_encoder']),
        'ram': ('prompt_extractor', trees['prompt_extractor']),
        'dape': ('dape', trees['dape']),
        'dino_vits16': ('dino', trees['dino']),
        'dinov2_vits14': ('dinov2', trees['dinov2']),
    }


@pytest.mark.parametrize(
    'name', ['unet', 'controlnet', 'vae', 'text_encoder', 'ram', 'dape', 'dino_vits16', 'dinov2_vits14']
)
def test_our_modules_have_every_tensor_of_the_published_file_and_no_other(expected, name):
    kind, tree = expected[name]
    assert layout.state_shapes(kind, tree) == manifest(name)


def test_our_heads_have_every_tensor_of_the_published_discriminator_and_no_other():
    import jax

    made = jax.eval_shape(make_projection(build(sizes.SD2), 'imagenet').init, jax.random.key(0))
    assert layout.state_shapes('discriminator', made['params'], made['spectral']) == manifest('discriminator_heads')


def test_the_unused_parts_of_ram_and_dape_are_those_that_conversion_passes_over():
    for name, kind in (('ram_unused', 'prompt_extractor'), ('dape_unused', 'dape')):
        unused = manifest(name)
        assert unused
        assert all(key.startswith(published.UNUSED[kind]) for key in unused)


def test_older_names_of_the_autoencoder_become_todays():
    old = manifest('vae_old_names')
    unread = Stored((), np.dtype(np.float32), lambda: np.zeros(()))
    found = published.current_names(dict.fromkeys(old, unread), 'autoencoder', MANIFESTS)
    assert set(found) == set(manifest('vae'))


@pytest.mark.parametrize(
    ('name', 'kind'),
    [('unet', 'unet'), ('controlnet', 'controlnet'), ('vae', 'autoencoder'), ('text_encoder', 'text_encoder')],
)
def test_every_published_name_is_found_again_in_ldms_layout(name, kind):
    state = {n: np.zeros(shape, np.int8) for n, shape in manifest(name).items() if 'image_attentions' not in n}
    found = ldm.today(
        {n: Stored(v.shape, v.dtype, lambda v=v: v) for n, v in tiny_sd.to_ldm(kind, state).items()}, kind
    )
    assert {n: stored.shape for n, stored in found.items()} == {n: value.shape for n, value in state.items()}


def test_counts_of_parameters_are_the_published_ones(expected):
    import math

    wanted = {'unet': 1_126_760_324, 'controlnet': 489_031_440, 'vae': 83_653_863, 'text_encoder': 340_387_840}
    for name, count in wanted.items():
        assert sum(math.prod(s) for s in layout.state_shapes(*expected[name]).values()) == count
