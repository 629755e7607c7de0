"""A whole model in torch, of the networks in `torch_networks`: AddSR's sampler, and the distillation of its stage."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from addsr_jax.diffusion.schedule import alphas_cumprod
from addsr_jax.networks.prompt_extractor import IMAGENET_MEAN, IMAGENET_STD
from addsr_jax.specs import ModelSpec
from addsr_jax.trees import Tree
from addsr_jax.weights import layout
from benchmarks import torch_networks as networks
from benchmarks.torch_networks import Weights


@dataclass(frozen=True)
class Place:
    """Where tensors lie, what they are, and how pictures are laid out."""

    device: str = 'cpu'
    dtype: torch.dtype = torch.float32
    channels_last: bool = False

    def put(self, x: Any, *, kernel: bool = False) -> torch.Tensor:
        """An array of ours: pictures [B, H, W, C] as [B, C, H, W], kernels as they are; integers stay integers."""
        array = np.array(x, np.float32 if np.asarray(x).dtype.kind not in 'iub' else None)
        tensor = torch.from_numpy(array).to(self.device)
        tensor = tensor.to(self.dtype) if kernel and tensor.is_floating_point() else tensor
        if tensor.ndim != 4:
            return tensor
        tensor = tensor if kernel else tensor.permute(0, 3, 1, 2)
        return tensor.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)

    def weights(self, network: str, params: Tree) -> Weights:
        state = layout.to_state_dict(network, params)
        return networks.nested({name: self.put(value, kernel=True) for name, value in state.items()})


@dataclass(frozen=True)
class Condition:
    image: torch.Tensor  # [B, 3, H, W] in [0, 1]
    tokens: torch.Tensor
    text: torch.Tensor
    latents: torch.Tensor | None


class Model:
    """What `diffusion.denoiser.Denoiser` and `diffusion.sampler` do, part by part."""

    def __init__(self, spec: ModelSpec, params: Tree, place: Place) -> None:
        self.spec, self.place, self.dtype = spec, place, place.dtype
        self.weights = {
            part: {name: place.weights(name, tree) for name, tree in params[part].items()}
            if part in ('student', 'teacher')
            else place.weights(part, params[part])
            for part in params
        }
        self.abar = place.put(alphas_cumprod(spec.schedule))
        self.mean, self.std = (place.put(x).view(1, 3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))

    def encode(self, images: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        moments = networks.encode(self.weights['autoencoder'], self.spec.autoencoder, images.to(self.dtype))
        mean, log_variance = moments.float().chunk(2, 1)
        drawn = mean if noise is None else mean + torch.exp(0.5 * log_variance.clamp(-30, 20)) * noise
        return drawn * self.spec.autoencoder.scaling_factor

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        z = (latents / self.spec.autoencoder.scaling_factor).to(self.dtype)
        return networks.decode(self.weights['autoencoder'], self.spec.autoencoder, z).float().clamp(-1, 1)

    def embed_text(self, ids: torch.Tensor) -> torch.Tensor:
        return networks.embed_text(self.weights['text_encoder'], self.spec.text_encoder.heads, ids)

    def embed_image(self, images: torch.Tensor, *, clip_view: bool = False) -> torch.Tensor:
        side = self.spec.prompt_extractor.swin.image_size
        seen = F.interpolate(images, (side, side), mode='bicubic')
        seen = ((seen.clamp(0, 1) if clip_view else seen) - self.mean) / self.std
        return networks.prompt_tokens(self.weights['prompt_extractor'], seen.to(self.dtype))

    def condition(self, images: torch.Tensor, text: torch.Tensor, *, clip_view: bool = False) -> Condition:
        takes = self.spec.unet.in_channels > self.spec.autoencoder.latent_channels
        latents = self.encode(images * 2 - 1) if takes else None
        return Condition(images, self.embed_image(images, clip_view=clip_view), text, latents)

    def answer(self, part: str, z: torch.Tensor, t: torch.Tensor, c: Condition) -> torch.Tensor:
        """UNet and ControlNet at z_t, float32."""
        w = self.weights[part]
        z = (z if c.latents is None else torch.cat([z, c.latents], 1)).to(self.dtype)
        image = c.image.to(self.dtype)
        residuals = networks.control(w['controlnet'], self.spec.controlnet.unet, z, t, c.text, c.tokens, image)
        return networks.unet(w['unet'], self.spec.unet, z, t, c.text, c.tokens, residuals).float()

    def predict_z0(self, part: str, z: torch.Tensor, t: torch.Tensor, c: Condition) -> torch.Tensor:
        signal, sigma = self.levels(t)
        output = self.answer(part, z, t, c)
        return (
            (z - sigma * output) / signal if self.spec.schedule.prediction == 'epsilon' else signal * z - sigma * output
        )

    def levels(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a = self.abar[t].view(-1, 1, 1, 1)
        return a.sqrt(), (1 - a).sqrt()

    def add_noise(self, z0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        signal, sigma = self.levels(t)
        return signal * z0 + sigma * noise

    def sample(
        self, lq: torch.Tensor, ids: torch.Tensor, noise: list[torch.Tensor], timesteps: tuple[int, ...], psr: float
    ) -> torch.Tensor:
        """AddSR's sampler: lq [B, 3, H, W] in [-1, 1], noise of the posterior and of each step."""
        text, z0, shown = self.embed_text(ids), self.encode(lq, noise[0]), lq
        for i, timestep in enumerate(timesteps):
            share, t = psr if i else 0.0, torch.full(lq.shape[:1], timestep, device=lq.device)
            c = self.condition(share * (shown / 2 + 0.5) + (1 - share) * (lq / 2 + 0.5), text)
            z0 = self.predict_z0('student', self.add_noise(z0, noise[1 + i], t), t, c)
            shown = self.decode(z0)
        return shown

    @torch.no_grad()
    def prepared(self, batch: Weights, draws: Weights, psr: float) -> tuple[torch.Tensor, Condition, Condition]:
        """(z_s, the student's condition, the teacher's) of a second step, `stages.addsr.Losses.prepare`."""
        text = self.embed_text(batch['tokens'])
        low, high = (batch[name] / 2 + 0.5 for name in ('lq', 'hr'))
        lq, teacher = (self.condition(images, text, clip_view=True) for images in (low, high))
        z_hr = self.encode(batch['hr'], draws['posterior'])
        z0 = self.predict_z0('student', self.add_noise(z_hr, draws['first_noise'], draws['first']), draws['first'], lq)
        student = self.condition(psr * (self.decode(z0) / 2 + 0.5) + (1 - psr) * low, text)
        return self.add_noise(z0, draws['noise'], draws['second']), student, teacher

    def distillation(self, batch: Weights, draws: Weights, psr: float) -> torch.Tensor:
        """L_distill with its graph to the student's weights; `draws` has the weights d(s, t) [K, B] as well."""
        z, student, teacher = self.prepared(batch, draws, psr)
        z0 = self.predict_z0('student', z, draws['second'], student)
        x, loss = self.decode(z0), torch.zeros(len(z), device=z.device)
        for t, noise, weight in zip(draws['teacher_timesteps'], draws['teacher_noise'], draws['weights'], strict=True):
            with torch.no_grad():
                repaired = self.decode(self.predict_z0('teacher', self.add_noise(z0, noise, t), t, teacher))
            loss = loss + weight * ((x - repaired) ** 2 / 4).mean((1, 2, 3))
        return (loss / len(draws['weights'])).mean()
