"""All linen modules of one ModelSpec in one value."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from addsr_jax import sharding
from addsr_jax.errors import UserError
from addsr_jax.networks.autoencoder import Autoencoder
from addsr_jax.networks.controlnet import ControlNet
from addsr_jax.networks.discriminator import Heads
from addsr_jax.networks.prompt_extractor import PromptExtractor
from addsr_jax.networks.text_encoder import TextEncoder
from addsr_jax.networks.tiny_decoder import TinyDecoder
from addsr_jax.networks.unet import UNet
from addsr_jax.networks.vit import ViT
from addsr_jax.specs import ModelSpec
from addsr_jax.trees import Tree


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
    tiny_decoder: TinyDecoder | None

    def initial(self, network: str, key: jax.Array) -> Tree:
        """Untrained parameters of one network, by its field's name; of 'heads' {'params', 'spectral'}."""
        module = getattr(self, network)
        if module is None:
            raise UserError(f'a model of size {self.spec.name} has no {network}')
        method = 'tokens_and_logits' if network == 'prompt_extractor' else '__call__'  # the tagging head as well
        variables = module.init(key, *self._inputs(network), method=method)
        return variables if network == 'heads' else variables['params']

    def shapes(self, network: str) -> Tree:
        """Shapes of `initial`; nothing is allocated."""
        return jax.eval_shape(lambda: self.initial(network, jax.random.key(0)))

    def _inputs(self, network: str) -> tuple[Any, ...]:
        """Zeros of small shapes that the network takes: its parameters do not depend on them."""
        s, side = self.spec, 16
        image = jnp.zeros((1, side * s.autoencoder.factor, side * s.autoencoder.factor, s.autoencoder.image_channels))
        if network == 'autoencoder':
            return (image,)
        if network == 'tiny_decoder':
            return (jnp.zeros((1, side, side, s.autoencoder.latent_channels)),)
        if network == 'text_encoder':
            return (jnp.zeros((1, s.text_encoder.positions), jnp.int32),)
        if network == 'heads':
            features = [jnp.zeros((1, 16, channels)) for channels in s.discriminator.feature_channels]
            return features, jnp.zeros((1, s.discriminator.condition_dim))
        if network in ('prompt_extractor', 'dino', 'dinov2'):
            pixels = (s.prompt_extractor.swin if network == 'prompt_extractor' else getattr(s, network)).image_size
            return (jnp.zeros((1, pixels, pixels, 3)),)
        text = jnp.zeros((1, s.text_encoder.positions, s.text_encoder.width))
        tokens = jnp.zeros((1, 2, s.prompt_extractor.token_dim))
        denoiser = (jnp.zeros((1, side, side, s.unet.in_channels)), jnp.zeros((1,), jnp.int32), text, tokens)
        return (*denoiser, image) if network == 'controlnet' else denoiser


def apply(module: nn.Module, params: Any, *inputs: Any, method: str = '__call__', rngs: Any = None) -> Any:
    """What a module answers with these parameters, gathered from the devices that they are split over; pure."""
    whole = sharding.gathered(params, getattr(module, 'dtype', jnp.float32))
    return module.apply({'params': whole}, *inputs, method=method, rngs=rngs)


def build(spec: ModelSpec, dtype: Any = jnp.float32, attention: str = 'chunked') -> Networks:
    """Modules that compute in `dtype` (norms and softmax stay in float32), with that kernel of `ops.attention`."""
    return Networks(
        spec=spec,
        autoencoder=Autoencoder(spec.autoencoder, dtype, attention),
        text_encoder=TextEncoder(spec.text_encoder, dtype),
        prompt_extractor=PromptExtractor(spec.prompt_extractor, dtype),
        unet=UNet(spec.unet, dtype, attention),
        controlnet=ControlNet(spec.controlnet, dtype, attention),
        heads=Heads(spec.discriminator, dtype),
        dino=None if spec.dino is None else ViT(spec.dino, dtype, attention),
        dinov2=None if spec.dinov2 is None else ViT(spec.dinov2, dtype, attention),
        tiny_decoder=None if spec.tiny_decoder is None else TinyDecoder(spec.tiny_decoder, dtype),
    )
