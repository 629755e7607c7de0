"""Pairs: folders of low-quality and of true pictures of the same names; one reader for training and the commands."""

import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from addsr_jax import places
from addsr_jax.data import heads, pictures
from addsr_jax.data.photographs import Found, photographs
from addsr_jax.errors import UserError, printable

LOOKED_AT = 1000  # pairs whose sizes are compared before work starts, spread evenly; the others when they are read
TOGETHER = 8  # threads that look


@dataclass(frozen=True)
class Pair:
    name: str  # path from the folder on, without its ending
    low: Path  # low-quality picture, or a finished one
    high: Path


@dataclass(frozen=True)
class Pairs:
    """All pairs of two folders, by the low one's path, and what was found beside them."""

    pairs: tuple[Pair, ...]
    low: Found
    high: Found


def find(low: Path, high: Path, *, whole: bool = True, without: Path | None = None) -> Pairs:
    """Pictures of `low` with those of `high`, below them too: the same name, or that before _x4, whatever its ending.

    whole: every picture of `high` has to have a partner, too. A UserError names the first one that has none, or that
    shares its name with another. without: a folder of results, which is not searched.
    """
    of_low, of_high = (photographs(folder, recursive=True, without=without) for folder in (low, high))
    references = _by_name(high, of_high)
    pairs = {}
    for name, path in _by_name(low, of_low).items():
        shared = name if name in references else name.removesuffix('_x4')
        if shared not in references:
            raise UserError(f'{_shown(path)} has no partner of that name in {_shown(high)}')
        if shared in pairs:
            raise UserError(f'{_shown(path)} and {_shown(pairs[shared].low)} have one partner: remove one of them')
        pairs[shared] = Pair(shared, path, references[shared])
    alone = [path for name, path in references.items() if name not in pairs]
    if whole and alone:
        more = f', of {len(alone)} such pictures' if len(alone) > 1 else ''
        raise UserError(f'{_shown(alone[0])} has no partner of that name in {_shown(low)}{more}')
    return Pairs(tuple(pairs.values()), of_low, of_high)


def _by_name(folder: Path, found: Found) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in found.paths:
        # macOS and Linux write one accented letter in two ways
        name = unicodedata.normalize('NFC', path.relative_to(folder).with_suffix('').as_posix())
        if name in named:
            raise UserError(f'{_shown(path)} and {_shown(named[name])} have one name: pairs are told by it')
        named[name] = path
    return named


def check_sizes(pairs: Sequence[Pair], factor: int) -> None:
    """A UserError where a true picture is not `factor` times as large, as far as the heads of the files say.

    LOOKED_AT of them are read; of those in a bucket none. Files without a size are named when they are read.
    """
    near = [pair for pair in pairs if not (places.in_bucket(pair.low) or places.in_bucket(pair.high))]
    count = min(len(near), LOOKED_AT)
    chosen = [near[i * len(near) // count] for i in range(count)]

    def sizes(pair: Pair) -> tuple[tuple[int, int] | None, ...]:
        return heads.size_of(pair.low), heads.size_of(pair.high)

    with ThreadPoolExecutor(TOGETHER) as pool:
        for pair, (low, high) in zip(chosen, pool.map(sizes, chosen), strict=True):
            # heads say sizes before a picture is turned: long sides with long ones
            if low and high and sorted(high) != [side * factor for side in sorted(low)]:
                raise UserError(_mismatch(_shown(pair.high), high, _shown(pair.low), low, factor))


def matched(low: np.ndarray, high: np.ndarray, factor: int, low_name: str, high_name: str) -> None:
    """A UserError where `high` [H, W, 3] is not `factor` times as large as `low`."""
    if high.shape[:2] != (low.shape[0] * factor, low.shape[1] * factor):
        raise UserError(_mismatch(high_name, high.shape[1::-1], low_name, low.shape[1::-1], factor))


def _mismatch(high_name: str, high: Sequence[int], low_name: str, low: Sequence[int], factor: int) -> str:
    wanted = f'{low[0] * factor} x {low[1] * factor}'
    times = f'{factor} times ' if factor > 1 else ''
    return f'{high_name} is {high[0]} x {high[1]}, not {wanted}, {times}the size of {low_name}'


def read(pair: Pair, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Low and true picture, uint8 [h, w, 3] and [h * factor, w * factor, 3]."""
    low, high = pictures.read(pair.low), pictures.read(pair.high)
    matched(low, high, factor, _shown(pair.low), _shown(pair.high))
    return low, high


def _shown(path: Path) -> str:
    return printable(str(path), 4096)
