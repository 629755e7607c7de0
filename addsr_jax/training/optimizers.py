"""AdamW with clipping, warm-up and a falling rate from plain numbers."""

import optax

from addsr_jax.training.options import OptimizerOptions


def learning_rate(options: OptimizerOptions, steps: int) -> optax.Schedule:
    """Update number -> rate: linear warm-up, then a cosine to the final rate at `steps`, or halved at `halve_at`."""
    if options.halve_at:
        after = {update - options.warmup: 0.5 for update in options.halve_at}  # as counted behind the warm-up
        decay = optax.piecewise_constant_schedule(options.learning_rate, after)
    else:
        decay = optax.cosine_decay_schedule(
            options.learning_rate, max(steps - options.warmup, 1), options.final_learning_rate / options.learning_rate
        )
    if not options.warmup:
        return decay
    # the first update already moves: rate 1 / warmup, not 0
    warmup = optax.linear_schedule(options.learning_rate / options.warmup, options.learning_rate, options.warmup)
    return optax.join_schedules([warmup, decay], [options.warmup])


def make_optimizer(options: OptimizerOptions, steps: int) -> optax.GradientTransformation:
    """Clip by global norm, then AdamW (Loshchilov & Hutter 2019)."""
    adam = optax.adamw(
        learning_rate(options, steps),
        b1=options.beta1,
        b2=options.beta2,
        eps=options.epsilon,
        weight_decay=options.weight_decay,
    )
    if not options.clip:
        return adam
    return optax.chain(optax.clip_by_global_norm(options.clip), adam)
