"""The networks in torch, as functions of the tensors of our files: what ours are compared and timed with.

A state dict is `nested` first: its names are paths, and each function takes the part that it computes with. Layouts are
torch's, [B, C, H, W]. Needs torch: `make test-parity` installs it.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from addsr_jax import trees
from addsr_jax.specs import AutoencoderSpec, UNetSpec

Weights = dict[str, Any]  # names of modules and of tensors, as deep as the names have parts


def nested(state: Mapping[str, Any]) -> Weights:
    """{'a.b.weight': tensor} as {'a': {'b': {'weight': tensor}}}."""
    return trees.unflatten({name.replace('.', '/'): value for name, value in state.items()})


def each(w: Weights, name: str) -> list[Weights]:
    """The numbered modules under a name."""
    found = w.get(name, {})
    return [found[str(i)] for i in range(len(found))]


def linear(w: Weights, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, w['weight'], w.get('bias'))


def conv(w: Weights, x: torch.Tensor, **options: Any) -> torch.Tensor:
    return F.conv2d(x, w['weight'], w['bias'], **options)


def layer_norm(w: Weights, x: torch.Tensor, epsilon: float = 1e-5) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], w['weight'], w['bias'], epsilon)


def group_norm(w: Weights, name: str, groups: int, epsilon: float, x: torch.Tensor) -> torch.Tensor:
    """Nothing where a network has no such norm."""
    return F.group_norm(x, groups, w[name]['weight'], w[name]['bias'], epsilon) if groups else x


def resnet(w: Weights, s: AutoencoderSpec | UNetSpec, x: torch.Tensor, time: torch.Tensor | None = None):
    h = conv(w['conv1'], F.silu(group_norm(w, 'norm1', s.norm_groups, s.norm_eps, x)), padding=1)
    if time is not None:
        h = h + linear(w['time_emb_proj'], F.silu(time))[:, :, None, None]
    h = conv(w['conv2'], F.silu(group_norm(w, 'norm2', s.norm_groups, s.norm_eps, h)), padding=1)
    return h + (conv(w['conv_shortcut'], x) if 'conv_shortcut' in w else x)


def split(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[B, ..., T, C] -> [B, ..., heads, T, C / heads]."""
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)


