"""Every number of every network: frozen dataclasses without defaults, and the two sizes `sd2` and `nano`.

A size is a value here, never an `if` elsewhere. The numbers of `sd2` are those of the published checkpoints
(Stable Diffusion 2 base, SeeSR, AddSR, RAM, DINO, DINOv2); those of `nano` are ours, chosen for two CPU cores.
"""

import dataclasses
import typing
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class AutoencoderSpec:
    """KL autoencoder (Rombach et al. 2022; AutoencoderKL of diffusers)."""

    image_channels: int
    latent_channels: int
    block_out_channels: tuple[int, ...]
    layers_per_block: int  # the decoder has one more
    norm_groups: int  # 0: no normalisation at all
    norm_eps: float
    mid_attention: bool
    patch: int  # space-to-depth before the encoder, pixel-shuffle after the decoder
    scaling_factor: float  # latents = scaling_factor * sample of the posterior

    @property
    def factor(self) -> int:
        """Pixels per latent along one axis."""
        return self.patch * 2 ** (len(self.block_out_channels) - 1)


@dataclass(frozen=True)
class TextEncoderSpec:
    """CLIP text tower (Radford et al. 2021; CLIPTextModel of transformers)."""

    vocab_size: int
    width: int
    mlp_width: int
    layers: int
    heads: int
    positions: int
    norm_eps: float


@dataclass(frozen=True)
class SwinSpec:
    """Swin transformer (Liu et al. 2021), the image tower of RAM."""

    image_size: int  # the network always sees image_size x image_size pixels
    patch: int
    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    mlp_ratio: int
    norm_eps: float


@dataclass(frozen=True)
class TaggingSpec:
    """RAM's tagging head: label queries that look at the image tokens (Query2Label, Liu et al. 2021)."""

    classes: int
    width: int
    mlp_width: int
    layers: int
    heads: int
    norm_eps: float


@dataclass(frozen=True)
class PromptExtractorSpec:
    """RAM with DAPE's low-rank adaptation (Wu et al. 2024, SeeSR)."""

    swin: SwinSpec
    tagging: TaggingSpec
    token_dim: int  # width of the image tokens that the UNet attends to
    lora_rank: int
    lora_scale: float


@dataclass(frozen=True)
class UNetSpec:
    """UNet2DConditionModel of diffusers with SeeSR's image attentions.

    Level i of the down path has transformers where `attention[i]`; the up path mirrors it; the middle always has one.
    """

    in_channels: (
        int  # the latents', or twice as many: E(condition image) beside them (Rombach et al. 2022, section 4.4)
    )
    out_channels: int
    block_out_channels: tuple[int, ...]
    attention: tuple[bool, ...]
    layers_per_block: int  # the up path has one more
    heads: tuple[int, ...]  # head COUNT of each level (diffusers calls it attention_head_dim)
    text_dim: int
    image_dim: int | None  # width of the prompt extractor's tokens; None: no image attentions (plain SD)
    norm_groups: int
    norm_eps: float
    transformer_norm_eps: float
    layer_norm_eps: float
    kernel: str  # attention kernel, a name of ops.attention.KERNELS


@dataclass(frozen=True)
class ControlNetSpec:
    """ControlNet (Zhang et al. 2023) on the UNet's down path and middle."""

    unet: UNetSpec
    condition_channels: int
    condition_embedding_channels: tuple[int, ...]  # each step after the first halves the condition image


@dataclass(frozen=True)
class ViTSpec:
    """Vision transformer: DINO (Caron et al. 2021) and DINOv2 (Oquab et al. 2023)."""

    image_size: int  # the grid that the position embedding was trained on
    patch: int
    width: int
    depth: int
    heads: int
    mlp_ratio: int
    norm_eps: float
    layer_scale: bool
    mask_token: bool
    position_offset: float  # DINOv2 resizes its position embedding by (grid + offset) / trained grid


@dataclass(frozen=True)
class DiscriminatorSpec:
    """Projected discriminator heads on frozen features (Sauer et al. 2023, StyleGAN-T)."""

    feature_channels: tuple[int, ...]  # one head per entry
    condition_dim: int
    projection_dim: int
    norm_groups: int
    norm_eps: float
    slope: float
    kernel_size: int  # of the residual block, circular over the flattened tokens
    hooks: tuple[int, ...]  # ViT: blocks whose output is used (the last head sees the patches); teacher: down levels
    image_size: int  # side of the picture that the frozen features see


