"""Files that hold a network, or all of a model, in the layout of the first code of Stable Diffusion (ldm, sgm).

A1111 and ComfyUI keep these. Every network comes out under the names of diffusers and transformers; what differs in
more than its name (attention of the autoencoder as 1 x 1 convolutions, joint q, k, v of OpenCLIP) is cut or reshaped
when it is read. Names: openaimodel.py and model.py of ldm/modules/diffusionmodules, cldm/cldm.py, and
open_clip/transformer.py.
"""

import math
import re
from collections.abc import Mapping

from addsr_jax.sizes import SD2
from addsr_jax.weights.stored import Stored

Tensors = Mapping[str, Stored]
# First words of names in files that hold several networks; sgm's text encoder is one of several embedders.
PLACES = {
    'unet': ('model.diffusion_model.', 'diffusion_model.'),
    'controlnet': ('control_model.',),
    'autoencoder': ('first_stage_model.', 'vae.'),
    'text_encoder': ('cond_stage_model.model.', 'conditioner.embedders.0.model.'),
}
# A tensor that a network has in ldm's layout, and one that it has in today's; the first that fits says what it is.
MARKS = (
    ('controlnet', 'input_hint_block.0.weight', 'controlnet_cond_embedding.conv_in.weight'),
    ('unet', 'out.2.weight', 'conv_out.weight'),
    ('autoencoder', 'decoder.norm_out.weight', 'decoder.conv_norm_out.weight'),
    ('text_encoder', 'ln_final.weight', 'text_model.final_layer_norm.weight'),
    ('text_encoder', 'ln_final.weight', 'final_layer_norm.weight'),  # of transformers 5
)
RESIDUAL = {
    'in_layers.0': 'norm1',
    'in_layers.2': 'conv1',
    'emb_layers.1': 'time_emb_proj',
    'out_layers.0': 'norm2',
    'out_layers.3': 'conv2',
    'skip_connection': 'conv_shortcut',
}
ENDS = {  # of UNet and ControlNet
    'time_embed.0': 'time_embedding.linear_1',
    'time_embed.2': 'time_embedding.linear_2',
    'input_blocks.0.0': 'conv_in',
    'out.0': 'conv_norm_out',
    'out.2': 'conv_out',
    'middle_block.0': 'mid_block.resnets.0',
    'middle_block.1': 'mid_block.attentions.0',
    'middle_block.2': 'mid_block.resnets.1',
    'middle_block_out.0': 'controlnet_mid_block',
}
AUTOENCODER = {
    'norm_out': 'conv_norm_out',
    'mid.block_1': 'mid_block.resnets.0',
    'mid.block_2': 'mid_block.resnets.1',
    'mid.attn_1': 'mid_block.attentions.0',
}
AUTOENCODER_ATTENTION = {'norm': 'group_norm', 'q': 'to_q', 'k': 'to_k', 'v': 'to_v', 'proj_out': 'to_out.0'}
TEXT = {
    'token_embedding.weight': 'embeddings.token_embedding.weight',
    'positional_embedding': 'embeddings.position_embedding.weight',
    'ln_final.weight': 'final_layer_norm.weight',
    'ln_final.bias': 'final_layer_norm.bias',
}
TEXT_LAYER = {
    'ln_1': 'layer_norm1',
    'ln_2': 'layer_norm2',
    'attn.out_proj': 'self_attn.out_proj',
    'mlp.c_fc': 'mlp.fc1',
    'mlp.c_proj': 'mlp.fc2',
}


def networks_in(tensors: Tensors) -> dict[str, dict[str, Stored]]:
    """{'unet': its tensors, ...} of a file of one network or of many, under today's names; {} where none is known."""
    found = {}
    for kind, starts in PLACES.items():
        for start in starts:
            held = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
            if held:
                found[kind] = today(held, kind)
                break
    if found:
        return found
    kind = kind_of(tensors)
    return {kind: today(tensors, kind)} if kind else {}


def kind_of(tensors: Tensors) -> str | None:
    """Which network the tensors of one are, in either layout."""
    return next((kind for kind, old, new in MARKS if old in tensors or new in tensors), None)


def today(tensors: Tensors, kind: str) -> dict[str, Stored]:
    """Tensors of one network under the names of diffusers and transformers; those that have them stay as they are."""
    mark = next(old for name, old, _ in MARKS if name == kind)
    if mark not in tensors:
        return dict(tensors)
    return {'autoencoder': _autoencoder, 'text_encoder': _text_encoder}.get(kind, _denoiser)(tensors)


def _renamed(name: str, table: Mapping[str, str]) -> str:
    """With its beginning as `table` says, where it says something."""
    return next((new + name[len(old) :] for old, new in table.items() if name.startswith(f'{old}.')), name)


def _denoiser(tensors: Tensors) -> dict[str, Stored]:
    """UNet or ControlNet: blocks are counted through all levels, and a level ends with what halves or doubles."""
    numbers = [int(match[1]) for name in tensors if (match := re.match(r'input_blocks\.(\d{1,4})\.', name))]
    halving = [int(match[1]) for name in tensors if (match := re.match(r'input_blocks\.(\d{1,4})\.0\.op\.', name))]
    blocks = min(halving, default=max(numbers, default=0) + 1)  # of a level: its residual blocks and what halves
    hints = [int(match[1]) for name in tensors if (match := re.match(r'input_hint_block\.(\d{1,4})\.', name))]
    return {_denoiser_name(name, blocks, max(hints, default=0)): value for name, value in tensors.items()}


