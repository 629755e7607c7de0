"""The numbers of every network: frozen dataclasses without defaults, which `sizes` gives their values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from addsr_jax.errors import UserError
from addsr_jax.options import Options, option

ATTENTIONS = ('auto', 'einsum', 'chunked', 'cudnn', 'flash')  # kernels of ops.attention, or the platform's quickest
RUNTIMES = ('xla', 'onnx')  # of a sampler, on the devices or by ONNX Runtime
MOST_ALONG = 16  # pixels along an edge that restoration.edges takes a mean over
COLORS = ('guided', 'wavelet', 'adain', 'none')  # of restoration.finish
# channels, layers, heads, levels, residual blocks of a level, pixels: more is a mistake, or would be traced for minutes
WIDEST, DEEPEST, HEADS, LEVELS, BLOCKS, LARGEST = 65_536, 64, 1024, 8, 8, 8192
WINDOW, TABLE = 64, 2048  # tokens of a window's side, and times those of the picture's: tables made before it runs


def _channels(help: str, low: int = 1) -> Any:
    return option(help, low=low, high=WIDEST, unit='channels')


def _count(help: str, low: int = 1, high: int = DEEPEST) -> Any:
    return option(help, low=low, high=high)


def _pixels(help: str, low: int = 1) -> Any:
    return option(help, low=low, high=LARGEST, unit='pixels')


def _epsilon(help: str = 'added to a variance') -> Any:
    return option(help, above=0, high=1)


def _divides(what: str, parts: int, of: str, whole: int | Sequence[int]) -> None:
    """A UserError where `parts` does not divide every one of `whole`."""
    for number in (whole,) if isinstance(whole, int) else whole:
        if number % parts:
            raise UserError(f'{what} {parts} does not divide {of} {number}')


def _same(what: str, number: int | tuple[int, ...], of: str, other: int | tuple[int, ...]) -> None:
    """A UserError where two that have to be equal are not."""
    if number != other:
        raise UserError(f'{what} {number} is not {of} {other}')


def _as_many(lengths: dict[str, Sequence[Any]]) -> None:
    """A UserError where tuples that belong together differ in length."""
    if len({len(values) for values in lengths.values()}) > 1:
        told = ', '.join(f'{name} {len(values)}' for name, values in lengths.items())
        raise UserError(f'these have one entry for each level, and differ in length: {told}')


@dataclass(frozen=True, kw_only=True)
class AutoencoderSpec(Options):
    """KL autoencoder (Rombach et al. 2022; AutoencoderKL of diffusers)."""

    image_channels: int = _channels('of pictures')
    latent_channels: int = _channels('of latents')
    block_out_channels: tuple[int, ...] = option(
        'of each level', low=1, high=WIDEST, least_items=1, most_items=LEVELS, unit='channels'
    )
    layers_per_block: int = _count('residual blocks of a level; the decoder has one more', high=BLOCKS)
    norm_groups: int = _count('groups of group norms; 0: no normalisation at all', 0, WIDEST)
    norm_eps: float = _epsilon()
    mid_attention: bool = option('attention in the middle')
    patch: int = _count('space-to-depth before the encoder, pixel-shuffle after the decoder', high=64)
    scaling_factor: float = option('latents = scaling_factor * sample of the posterior', above=0, high=1e6)
    guided_blocks: int = option(
        'residual blocks of a decoder that sees the low-quality picture beside the latents, and adds to it; 0: the '
        'mirror of the encoder, which sees latents alone',
        low=0,
        high=DEEPEST,
    )

    @property
    def factor(self) -> int:
        """Pixels per latent along one axis."""
        return self.patch * 2 ** (len(self.block_out_channels) - 1)

    def check_together(self) -> None:
        if self.norm_groups:
            _divides('norm_groups', self.norm_groups, 'block_out_channels', self.block_out_channels)


@dataclass(frozen=True, kw_only=True)
class TinyDecoderSpec(Options):
    """A small decoder distilled from the autoencoder's (TAESD by Ollin Boer Bohan; AutoencoderTiny of diffusers)."""

    channels: int = _channels('of every layer')
    blocks: tuple[int, ...] = option(
        'residual blocks of each level, from latents to pictures', low=1, high=BLOCKS, least_items=1, most_items=LEVELS
    )

    @property
    def factor(self) -> int:
        """Pixels per latent along one axis."""
        return 2 ** (len(self.blocks) - 1)


