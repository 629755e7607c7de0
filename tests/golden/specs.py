"""Specs of the recorded small networks, read from the constructor arguments of the originals."""

from typing import Any

from addsr_jax.specs import (
    AutoencoderSpec,
    ControlNetSpec,
    DiscriminatorSpec,
    PromptExtractorSpec,
    SwinSpec,
    TaggingSpec,
    TextEncoderSpec,
    UNetSpec,
    ViTSpec,
)
from tests.golden import document


def unet(network: str = 'unet') -> UNetSpec:
    c = document(network, 'config')
    return UNetSpec(
        in_channels=c['in_channels'],
        out_channels=c.get('out_channels', c['in_channels']),
        block_out_channels=tuple(c['block_out_channels']),
        attention=tuple(kind.startswith('CrossAttn') for kind in c['down_block_types']),
        layers_per_block=c['layers_per_block'],
        heads=tuple(c['attention_head_dim']),
        text_dim=c['cross_attention_dim'],
        image_dim=512,
        norm_groups=c['norm_num_groups'],
        norm_eps=c['norm_eps'],
        transformer_norm_eps=1e-6,
        layer_norm_eps=1e-5,
    )


def controlnet() -> ControlNetSpec:
    c = document('controlnet', 'config')
    return ControlNetSpec(
        unet=unet('controlnet'),
        condition_channels=c['conditioning_channels'],
        condition_embedding_channels=tuple(c['conditioning_embedding_out_channels']),
    )


def autoencoder(config: dict[str, Any] | None = None) -> AutoencoderSpec:
    c = config or document('vae', 'config')
    return AutoencoderSpec(
        image_channels=c['in_channels'],
        latent_channels=c['latent_channels'],
        block_out_channels=tuple(c['block_out_channels']),
        layers_per_block=c['layers_per_block'],
        norm_groups=c['norm_num_groups'],
        norm_eps=1e-6,
        mid_attention=True,
        patch=1,
        scaling_factor=c['scaling_factor'],
        guided_blocks=0,
    )


def text_encoder() -> TextEncoderSpec:
    c = document('text_encoder', 'config')
    return TextEncoderSpec(
        vocab_size=c['vocab_size'],
        width=c['hidden_size'],
        mlp_width=c['intermediate_size'],
        layers=c['num_hidden_layers'],
        heads=c['num_attention_heads'],
        positions=c['max_position_embeddings'],
        norm_eps=c['layer_norm_eps'],
    )


def prompt_extractor() -> PromptExtractorSpec:
    c = document('ram', 'config')
    swin, head, lora = c['swin'], c['q2l'], c['lora']
    return PromptExtractorSpec(
        swin=SwinSpec(
            image_size=swin['image_res'],
            patch=c['swin_args']['patch_size'],
            width=swin['embed_dim'],
            depths=tuple(swin['depths']),
            heads=tuple(swin['num_heads']),
            window=swin['window_size'],
            mlp_ratio=int(c['swin_args']['mlp_ratio']),
            norm_eps=1e-5,
        ),
        tagging=TaggingSpec(
            classes=len(c['tags']),
            width=head['hidden_size'],
            mlp_width=head['intermediate_size'],
            layers=head['num_hidden_layers'],
            heads=head['num_attention_heads'],
            norm_eps=head['layer_norm_eps'],
        ),
        token_dim=c['encoder_width'],
        lora_rank=lora['r'],
        lora_scale=lora['scaling'],
    )


def dino() -> ViTSpec:
    c = document('dino', 'config')
    return ViTSpec(
        image_size=c['vit']['img_size'],
        patch=c['vit']['patch_size'],
        width=c['vit']['embed_dim'],
        depth=c['vit']['depth'],
        heads=c['vit']['num_heads'],
        mlp_ratio=4,
        norm_eps=c['layer_norm_eps'],
        layer_scale=False,
        mask_token=False,
        position_offset=0.0,
    )


def dinov2() -> ViTSpec:
    c = document('dinov2', 'config')
    return ViTSpec(
        image_size=c['img_size'],
        patch=c['patch_size'],
        width=c['embed_dim'],
        depth=c['depth'],
        heads=c['num_heads'],
        mlp_ratio=c['mlp_ratio'],
        norm_eps=c['layer_norm_eps'],
        layer_scale=True,
        mask_token=True,
        position_offset=c['interpolate_offset'],
    )


def discriminator() -> DiscriminatorSpec:
    c = document('discriminator', 'config')
    return DiscriminatorSpec(
        feature_channels=(c['channels'],) * c['n_hooks'],
        condition_dim=c['c_dim'],
        projection_dim=c['cmap_dim'],
        norm_groups=c['group_norm_groups'],
        norm_eps=c['group_norm_eps'],
        slope=c['leaky_relu_slope'],
        kernel_size=c['kernel_sizes'][1],
        hooks=tuple(document('dino', 'config')['hooks']),
        image_size=document('dino', 'config')['vit']['img_size'],
    )