def _denoiser_name(name: str, blocks: int, last_hint: int) -> str:
    ends = _renamed(name, ENDS)
    if ends != name:
        return _residual(ends)
    if match := re.fullmatch(r'zero_convs\.(\d{1,4})\.0\.(.*)', name):
        return f'controlnet_down_blocks.{match[1]}.{match[2]}'
    if match := re.fullmatch(r'input_hint_block\.(\d{1,4})\.(.*)', name):
        number = int(match[1])
        inside = f'blocks.{number // 2 - 1}'
        place = 'conv_in' if number == 0 else 'conv_out' if number == last_hint else inside
        return f'controlnet_cond_embedding.{place}.{match[2]}'
    if match := re.fullmatch(r'input_blocks\.(\d{1,4})\.(\d{1,4})\.(.*)', name):
        level, inside = divmod(int(match[1]) - 1, blocks)
        if match[3].startswith('op.'):
            return f'down_blocks.{level}.downsamplers.0.conv.{match[3].removeprefix("op.")}'
        return _block(f'down_blocks.{level}', inside, match[2], match[3])
    if match := re.fullmatch(r'output_blocks\.(\d{1,4})\.(\d{1,4})\.(.*)', name):
        level, inside = divmod(int(match[1]), blocks)
        if match[3].startswith('conv.'):
            return f'up_blocks.{level}.upsamplers.0.{match[3]}'
        return _block(f'up_blocks.{level}', inside, match[2], match[3])
    return name


def _block(level: str, inside: int, which: str, rest: str) -> str:
    return _residual(f'{level}.{"resnets" if which == "0" else "attentions"}.{inside}.{rest}')


def _residual(name: str) -> str:
    """With today's names inside a residual block."""
    match = re.fullmatch(r'(.*\.resnets\.\d{1,4}\.)(.*)', name)
    return name if match is None else match[1] + _renamed(match[2], RESIDUAL)


def _autoencoder(tensors: Tensors) -> dict[str, Stored]:
    ups = [int(match[1]) for name in tensors if (match := re.match(r'decoder\.up\.(\d{1,4})\.', name))]
    levels = 1 + max(ups, default=0)
    found = {}
    for name, value in tensors.items():
        if match := re.fullmatch(r'(encoder|decoder)\.(.*)', name):
            name = f'{match[1]}.{_autoencoder_name(match[2], levels)}'
            if '.attentions.' in name and name.endswith('.weight') and math.prod(value.shape[2:]) == 1:
                value = reshaped(value, value.shape[:2])
        found[name] = value
    return found


def _autoencoder_name(name: str, levels: int) -> str:
    """ldm counts the decoder's levels from the picture, diffusers from the latents."""
    if match := re.fullmatch(r'(down|up)\.(\d{1,4})\.(.*)', name):
        level = int(match[2]) if match[1] == 'down' else levels - 1 - int(match[2])
        table = {'block': 'resnets', 'downsample': 'downsamplers.0', 'upsample': 'upsamplers.0'}
        name = f'{match[1]}_blocks.{level}.{_renamed(match[3], table)}'
    name = _renamed(name, AUTOENCODER)
    if match := re.fullmatch(r'(mid_block\.attentions\.0\.)(.*)', name):
        return match[1] + _renamed(match[2], AUTOENCODER_ATTENTION)
    return name.replace('.nin_shortcut.', '.conv_shortcut.')


def _text_encoder(tensors: Tensors) -> dict[str, Stored]:
    """OpenCLIP's tower without its projection and its last layer, whose output Stable Diffusion 2 does not use."""
    found = {f'text_model.{new}': tensors[old] for old, new in TEXT.items() if old in tensors}
    layers = {
        name: (int(match[1]), match[2])
        for name in tensors
        if (match := re.fullmatch(r'transformer\.resblocks\.(\d{1,4})\.(.*)', name))
    }
    count = 1 + max((number for number, _ in layers.values()), default=-1)
    used = count if count == SD2.text_encoder.layers else count - 1  # some files have lost the last one already
    for name, (number, rest) in layers.items():
        if number >= used:
            continue
        layer = f'text_model.encoder.layers.{number}'
        if match := re.fullmatch(r'attn\.in_proj_(weight|bias)', rest):
            for i, part in enumerate('qkv'):
                found[f'{layer}.self_attn.{part}_proj.{match[1]}'] = third(tensors[name], i)
        else:
            found[f'{layer}.{_renamed(rest, TEXT_LAYER)}'] = tensors[name]
    return found


def third(joint: Stored, which: int) -> Stored:
    """A third of the rows."""
    rows = next(iter(joint.shape), 0) // 3
    start = which * rows
    return Stored((rows, *joint.shape[1:]), joint.dtype, lambda: joint.read()[start : start + rows].copy())


def reshaped(stored: Stored, shape: tuple[int, ...]) -> Stored:
    return Stored(shape, stored.dtype, lambda: stored.read().reshape(shape))
