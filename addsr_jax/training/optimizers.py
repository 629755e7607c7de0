"""AdamW with clipping, warm-up and cosine decay from plain numbers."""

from dataclasses import dataclass

import optax

from addsr_jax.errors import UserError


@dataclass(frozen=True)
class OptimizerConfig:
    """`config.optimizer` and `config.discriminator_optimizer`."""

    learning_rate: float
    final_learning_rate: float
    warmup: int  # updates from 0 to learning_rate
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    clip: float  # global norm; 0 does not clip

    def __post_init__(self):
        if self.learning_rate <= 0 or self.final_learning_rate < 0 or self.warmup < 0 or self.clip < 0:
            raise UserError(
                'optimizer: learning_rate must be positive, final_learning_rate, warmup and clip not negative'
            )


def learning_rate(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Update number -> rate: linear warm-up, then a cosine to the final rate at `steps`."""
    decay = optax.cosine_decay_schedule(
        config.learning_rate, max(steps - config.warmup, 1), config.final_learning_rate / config.learning_rate
    )
    if not config.warmup:
        return decay
    # the first update already moves: rate 1 / warmup, not 0
    warmup = optax.linear_schedule(config.learning_rate / config.warmup, config.learning_rate, config.warmup)
    return optax.join_schedules([warmup, decay], [config.warmup])


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Clip by global norm, then AdamW (Loshchilov & Hutter 2019)."""
    adam = optax.adamw(
        learning_rate(config, steps),
        b1=config.beta1,
        b2=config.beta2,
        eps=config.epsilon,
        weight_decay=config.weight_decay,
    )
    if not config.clip:
        return adam
    return optax.chain(optax.clip_by_global_norm(config.clip), adam)