@dataclass(frozen=True, kw_only=True)
class TextEncoderSpec(Options):
    """CLIP text tower (Radford et al. 2021; CLIPTextModel of transformers)."""

    vocab_size: int = _count('words of the tokenizer', high=10_000_000)
    width: int = _channels('of tokens')
    mlp_width: int = _channels('inside the MLP')
    layers: int = _count('transformer blocks')
    heads: int = _count('of attention', high=HEADS)
    positions: int = _count('tokens of a caption', high=LARGEST)
    norm_eps: float = _epsilon()

    def check_together(self) -> None:
        _divides('heads', self.heads, 'width', self.width)


@dataclass(frozen=True, kw_only=True)
class SwinSpec(Options):
    """Swin transformer (Liu et al. 2021), the image tower of RAM."""

    image_size: int = _pixels('the network always sees image_size x image_size')
    patch: int = _pixels('side of a token of the first level')
    width: int = _channels('of the first level; it doubles at each')
    depths: tuple[int, ...] = option('blocks of each level', low=1, high=DEEPEST, least_items=1, most_items=LEVELS)
    heads: tuple[int, ...] = option('of attention, of each level', low=1, high=HEADS, least_items=1, most_items=LEVELS)
    window: int = _count('side of a window of attention, in tokens', high=WINDOW)
    mlp_ratio: int = _count('width inside the MLP / width', high=64)
    norm_eps: float = _epsilon()

    def check_together(self) -> None:
        _as_many({'depths': self.depths, 'heads': self.heads})
        _divides('patch', self.patch, 'image_size', self.image_size)
        side = self.image_size // self.patch
        if side * min(self.window, side) > TABLE:
            raise UserError(f'{side} tokens a side of image_size times window {self.window} are more than {TABLE}')
        for level, heads in enumerate(self.heads):
            _divides(f'heads[{level}]', heads, f'the width of level {level},', self.width * 2**level)
            _divides('window', min(self.window, side), f'the side of level {level} in tokens,', side)
            if level + 1 < len(self.heads):
                _divides('merging by', 2, f'the side of level {level} in tokens,', side)
            side //= 2


@dataclass(frozen=True, kw_only=True)
class TaggingSpec(Options):
    """RAM's tagging head: label queries that look at the image tokens (Query2Label, Liu et al. 2021)."""

    classes: int = _count('tags', high=1_000_000)
    width: int = _channels('of queries')
    mlp_width: int = _channels('inside the MLP')
    layers: int = _count('transformer blocks')
    heads: int = _count('of attention', high=HEADS)
    norm_eps: float = _epsilon()

    def check_together(self) -> None:
        _divides('heads', self.heads, 'width', self.width)


@dataclass(frozen=True, kw_only=True)
class PromptExtractorSpec(Options):
    """RAM with DAPE's low-rank adaptation (Wu et al. 2024, SeeSR)."""

    swin: SwinSpec = option('image tower')
    tagging: TaggingSpec = option('tagging head')
    token_dim: int = _channels('of the image tokens that the UNet attends to')
    lora_rank: int = _count('of the adaptation', high=HEADS)
    lora_scale: float = option('what the adaptation is multiplied by', low=0, high=1e6)


@dataclass(frozen=True, kw_only=True)
class UNetSpec(Options):
    """UNet2DConditionModel of diffusers with SeeSR's image attentions.

    Level i of the down path has transformers where `attention[i]`; the up path mirrors it; the middle always has one.
    """

    in_channels: int = _channels(
        "the latents', or twice as many: E(condition image) beside them (Rombach et al. 2022, section 4.4)"
    )
    out_channels: int = _channels("the latents'")
    block_out_channels: tuple[int, ...] = option(
        'of each level', low=1, high=WIDEST, least_items=1, most_items=LEVELS, unit='channels'
    )
    attention: tuple[bool, ...] = option('transformers in each level', least_items=1, most_items=LEVELS)
    layers_per_block: int = _count('residual blocks of a level; the up path has one more', high=BLOCKS)
    heads: tuple[int, ...] = option(  # diffusers calls the count attention_head_dim
        'of attention, of each level; their COUNT', low=1, high=HEADS, least_items=1, most_items=LEVELS
    )
    text_dim: int = _channels("the text encoder's width")
    image_dim: int | None = option(
        "width of the prompt extractor's tokens; None: no image attentions (plain SD)", low=1, high=WIDEST
    )
    norm_groups: int = _count('groups of group norms', high=WIDEST)
    norm_eps: float = _epsilon()
    transformer_norm_eps: float = _epsilon('added to a variance, in the group norms before transformers')
    layer_norm_eps: float = _epsilon('added to a variance, in layer norms')

    def check_together(self) -> None:
        _as_many({'block_out_channels': self.block_out_channels, 'attention': self.attention, 'heads': self.heads})
        _divides('norm_groups', self.norm_groups, 'block_out_channels', self.block_out_channels)
        last = len(self.heads) - 1  # the middle has its heads
        for level, (heads, width) in enumerate(zip(self.heads, self.block_out_channels, strict=True)):
            if self.attention[level] or level == last:
                _divides(f'heads[{level}]', heads, f'block_out_channels[{level}]', width)


