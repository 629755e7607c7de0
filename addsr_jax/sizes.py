"""The two sizes `sd2` and `nano`: a size is a value here, never an `if` elsewhere.

The numbers of `sd2` are those of the published checkpoints (Stable Diffusion 2 base, SeeSR, AddSR, RAM, DINO, DINOv2);
those of `nano` are ours, chosen for two CPU cores.
"""

from addsr_jax.specs import (
    AutoencoderSpec,
    ControlNetSpec,
    DiscriminatorSpec,
    ModelSpec,
    PromptExtractorSpec,
    PromptSpec,
    ScheduleSpec,
    SwinSpec,
    TaggingSpec,
    TextEncoderSpec,
    TinyDecoderSpec,
    UNetSpec,
    ViewSpec,
    ViTSpec,
)

# reference: Stable Diffusion 2 base unet/config.json; image_dim is the default of SeeSR's constructor
_SD2_UNET = UNetSpec(
    in_channels=4,
    out_channels=4,
    block_out_channels=(320, 640, 1280, 1280),
    attention=(True, True, True, False),
    layers_per_block=2,
    heads=(5, 10, 20, 20),
    text_dim=1024,
    image_dim=512,
    norm_groups=32,
    norm_eps=1e-5,
    transformer_norm_eps=1e-6,
    layer_norm_eps=1e-5,
)

SD2 = ModelSpec(
    name='sd2',
    autoencoder=AutoencoderSpec(
        image_channels=3,
        latent_channels=4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        norm_groups=32,
        norm_eps=1e-6,
        mid_attention=True,
        patch=1,
        scaling_factor=0.18215,  # default of AutoencoderKL; the published config has no such key
        guided_blocks=0,
    ),
    text_encoder=TextEncoderSpec(  # OpenCLIP ViT-H/14 without its last layer
        vocab_size=49408, width=1024, mlp_width=4096, layers=23, heads=16, positions=77, norm_eps=1e-5
    ),
    prompt_extractor=PromptExtractorSpec(
        swin=SwinSpec(  # RAM: swin_large_patch4_window12_384
            image_size=384,
            patch=4,
            width=192,
            depths=(2, 2, 18, 2),
            heads=(6, 12, 24, 48),
            window=12,
            mlp_ratio=4,
            norm_eps=1e-5,
        ),
        tagging=TaggingSpec(classes=4585, width=768, mlp_width=3072, layers=2, heads=4, norm_eps=1e-12),
        token_dim=512,
        lora_rank=8,
        lora_scale=1 / 8,
    ),
    unet=_SD2_UNET,
    controlnet=ControlNetSpec(unet=_SD2_UNET, condition_channels=3, condition_embedding_channels=(16, 32, 96, 256)),
    discriminator=DiscriminatorSpec(
        feature_channels=(384,) * 5,
        condition_dim=384,
        projection_dim=64,
        norm_groups=4,
        norm_eps=1e-5,
        slope=0.2,
        kernel_size=9,
        hooks=(2, 5, 8, 11),
        image_size=224,
    ),
    dino=ViTSpec(  # vit_small_patch16_224_dino
        image_size=224,
        patch=16,
        width=384,
        depth=12,
        heads=6,
        mlp_ratio=4,
        norm_eps=1e-6,
        layer_scale=False,
        mask_token=False,
        position_offset=0.0,
    ),
    dinov2=ViTSpec(  # dinov2_vits14
        image_size=518,
        patch=14,
        width=384,
        depth=12,
        heads=6,
        mlp_ratio=4,
        norm_eps=1e-6,
        layer_scale=True,
        mask_token=True,
        position_offset=0.1,
    ),
    tiny_decoder=TinyDecoderSpec(channels=64, blocks=(3, 3, 3, 1)),  # taesd_decoder
    schedule=ScheduleSpec(beta_start=0.00085, beta_end=0.012, steps=1000, prediction='epsilon'),
    prompts=PromptSpec(
        student_added='clean, high-resolution, 8k, extremely detailed, best quality, sharp',  # test_addsr.py
        teacher_added='clean, high-resolution, 8k',  # test_seesr.py
        negative='dotted, noise, blur, lowres, smooth',
        guidance_scale=5.5,  # test_seesr.py
    ),
    view=ViewSpec(
        smallest_output=512,
        multiple=8,
        truncates=True,
        tokens_of='file',
        student_steps=4,
        color='adain',
        grain=0.0,
        overshoot=10.0,
        calm=0.0,
        plain=0.0,
        edges=0.0,
        film_grain=0.0,
    ),  # both scripts
)

_NANO_UNET = UNetSpec(
    in_channels=8,  # trained from nothing, the network should not have to learn the encoder too
    out_channels=4,
    block_out_channels=(48, 64, 96),
    attention=(False, False, True),
    layers_per_block=1,
    heads=(2, 2, 3),
    text_dim=64,
    image_dim=64,
    norm_groups=8,
    norm_eps=1e-5,
    transformer_norm_eps=1e-6,
    layer_norm_eps=1e-5,
)

NANO = ModelSpec(
    name='nano',
    autoencoder=AutoencoderSpec(
        image_channels=3,
        latent_channels=4,
        block_out_channels=(48, 64),
        layers_per_block=1,
        norm_groups=0,  # statistics over an image would show as colour steps between tiles
        norm_eps=1e-6,
        mid_attention=False,
        patch=2,
        scaling_factor=1.0,
        guided_blocks=0,
    ),
    text_encoder=TextEncoderSpec(
        vocab_size=512, width=64, mlp_width=128, layers=2, heads=2, positions=77, norm_eps=1e-5
    ),
    prompt_extractor=PromptExtractorSpec(
        swin=SwinSpec(
            image_size=128,
            patch=4,
            width=32,
            depths=(2, 2, 2),
            heads=(1, 2, 4),
            window=8,
            mlp_ratio=4,
            norm_eps=1e-5,
        ),
        tagging=TaggingSpec(classes=32, width=64, mlp_width=128, layers=2, heads=2, norm_eps=1e-12),
        token_dim=64,
        lora_rank=4,
        lora_scale=1 / 4,
    ),
    unet=_NANO_UNET,
    controlnet=ControlNetSpec(unet=_NANO_UNET, condition_channels=3, condition_embedding_channels=(16, 32, 64)),
    discriminator=DiscriminatorSpec(
        feature_channels=(48, 64, 96),
        condition_dim=64,
        projection_dim=32,
        norm_groups=4,
        norm_eps=1e-5,
        slope=0.2,
        kernel_size=9,
        hooks=(0, 1, 2),
        image_size=128,
    ),
    dino=None,
    dinov2=None,
    tiny_decoder=None,
    schedule=ScheduleSpec(beta_start=0.00085, beta_end=0.012, steps=1000, prediction='v'),
    prompts=PromptSpec(
        student_added='clean, sharp',
        teacher_added='clean, sharp',
        negative='blurry, noisy, jpeg, small',
        guidance_scale=1.5,
    ),
    view=ViewSpec(
        smallest_output=0,
        multiple=1,
        truncates=False,
        tokens_of='tile',
        student_steps=1,  # four are worse by LPIPS and DISTS (docs/nano.md)
        color='wavelet',
        grain=0.0,
        overshoot=0.3,
        calm=0.7,
        plain=1.5,
        edges=2.0,
        film_grain=0.0,
    ),
)

MODELS = {'sd2': SD2, 'nano': NANO}
