"""Our networks beside diffusers, transformers and timm on random weights and sizes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import sizes, specs
from addsr_jax.networks.autoencoder import Autoencoder
from addsr_jax.networks.build import apply
from addsr_jax.networks.controlnet import ControlNet
from addsr_jax.networks.lora import Adapters
from addsr_jax.networks.text_encoder import TextEncoder
from addsr_jax.networks.unet import UNet
from addsr_jax.networks.vit import ViT
from addsr_jax.stages.addsr_objective import ADAPTED
from addsr_jax.weights.adapters import FILE, write
from tests.parity import common

pytestmark = [pytest.mark.parity, pytest.mark.torch]
UNET = dataclasses.replace(
    sizes.SD2.unet,
    block_out_channels=(32, 64),
    attention=(True, False),
    layers_per_block=2,
    heads=(2, 4),
    text_dim=24,
    image_dim=None,
    norm_groups=8,
)
SIZES = [(8, 8), (16, 12), (10, 14)]


def unet_inputs(size):
    latents, text = common.normal(2, *size, 4), common.normal(2, 7, 24, seed=2)
    return latents, np.array([3, 901], np.int32), text


def common_arguments():
    return {
        'block_out_channels': UNET.block_out_channels,
        'down_block_types': ('CrossAttnDownBlock2D', 'DownBlock2D'),
        'cross_attention_dim': 24,
        'attention_head_dim': UNET.heads,
        'norm_num_groups': 8,
        'use_linear_projection': True,
    }


@pytest.mark.parametrize('size', SIZES)
def test_parity_unet_without_image_attention(size):
    import torch
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    theirs = UNet2DConditionModel(up_block_types=('UpBlock2D', 'CrossAttnUpBlock2D'), **common_arguments())
    params = common.params_of(common.fill(theirs), 'unet')
    latents, t, text = unet_inputs(size)
    with torch.no_grad():
        wanted = theirs(common.to_torch(latents), torch.from_numpy(t), torch.from_numpy(text)).sample
    common.close(apply(UNet(UNET), params, latents, t, text, None), wanted)


def test_low_rank_adapters_are_files_that_diffusers_adds_by_itself(tmp_path):
    """Base and file in diffusers (by peft) give what the merged weights give here."""
    import torch
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    theirs = UNet2DConditionModel(up_block_types=('UpBlock2D', 'CrossAttnUpBlock2D'), **common_arguments())
    base = common.params_of(common.fill(theirs), 'unet')
    adapters = Adapters(ADAPTED, rank=2, scale=0.5)
    noise = np.random.default_rng(4)
    drawn = adapters.init(jax.random.key(0), {'unet': base})
    factors = jax.tree.map(lambda x: noise.normal(0, 0.3, x.shape).astype(np.float32), drawn)
    write(tmp_path, adapters.scaled(factors))
    latents, t, text = unet_inputs(SIZES[0])

    def answer():
        with torch.no_grad():
            return theirs(common.to_torch(latents), torch.from_numpy(t), torch.from_numpy(text)).sample

    before = answer()
    theirs.load_lora_adapter(str(tmp_path / 'unet'), prefix='unet', weight_name=FILE)
    merged = adapters.merge({'unet': base}, factors)['unet']
    common.close(apply(UNet(UNET), merged, latents, t, text, None), answer())
    assert (answer() - before).abs().max() > 1e-2


@pytest.mark.parametrize('size', SIZES)
def test_parity_controlnet_without_image_attention(size):
    import torch
    from diffusers.models.controlnets.controlnet import ControlNetModel

    spec = specs.ControlNetSpec(unet=UNET, condition_channels=3, condition_embedding_channels=(4, 8, 12, 16))
    theirs = ControlNetModel(conditioning_embedding_out_channels=(4, 8, 12, 16), **common_arguments())
    params = common.params_of(common.fill(theirs), 'controlnet')
    latents, t, text = unet_inputs(size)
    image = common.normal(2, 8 * size[0], 8 * size[1], 3, seed=3)
    with torch.no_grad():
        arguments = (common.to_torch(latents), torch.from_numpy(t), torch.from_numpy(text), common.to_torch(image))
        wanted = theirs(*arguments, conditioning_scale=0.7)
    down, middle = apply(ControlNet(spec), params, latents, t, text, None, image, 0.7)
    for a, b in zip(down, wanted.down_block_res_samples, strict=True):
        common.close(a, b)
    common.close(middle, wanted.mid_block_res_sample)


@pytest.mark.parametrize('size', [(32, 32), (48, 64)])
def test_parity_autoencoder(size):
    import torch
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    spec = dataclasses.replace(
        sizes.SD2.autoencoder, block_out_channels=(16, 32, 32), layers_per_block=1, norm_groups=8
    )
    theirs: Any = AutoencoderKL(
        block_out_channels=spec.block_out_channels,
        down_block_types=('DownEncoderBlock2D',) * 3,
        up_block_types=('UpDecoderBlock2D',) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
    )
    params = common.params_of(common.fill(theirs), 'autoencoder')
    image = common.normal(2, *size, 3)
    latents = common.normal(2, size[0] // 4, size[1] // 4, 4, seed=2)
    with torch.no_grad():
        moments = theirs.encode(common.to_torch(image)).latent_dist.parameters
        decoded = theirs.decode(common.to_torch(latents)).sample
    ours = Autoencoder(spec)
    common.close(apply(ours, params, image, method='moments'), moments)
    common.close(apply(ours, params, latents, method='decode'), decoded)


@pytest.mark.parametrize('length', [5, 16])
def test_parity_text_encoder(length):
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    spec = specs.TextEncoderSpec(vocab_size=99, width=32, mlp_width=64, layers=3, heads=4, positions=16, norm_eps=1e-5)
    theirs = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=99,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=16,
            hidden_act='gelu',
            projection_dim=32,
        )
    )
    state = common.fill(theirs)
    if not any(name.startswith('text_model.') for name in state):  # newer versions dropped the prefix of the files
        state = {f'text_model.{name}': tensor for name, tensor in state.items()}
    params = common.params_of(state, 'text_encoder')
    ids = np.random.default_rng(0).integers(0, 99, (2, length)).astype(np.int32)
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(ids).long()).last_hidden_state
    common.close(apply(TextEncoder(spec), params, ids), wanted)


@pytest.mark.parametrize('layer_scale', [False, True])
def test_parity_vision_transformer(layer_scale):
    import torch

    spec = dataclasses.replace(
        sizes.SD2.dinov2 if layer_scale else sizes.SD2.dino,
        image_size=32,
        patch=8,
        width=48,
        depth=3,
        heads=4,
        mask_token=False,
    )
    theirs = common.timm_transformer(
        img_size=32,
        patch_size=8,
        embed_dim=48,
        depth=3,
        num_heads=4,
        num_classes=0,
        init_values=1.0 if layer_scale else None,
    )
    params = common.params_of(common.fill(theirs), 'dinov2' if layer_scale else 'dino')
    image = common.normal(2, 32, 32, 3)
    with torch.no_grad():
        wanted = theirs.forward_features(common.to_torch(image))
    _, tokens = apply(ViT(spec), params, jnp.asarray(image))
    common.close(tokens, wanted)
