"""Tensors that are not those of the network: a few lines that name the likely cause, however many they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax

from addsr_jax.errors import UserError, printable
from addsr_jax.weights import ldm
from addsr_jax.weights.stored import Stored

SHOWN, WIDE = 3, 90  # tensors of each kind that are named, and characters of a name
SOURCES = 4  # files of which a line is said, where several are wrong
# Whose tensors these are, by a piece of a name; the first that is there counts.
ADAPTERS, UNKNOWN = 'low-rank adapters', 'another network'
SIGNS = (
    ('lora_', ADAPTERS),
    ('conditioner.embedders.1.', 'Stable Diffusion XL'),
    ('cond_stage_model.transformer.', 'Stable Diffusion 1'),
    ('visual_encoder.', 'RAM'),
    ('ls1.gamma', 'DINOv2'),
    ('blocks.0.attn.qkv.weight', 'DINO'),
    ('model.diffusion_model.', 'a whole checkpoint'),
)
NAMES = {
    'unet': 'a UNet',
    'controlnet': 'a ControlNet',
    'autoencoder': 'an autoencoder',
    'text_encoder': 'a text encoder',
    'prompt_extractor': 'RAM',
    'dape': 'DAPE',
    'dino': 'DINO',
    'dinov2': 'DINOv2',
    'tiny_decoder': 'a tiny decoder',
}


@dataclass(frozen=True)
class Mismatch:
    """What is wrong with the tensors of one network."""

    kind: str  # of the network that they should be
    path: Path
    have: Mapping[str, Stored]
    wanted: Mapping[str, tuple[int, ...]]
    missing: list[str]
    unexpected: list[str]
    misshapen: list[str]
    untyped: list[str]  # of no floating type

    @property
    def count(self) -> int:
        return sum(map(len, (self.missing, self.unexpected, self.misshapen, self.untyped)))

    def cause(self) -> str:
        """What has likely happened, and what to do."""
        if self.untyped:
            return f'it is quantised ({self.have[self.untyped[0]].dtype}): get the file of floats'
        if self.unexpected and not (self.missing or self.misshapen) and _of_images(self.unexpected):
            return (
                'config.json does not say use_image_cross_attention, and these are its tensors: get the config.json of '
                'SeeSR or AddSR'
            )
        looks = whose(self.have)
        mostly = len(self.unexpected) > len(self.have) // 2  # what lies beside a network says nothing of it
        if looks != NAMES[self.kind] and (mostly or looks not in (ADAPTERS, UNKNOWN)):
            return f'it looks like {looks}, not {NAMES[self.kind]}: give another file'
        if self.missing and not self.unexpected and not self.misshapen:
            return self._part()
        if self.misshapen and not self.missing and not self.unexpected:
            return 'the same network in another size: config.json or the other networks are of another model'
        return 'another version of this network: get the files of one model'

    def _part(self) -> str:
        if _of_images(self.missing):
            return 'it has no image attentions: it is plain Stable Diffusion, not SeeSR or AddSR'
        if len(self.missing) == len(self.wanted):
            return f'none of its tensors are those of {NAMES[self.kind]}: give another file'
        return 'a part of the network is not there: a shard or the end of a download; get all of it'

    def details(self) -> list[str]:
        """At most four lines with the first few tensors of each kind."""
        shapes = [f'{name} is {self.have[name].shape}, not {self.wanted[name]}' for name in self.misshapen]
        types = [f'{name} is {self.have[name].dtype}' for name in self.untyped]
        kinds = {
            'missing': self.missing,
            'unexpected': self.unexpected,
            'of another shape': shapes,
            'of no floating type': types,
        }
        return [f'{len(found)} {what}: {_few(found)}' for what, found in kinds.items() if found]


def _of_images(names: list[str]) -> bool:
    return all('image_attentions' in name for name in names)


def whose(tensors: Mapping[str, Stored]) -> str:
    """In words, what network tensors are of."""
    named = next((what for sign, what in SIGNS if any(sign in name for name in tensors)), None)
    kind = ldm.kind_of(tensors)
    return named or (NAMES[kind] if kind else UNKNOWN)


def found(kind: str, path: Path, have: Mapping[str, Stored], wanted: Mapping[str, tuple[int, ...]]) -> Mismatch | None:
    """What does not fit, or None."""
    both = [name for name in wanted if name in have]
    made = Mismatch(
        kind,
        path,
        have,
        wanted,
        missing=[name for name in wanted if name not in have],
        unexpected=[name for name in have if name not in wanted],
        misshapen=[name for name in both if have[name].shape != wanted[name]],
        untyped=[name for name in both if not jax.numpy.issubdtype(have[name].dtype, jax.numpy.floating)],
    )
    return made if made.count else None


def refuse(wrong: list[Mismatch]) -> None:
    """A UserError of at most five lines where there is something in the list."""
    if len(wrong) == 1:
        one = wrong[0]
        raise UserError(f'{one.count} tensors do not fit in {one.path}: {one.cause()}', *one.details())
    if wrong:
        lines = [f'{one.path}: {one.count} tensors; {one.cause()}' for one in wrong]
        more = [f'and {len(lines) - SOURCES + 1} more files'] if len(lines) > SOURCES else []
        kept = lines[: SOURCES - 1] if more else lines
        raise UserError(f'{sum(one.count for one in wrong)} tensors do not fit, in {len(wrong)} files', *kept, *more)


def _few(names: list[str]) -> str:
    shown = [printable(name, WIDE) for name in names[:SHOWN]]
    return ', '.join([*shown, *(['...'] if len(names) > SHOWN else [])])
