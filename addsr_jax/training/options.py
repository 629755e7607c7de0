"""Every key of a training config, its default at Stable Diffusion 2 size, its range, and a line of help.

`TRAINING` has the options of each stage. Nothing here imports what is slow, so that help texts are quick.
"""

from dataclasses import dataclass

from addsr_jax.data.options import DataOptions
from addsr_jax.errors import UserError
from addsr_jax.options import Options, option
from addsr_jax.specs import ATTENTIONS
from addsr_jax.stages.objectives import (
    AddsrObjective,
    AutoencoderObjective,
    DapeObjective,
    SeesrObjective,
    TinyDecoderObjective,
)

MOST = 1_000_000_000  # updates
PRECISIONS = ('default', 'high', 'highest')
REMATS = ('none', 'blocks', 'full')  # in the order of memory that they leave free


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions(Options):
    """AdamW with warm-up and cosine decay, or a rate that is halved."""

    learning_rate: float = option('after the warm-up', default=2e-5, above=0, high=1)
    final_learning_rate: float = option('what it falls to at the end', default=2e-5, low=0, high=1)
    halve_at: tuple[int, ...] = option(
        'updates after which the rate is halved, instead of the cosine; rising', default=(), low=1, high=MOST
    )
    warmup: int = option('rise from 0 to learning_rate', default=0, low=0, high=MOST, unit='updates')
    beta1: float = option("decay of Adam's first moment", default=0.9, low=0, below=1)
    beta2: float = option("decay of Adam's second moment", default=0.999, low=0, below=1)
    epsilon: float = option("Adam's, in the denominator", default=1e-8, above=0, high=1)
    weight_decay: float = option('decoupled from the gradient', default=1e-2, low=0, high=1)
    clip: float = option('largest global norm of the gradient; 0: not clipped', default=1.0, low=0, high=1e6)

    def check_together(self) -> None:
        if any(a >= b for a, b in zip(self.halve_at, self.halve_at[1:], strict=False)):
            raise UserError(f'halve_at must rise: {self.halve_at}')
        if self.halve_at and self.final_learning_rate != self.learning_rate:
            raise UserError(
                f'halve_at says how the rate falls: set final_learning_rate to learning_rate, {self.learning_rate:g}'
            )


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(Options):
    """The held-out pictures of evaluation and previews."""

    path: str = option(
        "folder of held-out photographs; '': sample photographs that training never sees", default='', free=True
    )
    lq_path: str = option(
        "folder of their low-quality pictures, of the same names, a quarter as large; '': they are degraded",
        default='',
        free=True,
    )
    images: int = option('crops, one of each photograph in turn', default=8, low=1, high=1024)

    def check_together(self) -> None:
        if self.lq_path and not self.path:
            raise UserError('lq_path is of the pictures in path: set that, too')


@dataclass(frozen=True, kw_only=True)
class ProfileOptions(Options):
    """A trace of a few updates for TensorBoard."""

    start: int = option('updates of this start of the run before the trace starts', default=10, low=0, high=MOST)
    steps: int = option('its length; 0: no trace', default=0, low=0, high=10_000, unit='updates')


@dataclass(frozen=True, kw_only=True)
class LoopOptions(Options):
    """What the loop itself needs."""

    steps: int = option('length of the run', default=50_000, low=1, high=MOST, unit='updates', free=True)
    batch_size: int = option('batch of an update, over all devices', default=16, low=1, high=1_000_000, unit='images')
    accumulate: int = option('micro-batches an update is split into', default=1, low=1, high=1_000_000)
    checkpoint_every: int = option(
        'from one checkpoint to the next', default=1000, low=1, high=MOST, unit='updates', free=True
    )
    keep: int = option('newest checkpoints that stay, beside the best', default=2, low=1, high=1_000_000, free=True)
    eval_every: int = option(
        'from one score on held-out pictures to the next; 0: never',
        default=1000,
        low=0,
        high=MOST,
        unit='updates',
        free=True,
    )
    log_every: int = option(
        'from one line of progress to the next', default=50, low=1, high=MOST, unit='updates', free=True
    )
    preview_every: int = option(
        'from one image grid for TensorBoard to the next; 0: never',
        default=1000,
        low=0,
        high=MOST,
        unit='updates',
        free=True,
    )
    profile: ProfileOptions = option('trace for TensorBoard', default=ProfileOptions, free=True)

    def check_together(self) -> None:
        if self.batch_size % self.accumulate:
            raise UserError(
                f'batch_size {self.batch_size} is not divisible by accumulate {self.accumulate}: '
                'every micro-batch has the same number of images'
            )


