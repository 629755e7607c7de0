"""The numbers and switches of what the stages learn; a config's `objective` is one of these.

Defaults are those of Stable Diffusion 2 size. Nothing here needs jax, so that help texts are quick.
"""

from dataclasses import dataclass

from addsr_jax.errors import UserError
from addsr_jax.options import Options, option


@dataclass(frozen=True, kw_only=True)
class DapeObjective(Options):
    """Stage 1: tokens and tags of the degraded picture against those of the clean one."""

    targets: str = option(
        "what the clean picture says: the frozen network's answer, or colour and gradient statistics",
        default='clean_tokens',
        choices=('clean_tokens', 'statistics'),
    )
    trainable: str = option('low-rank adaptation, or the whole network', default='lora', choices=('lora', 'all'))
    interpolation: str = option(
        'how pictures are shrunk to the side that the network sees', default='bilinear', choices=('bilinear', 'bicubic')
    )
    dropout: float = option(
        "in the network that learns: chance of its last block's branches, and of numbers of its tagging head, to be 0",
        default=0.1,
        low=0,
        below=1,
    )
    token_weight: float = option('weight of the mean square error of tokens', default=1.0, low=0, high=1e6)
    tag_weight: float = option('weight of the cross-entropy of tags', default=1.0, low=0, high=1e6)


@dataclass(frozen=True, kw_only=True)
class AutoencoderObjective(Options):
    """Stage 2: |D(z) - h| and two more terms."""

    perceptual: float = option(
        "weight of the distance in the prompt extractor's features", default=0.1, low=0, high=1e6
    )
    kl: float = option('weight of KL(q(z | h) || N(0, 1))', default=1e-6, low=0, high=1e6)
    perceptual_stages: int = option("how many of the prompt extractor's stages are compared", default=2, low=1, high=8)
    lpips_weight: float = option('weight of LPIPS (VGG16)', default=0.0, low=0, high=1e6)
    trainable: str = option(
        'everything, or the decoder for latents that stay as they are', default='all', choices=('all', 'decoder')
    )
    latent_noise: float = option(
        'largest deviation of the noise that scaled latents get before they are decoded, drawn for each picture: what '
        'makes a decoder that sees the low-quality picture look at it',
        default=0.0,
        low=0,
        high=100,
    )


@dataclass(frozen=True, kw_only=True)
class TinyDecoderObjective(Options):
    """Beside the stages: |T(z) - D(z)|, T the small decoder and D the autoencoder's own."""

    channels: int = option('of every layer', default=64, low=1, high=65_536)
    blocks: tuple[int, ...] = option(
        'residual blocks of each level, from latents to pictures', default=(3, 3, 3, 1), low=1, high=8, least_items=1
    )
    lpips_weight: float = option('weight of LPIPS (VGG16) of both pictures', default=0.0, low=0, high=1e6)
    latent_noise: float = option(
        'largest deviation of the noise that scaled latents get, drawn for each picture', default=0.0, low=0, high=100
    )


@dataclass(frozen=True, kw_only=True)
class SeesrObjective(Options):
    """Stage 3: denoising, conditioned on the low-quality picture."""

    trainable: str = option(
        'everything, or the published set: the ControlNet and image attentions of the UNet',
        default='image_attentions',
        choices=('all', 'image_attentions'),
    )
    late_timesteps: float = option(
        "share of samples at one of the student's four timesteps instead of any", default=0.0, low=0, high=1
    )
    huber_c: float = option(
        'error where the square turns into an absolute value, in units of the target; 0: nowhere',
        default=0.0,
        low=0,
        high=1e3,
    )