@dataclass(frozen=True)
class ScheduleSpec:
    """Scaled-linear noise schedule and what the UNet predicts."""

    beta_start: float
    beta_end: float
    steps: int
    prediction: str  # 'epsilon' or 'v'


@dataclass(frozen=True)
class PromptSpec:
    """Words that are added to a user's prompt, those to stay away from, and how strongly the teacher does."""

    student_added: str
    teacher_added: str
    negative: str
    guidance_scale: float


@dataclass(frozen=True)
class ViewSpec:
    """How a picture file is shown to the networks, and what becomes of theirs."""

    smallest_output: int  # pixels: a smaller result is made larger, and shrunk again
    multiple: int  # sides of the enlarged picture are shrunk to multiples of this, and stretched back at the end
    truncates: bool  # the colour fix works on bytes, and what it makes is cut off to bytes instead of rounded
    tokens_of: str  # first look of the prompt extractor: 'file', the whole small file; 'tile', what the UNet restores
    color: str  # colour fix, where the user names none
    grain: float  # levels of 255: luma that varies by less is smoothed, where the user says nothing


@dataclass(frozen=True)
class ModelSpec:
    """All networks of one size."""

    name: str
    autoencoder: AutoencoderSpec
    text_encoder: TextEncoderSpec
    prompt_extractor: PromptExtractorSpec
    unet: UNetSpec
    controlnet: ControlNetSpec
    discriminator: DiscriminatorSpec
    dino: ViTSpec | None  # None: the discriminator looks through the teacher's down path
    dinov2: ViTSpec | None  # None: the discriminator is conditioned on the prompt extractor's average token
    schedule: ScheduleSpec
    prompts: PromptSpec
    view: ViewSpec


def with_attention(spec: ModelSpec, kernel: str) -> ModelSpec:
    """The same networks with another attention kernel in UNet and ControlNet: a key of `ops.attention.KERNELS`."""
    controlnet = dataclasses.replace(spec.controlnet, unet=dataclasses.replace(spec.controlnet.unet, kernel=kernel))
    return dataclasses.replace(spec, unet=dataclasses.replace(spec.unet, kernel=kernel), controlnet=controlnet)


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
    kernel='chunked',
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
    schedule=ScheduleSpec(beta_start=0.00085, beta_end=0.012, steps=1000, prediction='epsilon'),
    prompts=PromptSpec(
        student_added='clean, high-resolution, 8k, extremely detailed, best quality, sharp',  # test_addsr.py
        teacher_added='clean, high-resolution, 8k',  # test_seesr.py
        negative='dotted, noise, blur, lowres, smooth',
        guidance_scale=5.5,  # test_seesr.py
    ),
    view=ViewSpec(
        smallest_output=512, multiple=8, truncates=True, tokens_of='file', color='wavelet', grain=0.0
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
    kernel='chunked',
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
    schedule=ScheduleSpec(beta_start=0.00085, beta_end=0.012, steps=1000, prediction='v'),
    prompts=PromptSpec(
        student_added='clean, sharp',
        teacher_added='clean, sharp',
        negative='blurry, noisy, jpeg, small',
        guidance_scale=1.5,
    ),
    view=ViewSpec(smallest_output=0, multiple=1, truncates=False, tokens_of='tile', color='guided', grain=2.5),
)

MODELS = {'sd2': SD2, 'nano': NANO}


def to_json(spec: Any) -> dict[str, Any]:
    """A spec as plain data, tuples as lists."""
    return dataclasses.asdict(spec)


# What a folder does that was written before these fields were: it keeps doing it.
BEFORE: dict[type, dict[str, Any]] = {ViewSpec: {'color': 'wavelet', 'grain': 0.0}}


def from_json(kind: type, data: dict[str, Any]) -> Any:
    """The spec of class `kind` from `to_json`'s plain data; unknown and missing keys raise ValueError."""
    fields, data = typing.get_type_hints(kind), {**BEFORE.get(kind, {}), **data}
    if set(fields) != set(data):
        missing, unknown = sorted(set(fields) - set(data)), sorted(set(data) - set(fields))
        raise ValueError(f'{kind.__name__}: missing {missing}, unknown {unknown}')
    return kind(**{name: _value(annotation, data[name]) for name, annotation in fields.items()})


def _value(annotation: Any, value: Any) -> Any:
    kinds = [k for k in (annotation, *typing.get_args(annotation)) if dataclasses.is_dataclass(k)]
    if kinds and value is not None:
        return from_json(typing.cast(type, kinds[0]), value)
    return tuple(value) if isinstance(value, list) else value
