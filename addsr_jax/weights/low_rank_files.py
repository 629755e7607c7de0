"""Published low-rank adapters (Hu et al. 2022) of UNets, ControlNets and text encoders, merged into what they adapt.

Read are the layouts of PEFT and diffusers, of diffusers before PEFT, and of kohya's scripts (A1111, ComfyUI). A layer's
weight becomes W + alpha / rank * B A; alpha is the rank where no file says it. Strict: every adapter has its layer.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from addsr_jax import json_file, options, places
from addsr_jax.errors import UserError, printable
from addsr_jax.weights import reader
from addsr_jax.weights.adapters import FILE
from addsr_jax.weights.stored import Stored
from addsr_jax.weights.wrappers import Say

# First words of names, and the network of each.
STARTS = {
    'unet.': 'unet',
    'controlnet.': 'controlnet',
    'text_encoder.': 'text_encoder',
    'lora_unet_': 'unet',
    'lora_controlnet_': 'controlnet',
    'lora_te_': 'text_encoder',
    'base_model.model.': '',  # PEFT's own: the file does not say which network
}
# Ends of names: of A [r, in], of B [out, r], of alpha.
ENDS = (
    (r'(.*)\.lora_A(?:\.default)?\.weight', 'a'),
    (r'(.*)\.lora_B(?:\.default)?\.weight', 'b'),
    (r'(.*)\.(?:lora|lora_linear_layer)\.down\.weight', 'a'),
    (r'(.*)\.(?:lora|lora_linear_layer)\.up\.weight', 'b'),
    (r'(.*)_lora\.down\.weight', 'a'),
    (r'(.*)_lora\.up\.weight', 'b'),
    (r'(.*)\.lora_down\.weight', 'a'),
    (r'(.*)\.lora_up\.weight', 'b'),
    (r'(.*)\.alpha', 'alpha'),
)
# Layers whose names are others today.
RENAMED = (
    (r'\.processor\.', '.'),  # of diffusers before PEFT; so are the next two
    (r'\.self_attn\.to_(q|k|v|out)$', r'.self_attn.\1_proj'),
    (r'\.to_out$', '.to_out.0'),
    (r'^encoder([._])layers(?=[._])', r'text_model\1encoder\1layers'),  # of transformers 5
)
STEMS = (Path(FILE).stem, 'adapter_model')  # of diffusers' files and of PEFT's
SETTINGS = 'adapter_config.json'  # PEFT's, beside its file
METADATA = 'lora_adapter_metadata'  # diffusers', in its file


@dataclass
class Adapter:
    """One layer's factors and scale, as a file has them."""

    parts: dict[str, Stored] = field(default_factory=dict)
    scale: float | None = None  # alpha / rank where the file says it for all of its layers


@dataclass(frozen=True)
class LowRank:
    """{network: {layer, as the file names it: its adapter}} of a file."""

    path: Path
    layers: dict[str, dict[str, Adapter]]


def read(path: Path, say: Say) -> list[LowRank]:
    """The adapters of a file, or of the files in a folder (or in its unet/ and controlnet/)."""
    if places.kind(path) != 'folder':
        return [_read_file(path, say)]
    files = _files(path, say)
    if not files:
        raise UserError(f'{path} holds no adapters: expected {FILE}, or unet/{FILE} and controlnet/{FILE}')
    found = [_read_file(file, say) for file in files]
    _check_apart(found)
    return found


def _files(folder: Path, say: Say) -> list[Path]:
    """Those of a folder that hold adapters, by the names that libraries give them, or else all of tensors."""
    inside = [folder / name / FILE for name in ('unet', 'controlnet')]
    if there := [file for file in inside if file.is_file()]:
        return there
    named = [folder / f'{stem}{suffix}' for stem in STEMS for suffix in ('.safetensors', '.bin')]
    files = [file for file in sorted(folder.iterdir()) if file.suffix in reader.SUFFIXES]
    if there := [file for file in named if file.is_file()]:
        left = ', '.join(printable(file.name) for file in files if file != there[0])
        if left:  # a trainer's state
            say(f'{folder}: {there[0].name} is read, and not {left} beside it')
        return there[:1]
    return files


def _check_apart(files: Iterable[LowRank]) -> None:
    """A UserError where two files adapt one layer: they are of one training at two times, not parts of one."""
    seen: dict[tuple[str, str], Path] = {}
    for file in files:
        for network, layers in file.layers.items():
            for layer in layers:
                other = seen.setdefault((network, layer.replace('.', '_')), file.path)
                if other != file.path:
                    raise UserError(
                        f'{other} and {file.path.name} beside it both adapt {printable(layer)}: give one of them alone'
                    )


def _read_file(path: Path, say: Say) -> LowRank:
    layers: dict[str, dict[str, Adapter]] = {}
    for name, stored in reader.open_file(path, say).items():
        network, rest = _network(name)
        layer, part = _layer(path, rest)
        adapter = layers.setdefault(network, {}).setdefault(layer, Adapter())
        if part in adapter.parts:
            raise UserError(f'{path} holds {printable(name)} twice, in two layouts')
        adapter.parts[part] = stored
    found: dict[str, dict[str, Adapter]] = {}
    for named, adapters in layers.items():
        network, scale = named or _whose(path, adapters), _scale(path, named)
        if network in found:
            raise UserError(
                f'{path} names its network, {network}, for some layers and not for others: save it again with one kind '
                'of names'
            )
        for layer, adapter in adapters.items():
            if not {'a', 'b'} <= set(adapter.parts):
                raise UserError(f'{path} holds half of the adapter of {printable(layer)}: download it again')
            adapter.scale = scale
        found[network] = adapters
    return LowRank(path, found)