@dataclass(frozen=True, kw_only=True)
class AddsrObjective(Options):
    """Stage 4: section 3 of the paper in numbers; the switches are those of docs/differences.md."""

    timesteps: tuple[int, ...] = option(
        "S, the student's chain, falling", default=(999, 749, 499, 249), low=0, high=999, least_items=2
    )
    teacher_samples: int = option('K, timesteps at which the teacher answers', default=4, low=1, high=1000)
    teacher_together: int = option(
        'how many of the K answers are computed in one batch, which takes memory for so many',
        default=1,
        low=1,
        high=1000,
    )
    one_step_probability: float = option('chance that the first step is trained', default=0.5, low=0, high=1)
    distillation_weight: float = option(
        'weight of the distillation, 1 in the paper; 0: the teacher is not asked', default=1.0, low=0, high=1e6
    )
    adversarial_weight: float = option(
        'lambda, weight of the adversarial loss; 0: the discriminator rests', default=0.02, low=0, high=1e6
    )
    lpips_weight: float = option(
        'weight of LPIPS (VGG16) between prediction and target, which the paper does not have',
        default=0.0,
        low=0,
        high=1e6,
    )
    pixel_weight: float = option(
        'weight of |x_theta - h|, pictures in [0, 1], which the paper does not have', default=0.0, low=0, high=1e6
    )
    spectrum_weight: float = option(
        'weight of texture that the target has not, by local spectra of luma, which the paper does not have',
        default=0.0,
        low=0,
        high=1e6,
    )
    train_decoder: bool = option(
        "the autoencoder's decoder learns with the student, which the paper's does not", default=False
    )
    mu: float = option('d(s, t) = sqrt(abar_t) mu nu^(p - 1)', default=0.5, low=0, high=1e6)
    nu: float = option('d(s, t) = sqrt(abar_t) mu nu^(p - 1)', default=2.1, above=0, high=1e6)
    start: str = option(
        "where the student begins: the teacher's weights, or those of a trained student; 'auto': the student's where "
        'the weights hold one, but for those of stage seesr, whose teacher is newer, and the embedded ones',
        default='auto',
        choices=('auto', 'teacher', 'student'),
    )
    trainable: str = option(
        'everything, the published set (image attentions and condition encoder), or low-rank adapters',
        default='image_attentions',
        choices=('all', 'image_attentions', 'lora'),
    )
    lora_rank: int = option('of the adapters, with trainable=lora', default=16, low=1, high=1024)
    lora_alpha: float = option('adapters count alpha / rank, with trainable=lora', default=16.0, above=0, high=1e6)
    ta_index: str = option(
        "whose index p weighs the distillation: the trained step's, or the chain's first step's",
        default='graded_step',
        choices=('graded_step', 'first_step'),
    )
    ta_form: str = option('d as a function of p', default='exponential', choices=('exponential', 'linear', 'constant'))
    second_step_latent: str = option(
        'what is noised again for the second step: the first prediction, or E(h)',
        default='student',
        choices=('student', 'hr'),
    )
    psr_range: str = option(
        'the second condition lies in [0, 1] like every other, or in [-1, 1]',
        default='unit',
        choices=('unit', 'signed'),
    )
    psr_train: float = option('share of the prediction in the second condition', default=1.0, low=0, high=1)
    psr_preview: float = option('the same in preview pictures', default=0.4, low=0, high=1)
    teacher_condition: str = option(
        "what the teacher is conditioned on; 'lq' is plain ADD", default='hr', choices=('hr', 'lq')
    )
    teacher_decoder: str = option(
        "what draws the teacher's pictures: the decoder, or the small one of the weights, which costs less",
        default='whole',
        choices=('whole', 'tiny'),
    )
    noise: str = option(
        'fields of their own, or one for both student steps and all teachers',
        default='independent',
        choices=('independent', 'shared'),
    )
    branch: str = option(
        'one or two steps: drawn for each sample, for two neighbours (what a published process has), or for the batch, '
        'which costs least',
        default='per_batch',
        choices=('per_sample', 'per_pair', 'per_batch'),
    )
    c_norm: str = option(
        "how the condition network's picture is normalised", default='none', choices=('imagenet', 'none')
    )
    spectral_steps: int = option('power iterations an update', default=1, choices=(1, 3))
    r1: float = option("weight of R1 on the heads' features, which plain ADD has", default=0.0, low=0, high=1e6)
    d_grad_leak: bool = option("the generator's gradient in D is added to D's next one", default=False)

    @property
    def source(self) -> str:
        """The part whose weights the student gets; of 'auto', before a run has looked into its weights, the teacher."""
        return 'student' if self.start == 'student' else 'teacher'

    def check_together(self) -> None:
        if any(a <= b for a, b in zip(self.timesteps, self.timesteps[1:], strict=False)):
            raise UserError(f'timesteps must fall: {self.timesteps}')
        weights = ('distillation_weight', 'adversarial_weight', 'lpips_weight', 'pixel_weight', 'spectrum_weight')
        if not any(getattr(self, name) for name in weights):
            raise UserError(f'nothing would be learned: give one of {", ".join(weights)} more than 0')
        if self.teacher_samples % self.teacher_together:
            raise UserError(
                f'teacher_together={self.teacher_together} does not divide teacher_samples={self.teacher_samples}'
            )
