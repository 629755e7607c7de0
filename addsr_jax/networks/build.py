"""All linen modules of one ModelSpec in one value."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from addsr_jax.networks.autoencoder import Autoencoder
from addsr_jax.networks.controlnet import ControlNet
from addsr_jax.networks.discriminator import Heads
from addsr_jax.networks.prompt_extractor import PromptExtractor
from addsr_jax.networks.text_encoder import TextEncoder
from addsr_jax.networks.unet import UNet
from addsr_jax.networks.vit import ViT
from addsr_jax.specs import ModelSpec


@dataclass(frozen=True)
class Networks:
    """The modules of one size; parameters always travel beside them."""

    spec: ModelSpec
    autoencoder: Autoencoder
    text_encoder: TextEncoder
    prompt_extractor: PromptExtractor
    unet: UNet
    controlnet: ControlNet
    heads: Heads
    dino: ViT | None
    dinov2: ViT | None


def apply(module: nn.Module, params: Any, *inputs: Any, method: str = '__call__') -> Any:
    """What a module answers with these parameters; pure."""
    return module.apply({'params': params}, *inputs, method=method)


def build(spec: ModelSpec, dtype: Any = jnp.float32) -> Networks:
    """Modules that compute in `dtype` (norms and softmax stay in float32)."""
    return Networks(
        spec=spec,
        autoencoder=Autoencoder(spec.autoencoder, dtype),
        text_encoder=TextEncoder(spec.text_encoder, dtype),
        prompt_extractor=PromptExtractor(spec.prompt_extractor, dtype),
        unet=UNet(spec.unet, dtype),
        controlnet=ControlNet(spec.controlnet, dtype),
        heads=Heads(spec.discriminator, dtype),
        dino=None if spec.dino is None else ViT(spec.dino, dtype),
        dinov2=None if spec.dinov2 is None else ViT(spec.dinov2, dtype),
    )