@dataclass(frozen=True, kw_only=True)
class ControlNetSpec(Options):
    """ControlNet (Zhang et al. 2023) on the UNet's down path and middle."""

    unet: UNetSpec = option('whose down path and middle it copies')
    condition_channels: int = _channels('of the condition image')
    condition_embedding_channels: tuple[int, ...] = option(
        'of each step of its encoder; each after the first halves the condition image',
        low=1,
        high=WIDEST,
        least_items=1,
        most_items=LEVELS,
        unit='channels',
    )


@dataclass(frozen=True, kw_only=True)
class ViTSpec(Options):
    """Vision transformer: DINO (Caron et al. 2021) and DINOv2 (Oquab et al. 2023)."""

    image_size: int = _pixels('the grid that the position embedding was trained on')
    patch: int = _pixels('side of a token')
    width: int = _channels('of tokens')
    depth: int = _count('transformer blocks')
    heads: int = _count('of attention', high=HEADS)
    mlp_ratio: int = _count('width inside the MLP / width', high=64)
    norm_eps: float = _epsilon()
    layer_scale: bool = option('a learned factor after attention and MLP')
    mask_token: bool = option('a parameter that only training used')
    position_offset: float = option(
        'DINOv2 resizes its position embedding by (grid + offset) / trained grid', low=0, high=1
    )

    def check_together(self) -> None:
        _divides('heads', self.heads, 'width', self.width)
        _divides('patch', self.patch, 'image_size', self.image_size)


@dataclass(frozen=True, kw_only=True)
class DiscriminatorSpec(Options):
    """Projected discriminator heads on frozen features (Sauer et al. 2023, StyleGAN-T)."""

    feature_channels: tuple[int, ...] = option(
        'one head per entry', low=1, high=WIDEST, least_items=1, most_items=LEVELS, unit='channels'
    )
    condition_dim: int = _channels('of the condition')
    projection_dim: int = _channels('of features and condition where they meet')
    norm_groups: int = _count('groups of group norms', high=WIDEST)
    norm_eps: float = _epsilon()
    slope: float = option('of the leaky rectifier below 0', low=0, high=1)
    kernel_size: int = _count('of the residual block, circular over the flattened tokens', high=LARGEST)
    hooks: tuple[int, ...] = option(
        'ViT: blocks whose output is used (the last head sees the patches); teacher: down levels',
        low=0,
        high=DEEPEST,
        least_items=1,
        most_items=LEVELS,
    )
    image_size: int = _pixels('side of the picture that the frozen features see')

    def check_together(self) -> None:
        _divides('norm_groups', self.norm_groups, 'feature_channels', self.feature_channels)


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec(Options):
    """Scaled-linear noise schedule and what the UNet predicts."""

    beta_start: float = option('variance added by the first timestep', above=0, below=1)
    beta_end: float = option('variance added by the last timestep', above=0, below=1)
    steps: int = _count('timesteps', high=1_000_000)
    prediction: str = option('what the UNet predicts', choices=('epsilon', 'v'))

    def check_together(self) -> None:
        if self.beta_start > self.beta_end:
            raise UserError(f'beta_start {self.beta_start:g} is above beta_end {self.beta_end:g}')


@dataclass(frozen=True, kw_only=True)
class PromptSpec(Options):
    """Words that are added to a user's prompt, those to stay away from, and how strongly the teacher does."""

    student_added: str = option('words that the student is told beside the prompt')
    teacher_added: str = option('words that the teacher is told beside the prompt')
    negative: str = option('words that the teacher stays away from')
    guidance_scale: float = option('how strongly it does; 1: not at all', low=0, high=1000)


