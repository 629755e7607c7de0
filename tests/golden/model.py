"""The recorded small networks as one model."""

import dataclasses
from functools import cache

import numpy as np

from addsr_jax.networks.build import Networks, build
from addsr_jax.networks.prompt_extractor import dape
from addsr_jax.sizes import SD2
from addsr_jax.specs import ModelSpec
from addsr_jax.weights import layout
from tests import golden
from tests.golden import pictures, specs

NEGATIVE = 'pipe.neg'


@cache
def spec() -> ModelSpec:
    return dataclasses.replace(
        SD2,
        autoencoder=specs.autoencoder(),
        text_encoder=specs.text_encoder(),
        prompt_extractor=specs.prompt_extractor(),
        unet=specs.unet(),
        controlnet=specs.controlnet(),
        dino=specs.dino(),
        dinov2=specs.dinov2(),
        discriminator=specs.discriminator(),
    )


@cache
def networks() -> Networks:
    return build(spec())


def denoiser(salt: str = ''):
    """{'unet', 'controlnet'} of one salt."""
    return {
        name: layout.from_tensors(golden.state_dict(name, salt=salt).items(), name)[0]
        for name in ('unet', 'controlnet')
    }


@cache
def frozen():
    """Every network but the student, DAPE merged."""
    kinds = {'vae': 'autoencoder', 'text_encoder': 'text_encoder', 'dino': 'dino', 'dinov2': 'dinov2'}
    parts = {kind: layout.from_tensors(golden.state_dict(name).items(), kind)[0] for name, kind in kinds.items()}
    ram, lora, _ = layout.from_tensors(golden.state_dict('ram').items(), 'prompt_extractor')
    parts['prompt_extractor'] = dape(spec().prompt_extractor).merge(ram, lora)
    return {**parts, 'teacher': denoiser()}


def tokens(name: str, count: int = 1) -> np.ndarray:
    """Prompt ids [count, 77] as the pipeline records have them: start, words, end at position 20, padding."""
    ids = pictures.generator(name).randint(3, 640, size=(count, 77))
    ids[:, 0], ids[:, 20], ids[:, 21:] = 0, 2, 1
    return ids
