"""A model with the layers of Stable Diffusion 2 and a thousandth of its numbers, in the layouts that people have.

Widths are multiples of 32, the number of groups in files without a configuration; no image attentions, so that the
classes of diffusers are the originals.
"""

import dataclasses
import re
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from addsr_jax import sizes, trees
from addsr_jax.trees import Tree
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import layout
from tests import golden

_SD2 = sizes.SD2
_UNET = dataclasses.replace(
    _SD2.unet,
    block_out_channels=(32, 64),
    attention=(True, False),
    layers_per_block=1,
    heads=(4, 1),
    text_dim=32,
    image_dim=None,
)
SPEC = dataclasses.replace(
    _SD2,
    autoencoder=dataclasses.replace(_SD2.autoencoder, block_out_channels=(32, 32, 32, 32), layers_per_block=1),
    text_encoder=dataclasses.replace(_SD2.text_encoder, vocab_size=640, width=32, mlp_width=64, layers=2, heads=4),
    unet=_UNET,
    controlnet=dataclasses.replace(_SD2.controlnet, unet=_UNET, condition_embedding_channels=(8, 8, 8, 8)),
)
PARTS = ['autoencoder', 'text_encoder', 'student', 'unet']
TOKENIZER = golden.FIXTURES / 'tokenizer'


