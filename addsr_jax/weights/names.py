"""One rule from PyTorch names to parameter paths, and back: a path is the PyTorch name.

Split at dots; a number joins the word before it ('down_blocks.0.attentions.1' -> 'down_blocks_0/attentions_1'); a last
'weight' becomes 'kernel' (rank 2 and more), 'scale' (rank 1) or 'embedding' (tables of tokens and positions).
"""

import re

EMBEDDINGS = ('token_embedding', 'position_embedding')
UNDERSCORED = ('linear_1', 'linear_2')  # the underscore is PyTorch's own
# Computed from the sizes, never stored.
COMPUTED = ('relative_position_index', 'attn_mask', 'position_ids')
# Modules whose numbered children are scanned: 'layers_3/...' is row 3 of 'layers/...'.
STACKED = {
    'text_encoder': ('text_model/encoder/layers',),
    'dino': ('blocks',),
    'dinov2': ('blocks',),
}
# A list of heads has no name of its own in its state dict.
PREFIX = {'discriminator': 'heads.'}


def to_path(name: str, rank: int) -> str:
    """'conv_in.weight' of rank 4 -> 'conv_in/kernel'."""
    parts: list[str] = []
    for word in name.split('.'):
        if word.isdigit() and parts:
            parts[-1] += f'_{word}'
        else:
            parts.append(word)
    if parts[-1] == 'weight':
        table = len(parts) > 1 and parts[-2] in EMBEDDINGS
        parts[-1] = 'embedding' if table else 'kernel' if rank > 1 else 'scale'
    return '/'.join(parts)


def to_name(path: str) -> str:
    """The inverse of `to_path`."""
    words = [_split_numbers(word) for word in path.split('/')]
    if words[-1] in ('kernel', 'scale', 'embedding'):
        words[-1] = 'weight'
    return '.'.join(words)


def _split_numbers(word: str) -> str:
    match = re.fullmatch(r'(.*?)((?:_\d+)+)', word)
    if match is None or word in UNDERSCORED:
        return word
    return match[1] + match[2].replace('_', '.')


def is_computed(name: str) -> bool:
    return name.rsplit('.', 1)[-1] in COMPUTED


def stack_of(path: str, network: str) -> tuple[str, int] | None:
    """('layers/fc1/kernel', 3) for 'layers_3/fc1/kernel' where the network scans these; else None."""
    for stem in STACKED.get(network, ()):
        match = re.fullmatch(rf'{stem}_(\d+)/(.*)', path)
        if match:
            return f'{stem}/{match[2]}', int(match[1])
    return None


def unstacked(path: str, network: str, row: int) -> str:
    """'layers/fc1/kernel', row 3 -> 'layers_3/fc1/kernel'; other paths as they are."""
    for stem in STACKED.get(network, ()):
        if path.startswith(f'{stem}/'):
            return f'{stem}_{row}{path[len(stem) :]}'
    return path


def is_stacked(path: str, network: str) -> bool:
    return any(path.startswith(f'{stem}/') for stem in STACKED.get(network, ()))
