"""The embedded model's autoencoder, text encoder and prompt extractor in torch, beside ours.

    addsr convert to_pytorch nano -o FOLDER
    python benchmarks/nano_torch.py FOLDER

unet/ and controlnet/ of FOLDER are for the original's classes, whose sizes are free; the other three networks have no
such class at this size, so this file runs them, each a function of the file's tensors, and prints the largest
difference to ours. Needs torch: `make test-parity` installs it. Layouts are torch's, [B, C, H, W].
"""

import argparse
from pathlib import Path

import jax
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import addsr_jax
from addsr_jax.flags import say
from addsr_jax.networks.build import apply

Tensors = dict[str, torch.Tensor]


def linear(w: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, w[f'{name}.weight'], w.get(f'{name}.bias'))


def conv(w: Tensors, name: str, x: torch.Tensor, **options) -> torch.Tensor:
    return F.conv2d(x, w[f'{name}.weight'], w[f'{name}.bias'], **options)


def layer_norm(w: Tensors, name: str, x: torch.Tensor, epsilon: float = 1e-5) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f'{name}.weight'], w[f'{name}.bias'], epsilon)


def count(w: Tensors, prefix: str) -> int:
    """How many numbered modules follow a prefix."""
    return len({name[len(prefix) :].split('.')[0] for name in w if name.startswith(prefix)})


# Autoencoder: residual blocks without norms between space-to-depth and its inverse.


