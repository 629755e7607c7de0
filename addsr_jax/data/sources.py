"""Random-access sources of encoded photographs: record i is {'image': bytes, 'caption': str, 'name': str}.

Records of pairs have 'lq' as well, the bytes of the low-quality picture. A record that cannot be read is a UserError
that begins with its name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, SupportsIndex

from addsr_jax import attempts, places
from addsr_jax.data import pairs as data_pairs
from addsr_jax.data.degradation import SCALE
from addsr_jax.data.packed import packed
from addsr_jax.data.photographs import photographs, text_of
from addsr_jax.errors import Momentary, UserError, escaped, printable
from addsr_jax.installation import with_extra

# Photographs inside the scikit-image package (no download); the last one is never trained on.
SAMPLE_PHOTOS = ('astronaut.png', 'coffee.png', 'rocket.jpg', 'motorcycle_left.png', 'motorcycle_right.png')
HELD_OUT_PHOTOS = ('chelsea.png',)


class Source(Protocol):
    @property
    def left_out(self) -> str: ...  # what was found and not taken, in words; '' for nothing

    def __len__(self) -> int: ...

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]: ...

    def name_of(self, index: SupportsIndex) -> str: ...  # of a record that cannot be read, too

    def captioned(self) -> int | None: ...  # photographs with a caption; None where only reading them all would tell


@dataclass(frozen=True)
class FileSource:
    """Image files, each with the text of its sidecar (same stem, .txt, UTF-8), if it has one."""

    paths: tuple[Path, ...]
    left_out: str = ''
    texts: frozenset[Path] | None = None  # sidecars that there are; None: each is looked for

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        path, name = self.paths[index], self.name_of(index)
        sidecar = text_of(path, self.texts)
        caption = '' if sidecar is None else _caption(sidecar, name)
        return {'image': _content(path, name), 'caption': caption, 'name': name}

    def name_of(self, index: SupportsIndex) -> str:
        return escaped(str(self.paths[index]))

    def captioned(self) -> int:
        return sum(text_of(path, self.texts) is not None for path in self.paths)


def _caption(sidecar: Path, name: str) -> str:
    """UTF-8, with or without a byte-order mark."""
    try:
        return _content(sidecar, name).decode('utf-8-sig').strip()
    except UnicodeDecodeError as error:
        raise UserError(f'{name} has a caption that is not UTF-8, {printable(sidecar.name)}: convert it') from error


def _content(path: Path, name: str) -> bytes:
    """Of a regular file; nothing else is opened."""
    try:
        return places.read_bytes(path)
    except FileNotFoundError:
        reason = 'it is gone'
    except (OSError, MemoryError) as error:
        reason = printable(getattr(error, 'strerror', '') or type(error).__name__)
    raise UserError(f'{name} cannot be read ({printable(path.name)}): {reason}')


@dataclass(frozen=True)
class PairSource:
    """True pictures with their captions, each beside a low-quality picture of a quarter of its size."""

    high: FileSource
    low: tuple[Path, ...]
    left_out: str = ''

    def __len__(self) -> int:
        return len(self.low)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        low = printable(str(self.low[index]), 4096)
        content = _content(self.low[index], f'{self.name_of(index)} (its low-quality picture {low})')
        return {**self.high[index], 'lq': content}

    def name_of(self, index: SupportsIndex) -> str:
        return self.high.name_of(index)

    def captioned(self) -> int:
        return self.high.captioned()


@dataclass(frozen=True)
class TfdsSource:
    """A tensorflow-datasets data source, whose pictures are kept encoded."""

    data: Any
    name: str
    left_out: str = ''
    image_key: str = 'image'  # the feature that is the picture

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        record, name = self.data[index], self.name_of(index)
        caption = record.get('caption', '')
        try:
            caption = caption.decode() if isinstance(caption, bytes) else str(caption)
        except UnicodeDecodeError as error:
            raise UserError(f'{name} has a caption that is not UTF-8') from error
        return {'image': bytes(record[self.image_key]), 'caption': caption, 'name': name}

    def name_of(self, index: SupportsIndex) -> str:
        return f'{self.name}[{index}]'

    def captioned(self) -> None:
        return None


def folder(path: str) -> FileSource:
    """All photographs under a folder, sorted."""
    try:
        if not path:
            raise UserError("there is no folder ''")
        found = photographs(places.place(path), recursive=True)
    except UserError as error:
        raise UserError(f'{error}: set --config.data.path to a folder of photographs') from error
    return FileSource(found.paths, found.remark, found.texts)


def pairs(path: str, lq_path: str) -> PairSource:
    """All pairs of a folder of true pictures and one of low-quality pictures, and of those below them."""
    given = {'path': ('the true pictures', path), 'lq_path': ('the low-quality ones', lq_path)}
    for key, (what, value) in given.items():
        if not value:
            raise UserError(f'pairs lie in two folders: set --config.data.{key} to that of {what}')
    found = data_pairs.find(places.place(lq_path), places.place(path))
    data_pairs.check_sizes(found.pairs, SCALE)
    high = FileSource(tuple(pair.high for pair in found.pairs), texts=found.high.texts)
    remarks = {path: found.high.remark, lq_path: found.low.remark}
    left_out = '; '.join(f'{remark} in {folder}' for folder, remark in remarks.items() if remark)
    return PairSource(high, tuple(pair.low for pair in found.pairs), left_out)


def sample_photos() -> FileSource:
    """The photographs that scikit-image ships, without those held out."""
    return FileSource(_inside_skimage(SAMPLE_PHOTOS))


def held_out() -> FileSource:
    """The sample photographs that training never sees."""
    return FileSource(_inside_skimage(HELD_OUT_PHOTOS))


def _inside_skimage(names: tuple[str, ...]) -> tuple[Path, ...]:
    try:
        import skimage
    except ImportError as error:
        raise UserError(f'sample_photos come with scikit-image: {with_extra("train")}') from error
    root = Path(skimage.__file__).parent / 'data'
    missing = [name for name in names if not (root / name).exists()]
    if missing:
        raise UserError(f'scikit-image lacks {", ".join(missing)}: pip install --force-reinstall scikit-image')
    return tuple(root / name for name in names)


def tfds(name: str, image_key: str = 'image') -> TfdsSource:
    """`tfds.data_source(name)`, prepared as ArrayRecord; images stay encoded. A UserError names its features."""
    try:
        import tensorflow_datasets as tf_datasets
    except ImportError as error:
        raise UserError(f'tfds sources need the training extra: {with_extra("train")}') from error
    data_set, _, split = name.partition(':')
    if not data_set:
        raise UserError("--config.data.path names the data set and split: for example 'div2k:train'")
    decoders = {image_key: tf_datasets.decode.SkipDecoding()}
    try:
        features: Any = tf_datasets.builder(data_set).info.features  # before anything is downloaded
        found = [key for key, feature in features.items() if isinstance(feature, tf_datasets.features.Image)]
        if image_key in found:
            data = tf_datasets.data_source(data_set, split=split or 'train', decoders=decoders)
            return TfdsSource(data, name, image_key=image_key)
    except Exception as error:  # its data sets raise nearly everything, AssertionError and what requests has too
        raise _not_opened(name, error) from error
    advice = f'set --config.data.image_key to one of {printable(", ".join(found))}' if found else 'choose another set'
    raise UserError(f'tfds set {data_set} has no picture called {image_key!r}: {advice}')


def _not_opened(name: str, error: Exception) -> UserError:
    line = f'tfds cannot open {name!r}: {printable(str(error), 1000) or type(error).__name__}'
    if attempts.kind_of(error) is Momentary:
        return Momentary(f'{line}: see that this machine reaches the network, and run the same command again')
    return UserError(line)


SOURCES: dict[str, Callable[[str, str, str], Source]] = {
    'folder': lambda path, lq_path, image_key: folder(path),
    'pairs': lambda path, lq_path, image_key: pairs(path, lq_path),
    'packed': lambda path, lq_path, image_key: packed(path),
    'tfds': lambda path, lq_path, image_key: tfds(path, image_key),
    'sample_photos': lambda path, lq_path, image_key: sample_photos(),
}


def open_source(kind: str, path: str, *, lq_path: str = '', image_key: str = 'image') -> Source:
    """The source of that kind; UserError for another one. lq_path is for pairs, image_key for tfds."""
    if kind not in SOURCES:
        raise UserError(f'--config.data.source is {kind!r}: choose one of {", ".join(SOURCES)}')
    return SOURCES[kind](path, lq_path, image_key)