def attention(w: Weights, heads: int, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """x [B, T, C], context [B, S, K] -> [B, T, C]."""
    q, k, v = (split(linear(w[f'to_{p}'], source), heads) for p, source in (('q', x), ('k', context), ('v', context)))
    attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    return linear(w['to_out']['0'], attended)


def as_tokens(x: torch.Tensor) -> torch.Tensor:
    """[B, C, H, W] -> [B, H W, C]."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def as_map(tokens: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The inverse of `as_tokens`, with the height and width of `like`."""
    return tokens.unflatten(1, like.shape[2:]).permute(0, 3, 1, 2)


# Autoencoder.


def levels(w: list[Weights], s: AutoencoderSpec, x: torch.Tensor) -> torch.Tensor:
    for level in w:
        for block in each(level, 'resnets'):
            x = resnet(block, s, x)
        if 'downsamplers' in level:
            x = conv(level['downsamplers']['0']['conv'], F.pad(x, (0, 1, 0, 1)), stride=2)
        if 'upsamplers' in level:
            x = conv(level['upsamplers']['0']['conv'], F.interpolate(x, scale_factor=2.0), padding=1)
    return x


def middle(w: Weights, s: AutoencoderSpec, x: torch.Tensor) -> torch.Tensor:
    first, second = each(w, 'resnets')
    x = resnet(first, s, x)
    for block in each(w, 'attentions'):
        tokens = as_tokens(group_norm(block, 'group_norm', s.norm_groups, s.norm_eps, x))
        x = x + as_map(attention(block, 1, tokens, tokens), x)
    return resnet(second, s, x)


def last(w: Weights, s: AutoencoderSpec | UNetSpec, x: torch.Tensor) -> torch.Tensor:
    return conv(w['conv_out'], F.silu(group_norm(w, 'conv_norm_out', s.norm_groups, s.norm_eps, x)), padding=1)


def encode(w: Weights, s: AutoencoderSpec, images: torch.Tensor) -> torch.Tensor:
    """[B, 3, H, W] in [-1, 1] -> mean and log variance of the posterior, [B, 2 C, h, w]."""
    b, c, h, width = images.shape
    p, e = s.patch, w['encoder']
    # space-to-depth: channels are (row, column, colour)
    x = images.reshape(b, c, h // p, p, width // p, p).permute(0, 3, 5, 1, 2, 4).flatten(1, 3)
    x = levels(each(e, 'down_blocks'), s, conv(e['conv_in'], x, padding=1))
    return conv(w['quant_conv'], last(e, s, middle(e['mid_block'], s, x)))


def decode(w: Weights, s: AutoencoderSpec, latents: torch.Tensor) -> torch.Tensor:
    """[B, C, h, w] -> [B, 3, H, W], not clipped."""
    d, p = w['decoder'], s.patch
    x = middle(d['mid_block'], s, conv(d['conv_in'], conv(w['post_quant_conv'], latents), padding=1))
    x = last(d, s, levels(each(d, 'up_blocks'), s, x))
    b, c, h, width = x.shape
    return x.reshape(b, p, p, c // p**2, h, width).permute(0, 3, 4, 1, 5, 2).reshape(b, -1, p * h, p * width)


# UNet and ControlNet.


def transformer(w: Weights, s: UNetSpec, heads: int, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    block = w['transformer_blocks']['0']
    norm = partial(layer_norm, epsilon=s.layer_norm_eps)
    tokens = linear(w['proj_in'], as_tokens(group_norm(w, 'norm', s.norm_groups, s.transformer_norm_eps, x)))
    h = norm(block['norm1'], tokens)
    tokens = tokens + attention(block['attn1'], heads, h, h)
    tokens = tokens + attention(block['attn2'], heads, norm(block['norm2'], tokens), context)
    value, gate = linear(block['ff']['net']['0']['proj'], norm(block['norm3'], tokens)).chunk(2, -1)
    tokens = tokens + linear(block['ff']['net']['2'], value * F.gelu(gate))
    return x + as_map(linear(w['proj_out'], tokens), x)


def block(w: Weights, s: UNetSpec, heads: int, i: int, x: torch.Tensor, seen: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """A residual block and the transformers behind it; `seen` are time, text and image tokens."""
    time, text, tokens = seen
    x = resnet(w['resnets'][str(i)], s, x, time)
    if str(i) in w.get('attentions', {}):
        x = transformer(w['attentions'][str(i)], s, heads, x, text)
        x = transformer(w['image_attentions'][str(i)], s, heads, x, tokens)
    return x


def time_of(w: Weights, s: UNetSpec, timesteps: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    half = s.block_out_channels[0] // 2
    frequencies = torch.exp(torch.arange(half, device=timesteps.device) * (-math.log(10_000.0) / half))
    angles = timesteps[:, None].float() * frequencies
    x = torch.cat([angles.cos(), angles.sin()], -1).to(dtype)
    return linear(w['linear_2'], F.silu(linear(w['linear_1'], x)))


def way_down(w: Weights, s: UNetSpec, latents: torch.Tensor, seen: tuple[torch.Tensor, ...], added: Any = None):
    """(features of the middle block, skips)."""
    x = conv(w['conv_in'], latents, padding=1)
    x = x if added is None else x + added
    skips = [x]
    for level, heads in zip(each(w, 'down_blocks'), s.heads, strict=True):
        for i in range(s.layers_per_block):
            x = block(level, s, heads, i, x, seen)
            skips.append(x)
        if 'downsamplers' in level:
            x = conv(level['downsamplers']['0']['conv'], x, stride=2, padding=1)
            skips.append(x)
    x = block(w['mid_block'], s, s.heads[-1], 0, x, seen)
    return resnet(w['mid_block']['resnets']['1'], s, x, seen[0]), skips


def control(w: Weights, s: UNetSpec, latents: torch.Tensor, timesteps: torch.Tensor, text, tokens, image):
    """(residual of the middle, residuals of the skips); image [B, 3, H, W] in [0, 1]."""
    embedding = w['controlnet_cond_embedding']
    x = F.silu(conv(embedding['conv_in'], image, padding=1))
    for i, layer in enumerate(each(embedding, 'blocks')):
        x = F.silu(conv(layer, x, padding=1, stride=1 + i % 2))
    seen = (time_of(w['time_embedding'], s, timesteps, latents.dtype), text, tokens)
    x, skips = way_down(w, s, latents, seen, conv(embedding['conv_out'], x, padding=1))
    down = [conv(layer, skip) for layer, skip in zip(each(w, 'controlnet_down_blocks'), skips, strict=True)]
    return conv(w['controlnet_mid_block'], x), down


def unet(w: Weights, s: UNetSpec, latents: torch.Tensor, timesteps: torch.Tensor, text, tokens, residuals=None):
    """residuals: what `control` says, or None."""
    seen = (time_of(w['time_embedding'], s, timesteps, latents.dtype), text, tokens)
    x, skips = way_down(w, s, latents, seen)
    if residuals is not None:
        x, skips = x + residuals[0], [skip + more for skip, more in zip(skips, residuals[1], strict=True)]
    for level, heads in zip(each(w, 'up_blocks'), reversed(s.heads), strict=True):
        for i in range(s.layers_per_block + 1):
            x = block(level, s, heads, i, torch.cat([x, skips.pop()], 1), seen)
        if 'upsamplers' in level:
            x = conv(level['upsamplers']['0']['conv'], F.interpolate(x, size=skips[-1].shape[2:]), padding=1)
    return last(w, s, x)


# Text encoder: CLIP's.


def embed_text(w: Weights, heads: int, tokens: torch.Tensor) -> torch.Tensor:
    """[B, 77] -> [B, 77, T]."""
    w = w.get('text_model', w)
    x = w['embeddings']['token_embedding']['weight'][tokens] + w['embeddings']['position_embedding']['weight']
    for layer in each(w['encoder'], 'layers'):
        h = layer_norm(layer['layer_norm1'], x)
        q, k, v = (split(linear(layer['self_attn'][f'{p}_proj'], h), heads) for p in 'qkv')
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + linear(layer['self_attn']['out_proj'], attended)
        h = F.gelu(linear(layer['mlp']['fc1'], layer_norm(layer['layer_norm2'], x)))
        x = x + linear(layer['mlp']['fc2'], h)
    return layer_norm(w['final_layer_norm'], x)


# Prompt extractor: a Swin transformer.


def windows(x: torch.Tensor, side: int) -> torch.Tensor:
    """[B, S, S, C] -> [B, windows, side^2, C]."""
    b, size, _, c = x.shape
    n = size // side
    return x.reshape(b, n, side, n, side, c).transpose(2, 3).reshape(b, n * n, side * side, c)


def swin_block(w: Weights, x: torch.Tensor, shifted: bool) -> torch.Tensor:
    """x [B, S, S, C]; the bias table says heads and window."""
    b, size, _, c = x.shape
    table = w['attn']['relative_position_bias_table']
    side, heads = (int(len(table) ** 0.5) + 1) // 2, table.shape[1]
    shift = side // 2 if shifted and size > side else 0
    h = windows(torch.roll(layer_norm(w['norm1'], x), (-shift, -shift), (1, 2)), side)
    q, k, v = (split(part, heads) for part in linear(w['attn']['qkv'], h).chunk(3, -1))
    place = torch.cartesian_prod(torch.arange(side), torch.arange(side)).to(x.device)
    apart = place[:, None] - place[None] + side - 1
    bias = table[apart[..., 0] * (2 * side - 1) + apart[..., 1]].permute(2, 0, 1)[None, None]
    if shift:  # what the shift brought together from two borders does not see each other
        region = torch.zeros(size, device=x.device)
        region[-side:-shift], region[-shift:] = 1, 2
        regions = windows((3 * region[:, None] + region[None])[None, ..., None], side)[0, ..., 0]
        bias = bias - 100.0 * (regions[:, :, None] != regions[:, None]).to(x.dtype)[None, :, None]
    h = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(2, 3).flatten(3)
    n = size // side
    h = linear(w['attn']['proj'], h).reshape(b, n, n, side, side, c).transpose(2, 3).reshape(b, size, size, c)
    x = x + torch.roll(h, (shift, shift), (1, 2))
    return x + linear(w['mlp']['fc2'], F.gelu(linear(w['mlp']['fc1'], layer_norm(w['norm2'], x))))


def prompt_tokens(w: Weights, images: torch.Tensor) -> torch.Tensor:
    """[B, 3, S, S], ImageNet-normalised -> [B, 1 + n, I], the average first."""
    tower = w['visual_encoder']
    patches = conv(tower['patch_embed']['proj'], images, stride=4).permute(0, 2, 3, 1)
    x = layer_norm(tower['patch_embed']['norm'], patches)
    for layer in each(tower, 'layers'):
        for j, transformed in enumerate(each(layer, 'blocks')):
            x = swin_block(transformed, x, j % 2 == 1)
        if 'downsample' in layer:
            x = torch.cat([x[:, r::2, c::2] for c in (0, 1) for r in (0, 1)], dim=-1)
            x = linear(layer['downsample']['reduction'], layer_norm(layer['downsample']['norm'], x))
    x = layer_norm(tower['norm'], x).flatten(1, 2)
    return linear(w['image_proj'], torch.cat([x.mean(dim=1, keepdim=True), x], dim=1))
