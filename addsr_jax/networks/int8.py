"""UNet and ControlNet in eight bits, by qwix: weights and activations of every convolution and dense layer.

Symmetric, a scale for each output channel of the weights and each sample of the activations, taken from the numbers as
they come; sums are int32. Attention's products, norms and embeddings stay as they are, and so do the other networks.
"""

import dataclasses
import importlib.util
from typing import TYPE_CHECKING

import flax.linen as nn
import jax.numpy as jnp

from addsr_jax.errors import UserError
from addsr_jax.installation import with_extra

if TYPE_CHECKING:
    from addsr_jax.networks.build import Networks

LAYERS = ('conv_general_dilated', 'dot_general')


def in_int8(networks: 'Networks') -> 'Networks':
    """The same networks, of which UNet and ControlNet multiply int8; parameters stay what they are.

    A UserError where qwix is missing.
    """
    return dataclasses.replace(networks, unet=_quantized(networks.unet), controlnet=_quantized(networks.controlnet))


def _quantized(module: nn.Module) -> nn.Module:
    if importlib.util.find_spec('qwix') is None:
        raise UserError(f'int8 needs qwix: {with_extra("int8")}, or leave it out')
    import qwix

    rule = qwix.QuantizationRule(op_names=LAYERS, weight_qtype=jnp.int8, act_qtype=jnp.int8)
    return qwix.quantize_model(module, qwix.QtProvider([rule]))  # of parameters in float, unlike qwix.PtqProvider
