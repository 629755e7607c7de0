"""What of the student is trained, and the weight d(s, t) of its distillation: the `addsr` objective in numbers."""

import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax.stages.objectives import AddsrObjective

# Published training set: image attentions of both networks and the condition encoder (reference: train_addsr.py).
PATTERNS = {
    'all': ('.*',),
    'image_attentions': (r'.*image_attentions_\d+/.*', 'controlnet/controlnet_cond_embedding/.*'),
}
# Kernels that low-rank adapters are added to: every attention of both networks, to text and to image tokens.
ADAPTED = (r'(unet|controlnet)/.*attentions_\d+/.*/(to_q|to_k|to_v|to_out_0)/kernel',)


def step_index(objective: AddsrObjective, one_step: jax.Array, chain_start: jax.Array) -> jax.Array:
    """p(s) = 1, 2, ... along the chain, float32 [B]."""
    if objective.ta_index == 'graded_step':
        return jnp.where(one_step, 1.0, chain_start + 2.0)
    return jnp.where(one_step, float(len(objective.timesteps)), chain_start + 1.0)


def timestep_weight(objective: AddsrObjective, abar: np.ndarray, p: jax.Array, t: jax.Array) -> jax.Array:
    """d(s, t) = sqrt(abar_t) W(p), eq. 7: W = mu nu^(p-1), 0.2 p + 0.5, or 1. p, t: [B]."""
    signal = jnp.sqrt(jnp.asarray(abar)[t])
    if objective.ta_form == 'exponential':
        return signal * objective.mu * objective.nu ** (p - 1)
    if objective.ta_form == 'linear':
        return signal * (0.2 * p + 0.5)
    return signal