@dataclass(frozen=True, kw_only=True)
class TrainOptions(LoopOptions):
    """What the stages share; `TRAINING` has the class of each, with its objective."""

    stage: str = option('what is learned', choices=('dape', 'autoencoder', 'seesr', 'addsr', 'tiny_decoder'))
    size: str = option('of the networks', choices=('sd2', 'nano'))
    seed: int = option('root of all random numbers', default=0, low=0, high=2**32 - 1)
    mesh: str = option(
        "AXIS:DEVICES of data and fsdp, -1 takes all that are there; 'auto': fsdp:-1 where a whole copy does not fit",
        default='auto',
        free=True,
    )
    weights: str = option(
        "'nano', the folder of a bundle or of an earlier stage's final/, or ORG/NAME of a hub; '': from nothing",
        default='',
        free=True,
    )
    remat: str = option(
        "what the backward pass computes again to need less memory: 'blocks' costs a forward of what is trained, "
        "'full' two; 'auto': what fits",
        default='auto',
        choices=('auto', *REMATS),
        free=True,
    )
    dtype: str = option(
        "of compute; 'auto': bfloat16 on accelerators, float32 on CPU",
        default='auto',
        choices=('auto', 'float32', 'bfloat16'),
    )
    precision: str = option(
        "of products of float32 numbers; 'default': the device's, which on TPUs and tensor cores rounds them first",
        default='default',
        choices=PRECISIONS,
    )
    attention: str = option(
        "kernel of attention from 1,024 tokens on; 'auto': flash on TPUs, cudnn on GPUs in bfloat16, else chunked",
        default='auto',
        choices=ATTENTIONS,
        free=True,
    )
    ema: float = option('decay of the moving average of parameters; 0: none', default=0.99, low=0, below=1)
    ema_warmup: bool = option('the decay begins lower, as (1 + step) / (10 + step)', default=True)
    data: DataOptions = option('photographs', default=DataOptions)
    evaluation: EvaluationOptions = option('held-out photographs', default=EvaluationOptions)
    optimizer: OptimizerOptions = option('AdamW with warm-up and cosine decay', default=OptimizerOptions)
    discriminator_optimizer: OptimizerOptions = option(
        'the same of the discriminator, in stage addsr', default=OptimizerOptions
    )
    objective: Options = option('what the stage learns', default=Options)


@dataclass(frozen=True, kw_only=True)
class DapeTraining(TrainOptions):
    objective: DapeObjective = option('stage dape', default=DapeObjective)

    def check_together(self) -> None:
        super().check_together()
        if self.eval_every or self.preview_every:
            raise UserError(f'stage {self.stage} makes no pictures: set eval_every=0 and preview_every=0')


@dataclass(frozen=True, kw_only=True)
class AutoencoderTraining(TrainOptions):
    objective: AutoencoderObjective = option('stage autoencoder', default=AutoencoderObjective)


@dataclass(frozen=True, kw_only=True)
class SeesrTraining(TrainOptions):
    objective: SeesrObjective = option('stage seesr', default=SeesrObjective)


@dataclass(frozen=True, kw_only=True)
class AddsrTraining(TrainOptions):
    objective: AddsrObjective = option('stage addsr', default=AddsrObjective)


@dataclass(frozen=True, kw_only=True)
class TinyDecoderTraining(TrainOptions):
    objective: TinyDecoderObjective = option('stage tiny_decoder', default=TinyDecoderObjective)


TRAINING: dict[str, type[TrainOptions]] = {
    'dape': DapeTraining,
    'autoencoder': AutoencoderTraining,
    'seesr': SeesrTraining,
    'addsr': AddsrTraining,
    'tiny_decoder': TinyDecoderTraining,
}