@cache
def params() -> dict[str, Tree]:
    """Random numbers everywhere, of the deviation that layers of their width have."""
    rng = np.random.default_rng(0)

    def fill(leaf):
        fan_in = int(np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 100
        return (rng.standard_normal(leaf.shape) / np.sqrt(fan_in)).astype(np.float32)

    expected = bundles.expected(SPEC, PARTS)
    return {
        part: trees.unflatten({path: fill(leaf) for path, leaf in sorted(trees.flatten(tree).items())})
        for part, tree in expected.items()
    }


@cache
def states() -> dict[str, dict[str, np.ndarray]]:
    """{'unet': tensors under diffusers' names, ...}; unet and controlnet are the student's."""
    held = params()
    found = {kind: held[kind] for kind in ('autoencoder', 'text_encoder')} | dict(held['student'])
    return {kind: layout.to_state_dict(kind, tree) for kind, tree in found.items()}


def save(folder: Path, spec=SPEC) -> Path:
    """As a bundle."""
    bundles.save(bundles.Bundle(spec, params(), TOKENIZER, {}), folder, 'safetensors')
    return folder


def whole(path: Path, kinds: dict[str, str], **more: np.ndarray) -> Path:
    """A file of several networks in ldm's layout: {'unet': 'model.diffusion_model.'}."""
    tensors = {
        f'{start}{name}': value for kind, start in kinds.items() for name, value in to_ldm(kind, states()[kind]).items()
    }
    save_file({**tensors, **more}, path)
    return path


CHECKPOINT = {
    'unet': 'model.diffusion_model.',
    'autoencoder': 'first_stage_model.',
    'text_encoder': 'cond_stage_model.model.',
}


def to_ldm(kind: str, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors of a network under the names, and in the shapes, that ldm has for them."""
    if kind == 'text_encoder':
        return _text_to_ldm(state)
    if kind == 'autoencoder':
        count = 1 + max(int(m[1]) for name in state if (m := re.match(r'decoder\.up_blocks\.(\d+)', name)))
        return {_autoencoder_to_ldm(name, count): _as_conv(name, value) for name, value in state.items()}
    return denoiser_to_ldm(state)


def denoiser_to_ldm(state):
    layers = 1 + max(int(m[1]) for name in state if (m := re.match(r'down_blocks\.0\.resnets\.(\d+)', name)))
    hints = 2 * (
        2 + max([int(m[1]) for name in state if (m := re.match(r'.*cond_embedding\.blocks\.(\d+)', name))] + [-1])
    )
    attended = {int(m[1]) for name in state if (m := re.match(r'up_blocks\.(\d+)\.attentions', name))}
    inner = {
        'norm1': 'in_layers.0',
        'conv1': 'in_layers.2',
        'time_emb_proj': 'emb_layers.1',
        'norm2': 'out_layers.0',
        'conv2': 'out_layers.3',
        'conv_shortcut': 'skip_connection',
    }
    ends = {
        'time_embedding.linear_1': 'time_embed.0',
        'time_embedding.linear_2': 'time_embed.2',
        'conv_in': 'input_blocks.0.0',
        'conv_norm_out': 'out.0',
        'conv_out': 'out.2',
        'controlnet_mid_block': 'middle_block_out.0',
        'controlnet_cond_embedding.conv_in': 'input_hint_block.0',
        'controlnet_cond_embedding.conv_out': f'input_hint_block.{hints}',
    }

    def renamed(name: str) -> str:
        stem, _, last = name.rpartition('.')
        if stem in ends:
            return f'{ends[stem]}.{last}'
        words = name.split('.')
        if words[0] == 'controlnet_down_blocks':
            return f'zero_convs.{words[1]}.0.{last}'
        if words[0] == 'controlnet_cond_embedding':
            return f'input_hint_block.{2 * int(words[2]) + 2}.{last}'
        if words[0] == 'mid_block':
            kind, number, rest = words[1], int(words[2]), words[3:]
            place = f'middle_block.{1 if kind == "attentions" else 2 * number}'
        else:
            level, kind, number, rest = int(words[1]), words[2], int(words[3]), words[4:]
            first = level * (layers + 1)
            if kind == 'downsamplers':
                return f'input_blocks.{first + layers + 1}.0.op.{last}'
            if kind == 'upsamplers':
                return f'output_blocks.{first + layers}.{2 if level in attended else 1}.conv.{last}'
            # the up path has one residual block more than the down path, and no block before its first
            place = (
                f'input_blocks.{first + number + 1}' if words[0] == 'down_blocks' else f'output_blocks.{first + number}'
            )
            place += '.1' if kind == 'attentions' else '.0'
        if kind == 'resnets':
            rest = [inner[rest[0]], *rest[1:]]
        return '.'.join([place, *rest])

    return {renamed(name): value for name, value in state.items()}


def _as_conv(name, value):
    return value[:, :, None, None] if '.attentions.' in name and value.ndim == 2 else value


def _autoencoder_to_ldm(name: str, count: int) -> str:
    for pattern, new in (
        (r'down_blocks\.(\d+)\.', lambda m: f'down.{m[1]}.'),
        (r'up_blocks\.(\d+)\.', lambda m: f'up.{count - 1 - int(m[1])}.'),
        (r'mid_block\.resnets\.(\d)\.', lambda m: f'mid.block_{int(m[1]) + 1}.'),
        (r'mid_block\.attentions\.0\.', lambda m: 'mid.attn_1.'),
        (r'\.resnets\.', lambda m: '.block.'),
        (r'(down|up)samplers\.0\.', lambda m: f'{m[1]}sample.'),
        (r'conv_shortcut', lambda m: 'nin_shortcut'),
        (r'conv_norm_out', lambda m: 'norm_out'),
        (r'\.group_norm\.', lambda m: '.norm.'),
        (r'\.to_([qkv])\.', lambda m: f'.{m[1]}.'),
        (r'\.to_out\.0\.', lambda m: '.proj_out.'),
    ):
        name = re.sub(pattern, new, name)
    return name


def _text_to_ldm(state):
    """OpenCLIP's, with a last layer and a projection, which nobody uses."""
    found, count = {}, 0
    for name, value in state.items():
        name = name.removeprefix('text_model.')
        if match := re.fullmatch(r'encoder\.layers\.(\d+)\.(.*)', name):
            number, rest = int(match[1]), match[2]
            count = max(count, number + 1)
            if part := re.fullmatch(r'self_attn\.q_proj\.(weight|bias)', rest):
                layer = f'text_model.encoder.layers.{number}.self_attn'
                joint = np.concatenate([state[f'{layer}.{p}_proj.{part[1]}'] for p in 'qkv'])
                found[f'transformer.resblocks.{number}.attn.in_proj_{part[1]}'] = joint
            if re.match(r'self_attn\.[qkv]_proj', rest):
                continue
            for new, old in (
                ('layer_norm1', 'ln_1'),
                ('layer_norm2', 'ln_2'),
                ('self_attn', 'attn'),
                ('mlp.fc1', 'mlp.c_fc'),
                ('mlp.fc2', 'mlp.c_proj'),
            ):
                rest = rest.replace(new, old)
            found[f'transformer.resblocks.{number}.{rest}'] = value
        else:
            found[
                {
                    'embeddings.token_embedding.weight': 'token_embedding.weight',
                    'embeddings.position_embedding.weight': 'positional_embedding',
                    'final_layer_norm.weight': 'ln_final.weight',
                    'final_layer_norm.bias': 'ln_final.bias',
                }[name]
            ] = value
    last = {name: value for name, value in found.items() if f'resblocks.{count - 1}.' in name}
    found |= {name.replace(f'.{count - 1}.', f'.{count}.', 1): value + 1 for name, value in last.items()}
    width = found['ln_final.weight'].shape[0]
    return {**found, 'text_projection': np.ones((width, width), np.float32), 'logit_scale': np.ones((), np.float32)}