def _network(name: str) -> tuple[str, str]:
    for start, network in STARTS.items():
        if name.startswith(start):
            return network, name.removeprefix(start)
    return '', name


def _whose(path: Path, adapters: Mapping[str, Adapter]) -> str:
    """The network of adapters that do not say it: by their layers, or a ControlNet's where they lie in controlnet/."""
    if next(iter(adapters)).startswith('text_model.'):
        return 'text_encoder'
    return 'controlnet' if path.parent.name == 'controlnet' else 'unet'


def _layer(path: Path, name: str) -> tuple[str, str]:
    """(layer, part) of a tensor's name; a UserError where it is of no plain adapter."""
    for pattern, part in ENDS:
        if match := re.fullmatch(pattern, name):
            layer = match[1]
            for pattern, today in RENAMED:
                layer = re.sub(pattern, today, layer)
            return layer, part
    raise UserError(
        f'{path} holds {printable(name)}: only plain low-rank adapters are merged (pairs of A and B, or down and up; '
        'no LoHa, LoKr or DoRA)'
    )


def _scale(path: Path, network: str) -> float | None:
    """alpha / rank where notes in the file or beside it say them."""
    beside = path.parent / SETTINGS
    if beside.is_file():
        said, start, where = json_file.read(beside, 'download it again'), '', str(beside)
    else:
        text = reader.metadata(path).get(METADATA)
        if text is None:
            return None
        try:
            said, start, where = json_file.of_text(text), f'{network}.' if network else '', f'{METADATA} of {path}'
        except ValueError as error:
            raise UserError(f'{path} is damaged: its {METADATA} cannot be read; download it again') from error
    return _said_scale(said, start, where)


def _said_scale(said: Mapping[str, Any], start: str, where: str) -> float | None:
    for key in ('alpha_pattern', 'rank_pattern', 'use_rslora', 'use_dora'):
        if said.get(f'{start}{key}'):
            raise UserError(f'{where} says {key}, which is not merged here: merge it with PEFT and convert the result')
    if f'{start}lora_alpha' not in said or f'{start}r' not in said:
        return None
    alpha = options.typed(int | float, said[f'{start}lora_alpha'], f'lora_alpha of {where}')
    rank = options.typed(int, said[f'{start}r'], f'r of {where}')
    if rank <= 0:
        raise UserError(f'r of {where} is {rank}: it must be above 0')
    return alpha / rank


def fitting(files: Iterable[LowRank], option: str, takers: Mapping[str, Iterable[str]], say: Say) -> list[LowRank]:
    """The files that were given as an option, without the layers of networks that it does not adapt, which are said.

    takers: {option: the networks that it adapts}. A UserError names a file that holds nothing for this one.
    """
    kept, own = [], list(takers[option])
    for file in files:
        others = sorted(set(file.layers) - set(own))
        if others:
            what, elsewhere = ' and '.join(others), _taken_by(others, takers)
            if len(others) == len(file.layers):
                raise UserError(f'{file.path} adapts {what}{elsewhere}: {option} is for {" and ".join(own)} alone')
            say(f'{file.path}: leaves the adapters of {what}{elsewhere}')
        kept.append(LowRank(file.path, {kind: held for kind, held in file.layers.items() if kind in own}))
    return kept


def _taken_by(networks: Iterable[str], takers: Mapping[str, Iterable[str]]) -> str:
    """Which options take adapters of these networks, for a line about them."""
    found = [option for option, own in takers.items() if set(own) & set(networks)]
    return f', which {" and ".join(found)} {"take" if len(found) > 1 else "takes"}' if found else ''


def merged(tensors: Mapping[str, Stored], files: Iterable[LowRank], kind: str) -> dict[str, Stored]:
    """The tensors of a network of this kind with all adapters of it added, when they are read.

    A UserError names what fits no layer.
    """
    found = dict(tensors)
    layers = {name.removesuffix('.weight'): name for name in tensors if name.endswith('.weight')}
    flat = {layer.replace('.', '_'): name for layer, name in layers.items()}
    for file in files:
        adapters = file.layers.get(kind, {})
        strange = [layer for layer in adapters if layer not in layers and layer not in flat]
        if strange:
            raise UserError(
                f'{file.path} is of another network: {len(strange)} of its {len(adapters)} layers are not in this '
                f'{kind}, {printable(strange[0])} among them'
            )
        for layer, adapter in adapters.items():
            name = layers.get(layer, flat.get(layer, ''))
            found[name] = _merged(file.path, layer, found[name], adapter)
    return found


def _merged(path: Path, layer: str, base: Stored, adapter: Adapter) -> Stored:
    """W + scale * B A of layer or 1 x 1 convolution, or of any convolution whose A has its size."""
    a, b, alpha = adapter.parts['a'], adapter.parts['b'], adapter.parts.get('alpha')
    rank = next(iter(a.shape), 0)
    rows, size = math.prod(base.shape[:1]), math.prod(base.shape)
    matrices = len(a.shape) >= 2 and len(b.shape) >= 2 and rank > 0
    if not matrices or math.prod(b.shape) != rows * rank or math.prod(a.shape) * rows != size * rank:
        raise UserError(
            f'{path} is of another network: {printable(layer)} has factors {b.shape} and {a.shape} for a weight '
            f'{base.shape}'
        )

    def load() -> np.ndarray:
        first, second = (part.read().astype(np.float32).reshape(part.shape[0], -1) for part in (a, b))
        scale = adapter.scale
        if alpha is not None:
            scale = float(alpha.read().astype(np.float32).reshape(-1)[0]) / rank
        change = (second @ first).reshape(base.shape) * np.float32(1.0 if scale is None else scale)
        return (base.read().astype(np.float32) + change).astype(base.dtype)

    return Stored(base.shape, base.dtype, load)