@dataclass(frozen=True, kw_only=True)
class ViewSpec(Options):
    """How a picture file is shown to the networks, and what becomes of theirs."""

    smallest_output: int = _pixels('a smaller result is made larger, and shrunk again', low=0)
    multiple: int = _pixels('sides of the enlarged picture are shrunk to multiples of this, and stretched at the end')
    truncates: bool = option('the colour fix works on bytes, and what it makes is cut off to bytes instead of rounded')
    tokens_of: str = option(
        "first look of the prompt extractor: 'file', the whole small file; 'tile', what the UNet restores",
        choices=('file', 'tile'),
    )
    student_steps: int = _count('times that the student is asked, where the user says nothing', high=1000)
    color: str = option('colour fix, where the user names none', choices=COLORS)
    grain: float = option(
        'luma that varies by less is smoothed, where the user says nothing', low=0, high=255, unit='levels of 255'
    )
    overshoot: float = option(
        'how far a result goes beyond the range of the four nearest pixels of the small picture, as a share of it, '
        'where the user says nothing; 10: as far as it likes',
        low=0,
        high=10,
    )
    calm: float = option(
        'where the picture varies by less the result is the enlarged picture, where the user says nothing; 0: nowhere',
        low=0,
        high=255,
        unit='levels of 255',
    )
    plain: float = option(
        'luma that varies by less is smoothed where the picture is plain, where the user says nothing; 0: nowhere',
        low=0,
        high=255,
        unit='levels of 255',
    )
    edges: float = option(
        'how far along clear edges of the picture results are averaged, where the user says nothing; 0: nowhere',
        low=0,
        high=MOST_ALONG,
        unit='pixels of the result',
    )
    film_grain: float = option(
        'deviation of the grain that results are given, where the user says nothing; 0: none',
        low=0,
        high=255,
        unit='levels of 255',
    )


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Options):
    """All networks of one size."""

    name: str = option('of the size')
    autoencoder: AutoencoderSpec = option('pictures to latents and back')
    text_encoder: TextEncoderSpec = option('captions to tokens')
    prompt_extractor: PromptExtractorSpec = option('low-quality pictures to tokens and tags')
    unet: UNetSpec = option('of teacher and student')
    controlnet: ControlNetSpec = option('of teacher and student')
    discriminator: DiscriminatorSpec = option('of the student')
    dino: ViTSpec | None = option("None: the discriminator looks through the teacher's down path")
    dinov2: ViTSpec | None = option("None: the discriminator is conditioned on the prompt extractor's average token")
    schedule: ScheduleSpec = option('of noise')
    prompts: PromptSpec = option('words beside those of the user')
    tiny_decoder: TinyDecoderSpec | None = option('latents to pictures, quickly; None: there is none')
    view: ViewSpec = option('of picture files')

    def check_together(self) -> None:
        """What one network gives another has to take."""
        autoencoder, unet, controlnet = self.autoencoder, self.unet, self.controlnet
        latent = autoencoder.latent_channels
        _same('autoencoder.image_channels', autoencoder.image_channels, "pictures' channels", 3)
        _same('unet.text_dim', unet.text_dim, 'text_encoder.width', self.text_encoder.width)
        if unet.image_dim is not None:
            _same('unet.image_dim', unet.image_dim, 'prompt_extractor.token_dim', self.prompt_extractor.token_dim)
        if unet.in_channels not in (latent, 2 * latent):
            raise UserError(
                f'unet.in_channels {unet.in_channels} is not autoencoder.latent_channels {latent}, or twice it'
            )
        _same('unet.out_channels', unet.out_channels, 'autoencoder.latent_channels', latent)
        for name in ('in_channels', 'block_out_channels', 'layers_per_block', 'text_dim', 'image_dim'):
            _same(f'controlnet.unet.{name}', getattr(controlnet.unet, name), f'unet.{name}', getattr(unet, name))
        _same('controlnet.condition_channels', controlnet.condition_channels, "pictures' channels", 3)
        halved = 2 ** (len(controlnet.condition_embedding_channels) - 1)
        _same('pixels per latent of controlnet', halved, "autoencoder's", autoencoder.factor)
        if self.tiny_decoder is not None:
            _same('pixels per latent of tiny_decoder', self.tiny_decoder.factor, "autoencoder's", autoencoder.factor)
        self._check_discriminator()

    def _check_discriminator(self) -> None:
        """Its heads fit the features that they see and the condition that they are told."""
        heads = self.discriminator
        if self.dino is None or self.dinov2 is None:
            seen, after, condition = self.unet.block_out_channels, (), self.prompt_extractor.token_dim
            whose, told = 'levels of unet', 'prompt_extractor.token_dim'
            _divides('pixels per latent', self.autoencoder.factor, 'discriminator.image_size', heads.image_size)
        else:
            seen, after, condition = (self.dino.width,) * self.dino.depth, (self.dino.width,), self.dinov2.width
            whose, told = 'blocks of dino', 'dinov2.width'
            if heads.image_size < self.dino.patch:
                raise UserError(f'discriminator.image_size {heads.image_size} is below dino.patch {self.dino.patch}')
        if max(heads.hooks) >= len(seen):
            raise UserError(f'discriminator.hooks {heads.hooks} are not all below {len(seen)}, the {whose}')
        wanted = (*(seen[hook] for hook in heads.hooks), *after)
        _same('discriminator.feature_channels', heads.feature_channels, f'those of the hooked {whose},', wanted)
        _same('discriminator.condition_dim', heads.condition_dim, told, condition)