def resnet(w: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    h = conv(w, f'{name}.conv1', F.silu(x), padding=1)
    h = conv(w, f'{name}.conv2', F.silu(h), padding=1)
    return h + (conv(w, f'{name}.conv_shortcut', x) if f'{name}.conv_shortcut.weight' in w else x)


def levels(w: Tensors, prefix: str, x: torch.Tensor) -> torch.Tensor:
    for i in range(count(w, f'{prefix}.')):
        for j in range(count(w, f'{prefix}.{i}.resnets.')):
            x = resnet(w, f'{prefix}.{i}.resnets.{j}', x)
        if f'{prefix}.{i}.downsamplers.0.conv.weight' in w:
            x = conv(w, f'{prefix}.{i}.downsamplers.0.conv', F.pad(x, (0, 1, 0, 1)), stride=2)
        if f'{prefix}.{i}.upsamplers.0.conv.weight' in w:
            x = conv(w, f'{prefix}.{i}.upsamplers.0.conv', F.interpolate(x, scale_factor=2.0), padding=1)
    return x


def middle(w: Tensors, side: str, x: torch.Tensor) -> torch.Tensor:
    return resnet(w, f'{side}.mid_block.resnets.1', resnet(w, f'{side}.mid_block.resnets.0', x))


def encode(w: Tensors, images: torch.Tensor) -> torch.Tensor:
    """[B, 3, H, W] in [-1, 1] -> the posterior's mean [B, 4, H / 4, W / 4]."""
    b, c, h, width = images.shape
    # space-to-depth by 2: channels are (row, column, colour)
    x = images.reshape(b, c, h // 2, 2, width // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(b, 4 * c, h // 2, width // 2)
    x = middle(w, 'encoder', levels(w, 'encoder.down_blocks', conv(w, 'encoder.conv_in', x, padding=1)))
    return conv(w, 'quant_conv', conv(w, 'encoder.conv_out', F.silu(x), padding=1)).chunk(2, dim=1)[0]


def decode(w: Tensors, latents: torch.Tensor) -> torch.Tensor:
    """[B, 4, h, w] -> [B, 3, 4 h, 4 w], not clipped."""
    x = conv(w, 'decoder.conv_in', conv(w, 'post_quant_conv', latents), padding=1)
    x = levels(w, 'decoder.up_blocks', middle(w, 'decoder', x))
    x = conv(w, 'decoder.conv_out', F.silu(x), padding=1)
    b, c, h, width = x.shape
    return x.reshape(b, 2, 2, c // 4, h, width).permute(0, 3, 4, 1, 5, 2).reshape(b, c // 4, 2 * h, 2 * width)


# Text encoder: CLIP's, two heads.


def embed_text(w: Tensors, tokens: torch.Tensor, heads: int = 2) -> torch.Tensor:
    """[B, 77] -> [B, 77, 64]."""
    w = {name.removeprefix('text_model.'): value for name, value in w.items()}
    x = w['embeddings.token_embedding.weight'][tokens] + w['embeddings.position_embedding.weight']
    for i in range(count(w, 'encoder.layers.')):
        name, h = f'encoder.layers.{i}', layer_norm(w, f'encoder.layers.{i}.layer_norm1', x)
        q, k, v = (split(linear(w, f'{name}.self_attn.{p}_proj', h), heads) for p in 'qkv')
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + linear(w, f'{name}.self_attn.out_proj', attended)
        h = F.gelu(linear(w, f'{name}.mlp.fc1', layer_norm(w, f'{name}.layer_norm2', x)))
        x = x + linear(w, f'{name}.mlp.fc2', h)
    return layer_norm(w, 'final_layer_norm', x)


def split(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[B, T, C] -> [B, heads, T, C / heads]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


# Prompt extractor: a Swin transformer of 128 pixels.


def windows(x: torch.Tensor, side: int) -> torch.Tensor:
    """[B, S, S, C] -> [B, windows, side^2, C]."""
    b, size, _, c = x.shape
    n = size // side
    return x.reshape(b, n, side, n, side, c).transpose(2, 3).reshape(b, n * n, side * side, c)


def swin_block(w: Tensors, name: str, x: torch.Tensor, shifted: bool) -> torch.Tensor:
    """x [B, S, S, C]; the bias table says heads and window."""
    b, size, _, c = x.shape
    table = w[f'{name}.attn.relative_position_bias_table']
    side, heads = (int(len(table) ** 0.5) + 1) // 2, table.shape[1]
    shift = side // 2 if shifted and size > side else 0
    h = windows(torch.roll(layer_norm(w, f'{name}.norm1', x), (-shift, -shift), (1, 2)), side)
    q, k, v = (
        part.unflatten(-1, (heads, -1)).transpose(2, 3) for part in linear(w, f'{name}.attn.qkv', h).chunk(3, -1)
    )
    place = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    apart = place[:, None] - place[None] + side - 1
    bias = table[apart[..., 0] * (2 * side - 1) + apart[..., 1]].permute(2, 0, 1)[None, None]
    if shift:  # what the shift brought together from two borders does not see each other
        region = torch.zeros(size)
        region[-side:-shift], region[-shift:] = 1, 2
        regions = windows((3 * region[:, None] + region[None])[None, ..., None], side)[0, ..., 0]
        bias = bias - 100.0 * (regions[:, :, None] != regions[:, None]).float()[None, :, None]
    h = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(2, 3).flatten(3)
    n = size // side
    h = linear(w, f'{name}.attn.proj', h).reshape(b, n, n, side, side, c).transpose(2, 3).reshape(b, size, size, c)
    x = x + torch.roll(h, (shift, shift), (1, 2))
    return x + linear(w, f'{name}.mlp.fc2', F.gelu(linear(w, f'{name}.mlp.fc1', layer_norm(w, f'{name}.norm2', x))))


def prompt_tokens(w: Tensors, images: torch.Tensor) -> torch.Tensor:
    """[B, 3, 128, 128], ImageNet-normalised -> [B, 1 + 64, 64], the average first."""
    tower = {name.removeprefix('visual_encoder.'): value for name, value in w.items()}
    x = layer_norm(tower, 'patch_embed.norm', conv(tower, 'patch_embed.proj', images, stride=4).permute(0, 2, 3, 1))
    for i in range(count(tower, 'layers.')):
        for j in range(count(tower, f'layers.{i}.blocks.')):
            x = swin_block(tower, f'layers.{i}.blocks.{j}', x, j % 2 == 1)
        if f'layers.{i}.downsample.reduction.weight' in tower:
            x = torch.cat([x[:, r::2, c::2] for c in (0, 1) for r in (0, 1)], dim=-1)
            x = linear(tower, f'layers.{i}.downsample.reduction', layer_norm(tower, f'layers.{i}.downsample.norm', x))
    x = layer_norm(tower, 'norm', x).flatten(1, 2)
    return linear(w, 'image_proj', torch.cat([x.mean(dim=1, keepdim=True), x], dim=1))


def widened(w: Tensors) -> Tensors:
    """float32 of the file's float16."""
    return {name: value.float() for name, value in w.items()}


def differences(folder: Path) -> dict[str, float]:
    """Largest difference to ours, of the largest value, for each of the networks."""
    vae = widened(load_file(folder / 'vae' / 'diffusion_pytorch_model.safetensors'))
    text = widened(load_file(folder / 'text_encoder' / 'model.safetensors'))
    ram = widened(torch.load(folder / 'ram.pth', weights_only=True)['model'])
    model, rng = addsr_jax.load('nano'), np.random.default_rng(0)
    image = rng.uniform(-1, 1, (1, 128, 128, 3)).astype(np.float32)
    ids = rng.integers(0, 512, (1, 77))

    def ours(part: str, x: np.ndarray, **options) -> np.ndarray:
        with jax.default_matmul_precision('highest'):
            out = apply(getattr(model.networks, part), model.params[part], x, **options)
        return np.asarray(out[0] if isinstance(out, tuple) else out)

    nchw = torch.from_numpy(image).permute(0, 3, 1, 2)
    latents = ours('autoencoder', image, method='encode')
    z = torch.from_numpy(latents.copy()).permute(0, 3, 1, 2)
    with torch.no_grad():
        pairs = {
            'encoder': (encode(vae, nchw).permute(0, 2, 3, 1), latents),
            'decoder': (decode(vae, z).permute(0, 2, 3, 1), ours('autoencoder', latents, method='decode')),
            'text encoder': (embed_text(text, torch.from_numpy(ids)), ours('text_encoder', ids)),
            'prompt extractor': (prompt_tokens(ram, nchw), ours('prompt_extractor', image)),
        }
    return {name: float(np.abs(a.numpy() - b).max() / np.abs(b).max()) for name, (a, b) in pairs.items()}


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('folder', type=Path)
    for network, value in differences(parser.parse_args().folder).items():
        say(f'{network:17} {value:.1e} of the largest value')
