"""What results are called: after their sources and the size that was asked for, each otherwise than all others."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from addsr_jax.restoration.inputs import Source, common_parts, real
from addsr_jax.restoration.settings import INSIDE, SCALE, Settings

LONGEST_NAME = 255  # bytes


def label(settings: Settings) -> str:
    """What names say of the size that was asked for: '_x4', '_x1.5', '_w80_h60_crop', '_12mp', '_x4_max2000'."""
    parts = [f'_w{settings.width}'] if settings.width else []
    parts += [f'_h{settings.height}'] if settings.height else []
    parts += [f'_{settings.fit}'] if settings.fit != INSIDE else []
    parts += [f'_{settings.megapixels:g}mp'] if settings.megapixels else []
    parts = parts or [f'_x{settings.scale or SCALE:g}']
    return ''.join(parts + ([f'_max{settings.max_side}'] if settings.max_side else []))


def short(stem: str, rest: str) -> str:
    """stem + rest; where a disk takes no such long name, the end of the stem becomes a digest of all of it."""
    room = LONGEST_NAME - len(os.fsencode(rest))
    if len(os.fsencode(stem)) <= room:
        return stem + rest
    digest = _digest(stem)
    while stem and len(os.fsencode(stem)) + 1 + len(digest) > room:
        stem = stem[:-1]
    return f'{stem}-{digest}{rest}'


def apart(sources: Sequence[Source], suffix: str, endings: Sequence[str]) -> list[Path]:
    """Paths below the output, no two alike, for results with these endings.

    Those that would meet keep first their own ending in the name where the result has another, then their folders
    below the one that they have in common, and at last a digest of where they lie.
    """
    means = [0] * len(sources)
    while True:
        common = common_parts([real(source.path).parent for source, n in zip(sources, means, strict=True) if n > 1])
        paths = [_path(*one, suffix, common) for one in zip(sources, endings, means, strict=True)]
        count = Counter(paths)
        meet = [count[path] > 1 and n < 3 for path, n in zip(paths, means, strict=True)]
        if not any(meet):
            return paths
        means = [n + more for n, more in zip(means, meet, strict=True)]


def _path(source: Source, ending: str, means: int, suffix: str, common: int) -> Path:
    """With the first so many of the means of `apart`; common: how many parts all paths begin with."""
    stem, own = source.path.stem, source.path.suffix
    if means > 0 and own != ending:
        stem += f'_{own[1:]}'
    if means > 2:
        stem += f'-{_digest(str(real(source.path)))}'
    below = Path(*real(source.path).parent.parts[common:]) if means > 1 else source.below
    return below / short(stem, f'{suffix}{ending}')


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]
