"""The published sizes, one forward each, against the recorded answers of the originals. 24 GB of memory suffice."""

import gzip
import json
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import sizes
from addsr_jax.networks.build import apply, build
from addsr_jax.networks.discriminator import power_iteration, readout
from addsr_jax.networks.prompt_extractor import dape, normalise
from addsr_jax.ops.image import resize
from addsr_jax.weights import layout, names
from tests import golden

pytestmark = [pytest.mark.parity, pytest.mark.torch]
NETWORKS = build(sizes.SD2)


def tensors(manifest: str) -> Iterator[tuple[str, np.ndarray]]:
    listed = json.loads(gzip.decompress((golden.MANIFESTS / f'{manifest}.json.gz').read_bytes()))
    for name, (shape, _) in listed.items():
        if not names.is_computed(name):
            yield name, golden.tensor(name, tuple(shape))


def parameters(manifest: str, kind: str):
    return layout.from_tensors(tensors(manifest), kind)


def check(network: str, case: str, output: str, actual) -> None:
    """As `golden.check`; the ControlNet's record holds thinned values alone."""
    record = golden.cases(network)[case]['outputs'][output]
    actual = np.asarray(actual)
    if network == 'full_controlnet':
        actual = actual.reshape(-1)[:: max(1, actual.size // 1500) | 1]
        assert list(actual.shape) == record['shape']
    golden.check(network, case, output, actual)


def test_unet():
    params, _, _ = parameters('unet', 'unet')
    x = golden.inputs('full_unet', 's8x8_mixed')
    run = jax.jit(lambda p, *a: apply(NETWORKS.unet, p, *a))
    out = run(
        params,
        golden.to_nhwc(x['sample']),
        jnp.asarray(x['timestep'], jnp.int32),
        x['encoder_hidden_states'],
        x['image_encoder_hidden_states'],
    )
    check('full_unet', 's8x8_mixed', 'sample', golden.to_nchw(out))


def test_controlnet():
    params, _, _ = parameters('controlnet', 'controlnet')
    x = golden.inputs('full_controlnet', 's8x8')
    run = jax.jit(lambda p, *a: apply(NETWORKS.controlnet, p, *a))
    down, middle = run(
        params,
        golden.to_nhwc(x['sample']),
        jnp.asarray(x['timestep'], jnp.int32),
        x['encoder_hidden_states'],
        x['image_encoder_hidden_states'],
        golden.to_nhwc(x['controlnet_cond']),
    )
    for i, residual in enumerate(down):
        check('full_controlnet', 's8x8', f'down.{i}', golden.to_nchw(residual))
    check('full_controlnet', 's8x8', 'mid', golden.to_nchw(middle))


def test_autoencoder():
    params, _, _ = parameters('vae', 'autoencoder')
    image = golden.to_nhwc(golden.inputs('full_vae', 'encode_64x64')['image'])
    mean, std = jax.jit(lambda p, a: apply(NETWORKS.autoencoder, p, a, method='encode'))(params, image)
    moments = np.concatenate([golden.to_nchw(mean), golden.to_nchw(2 * jnp.log(std))], axis=1)
    check('full_vae', 'encode_64x64', 'moments', moments)
    latents = golden.to_nhwc(golden.inputs('full_vae', 'decode_8x8')['z'])
    decoded = jax.jit(lambda p, a: apply(NETWORKS.autoencoder, p, a, method='decode'))(params, latents)
    check('full_vae', 'decode_8x8', 'image', golden.to_nchw(decoded))


def test_text_encoder():
    params, _, _ = parameters('text_encoder', 'text_encoder')
    ids = jnp.asarray(golden.inputs('full_text_encoder', 'ids')['input_ids'], jnp.int32)
    out = jax.jit(lambda p, a: apply(NETWORKS.text_encoder, p, a))(params, ids)
    check('full_text_encoder', 'ids', 'last_hidden_state', out)


def test_prompt_extractor_with_dape():
    params, _, _ = parameters('ram', 'prompt_extractor')
    _, lora, _ = parameters('dape', 'dape')
    merged = dape(sizes.SD2.prompt_extractor).merge(params, lora)
    image = golden.to_nhwc(golden.inputs('full_ram', 'dape_384')['image'])
    run = jax.jit(lambda p, a: apply(NETWORKS.prompt_extractor, p, a, method='tokens_and_logits'))
    embedded, logits = run(merged, image)
    check('full_ram', 'dape_384', 'image_embeds', embedded)
    check('full_ram', 'dape_384', 'logits', logits)


@pytest.mark.parametrize('case', ['x518', 'x140x168'])
def test_dinov2(case):
    params, _, _ = parameters('dinov2_vits14', 'dinov2')
    image = golden.to_nhwc(golden.inputs('full_dinov2', case)['x'])
    _, out = jax.jit(lambda p, a: apply(NETWORKS.dinov2, p, a))(params, image)
    check('full_dinov2', case, 'cls', out[:, 0])


def test_discriminator():
    features, _, _ = parameters('dino_vits16', 'dino')
    params, _, spectral = parameters('discriminator_heads', 'discriminator')
    x = golden.inputs('full_discriminator', 'x256_train')
    side, hooks = sizes.SD2.discriminator.image_size, sizes.SD2.discriminator.hooks

    @jax.jit
    def run(features, params, spectral, images, condition):
        seen = resize((images + 1) / 2, (side, side), 'area')
        hidden, _ = apply(NETWORKS.dino, features, normalise(seen))
        moved = power_iteration(params, spectral)  # as a forward in train mode
        return NETWORKS.heads.apply({'params': params, 'spectral': moved}, readout(hidden, hooks), condition)

    logits = run(features, params, spectral, golden.to_nhwc(x['x']), x['c'])
    for k, part in enumerate(jnp.split(logits, 5, axis=1)):
        check('full_discriminator', 'x256_train', f'logits.{k}', part)
