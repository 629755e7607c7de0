"""Random-access sources of encoded photographs: record i is {'image': bytes, 'caption': str, 'name': str}."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, SupportsIndex

from addsr_jax.data.listing import photographs
from addsr_jax.data.pictures import reason
from addsr_jax.errors import UserError

# Photographs inside the scikit-image package (no download); the last one is never trained on.
SAMPLE_PHOTOS = ('astronaut.png', 'coffee.png', 'rocket.jpg', 'motorcycle_left.png', 'motorcycle_right.png')
HELD_OUT_PHOTOS = ('chelsea.png',)


class Source(Protocol):
    @property
    def left_out(self) -> str:
        """What is not taken, in words."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]: ...

    def name(self, index: int) -> str:
        """Of a record, without reading it."""
        ...


@dataclass(frozen=True)
class FileSource:
    """Image files, each with the text of its sidecar (same stem, .txt), if it has one."""

    paths: tuple[Path, ...]
    left_out: str = ''  # what else the folder holds, in words

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        path = self.paths[index]
        sidecar = path.with_suffix('.txt')
        try:
            caption = sidecar.read_text(encoding='utf-8').strip() if sidecar.exists() else ''
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f'{sidecar} is no caption in UTF-8: {reason(error)}') from error
        return {'image': path.read_bytes(), 'caption': caption, 'name': str(path)}

    def name(self, index: int) -> str:
        return str(self.paths[index])


@dataclass(frozen=True)
class TfdsSource:
    """A tensorflow-datasets data source with an 'image' feature, kept encoded."""

    data: Any
    data_set: str
    left_out: str = ''

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        record = self.data[index]
        caption = record.get('caption', '')
        caption = caption.decode() if isinstance(caption, bytes) else str(caption)
        return {'image': bytes(record['image']), 'caption': caption, 'name': self.name(int(index))}

    def name(self, index: int) -> str:
        return f'{self.data_set}[{index}]'


def folder(path: str) -> FileSource:
    """All photographs under a folder (`listing.photographs`)."""
    root = Path(path).expanduser()
    if not path or not root.is_dir():
        raise UserError(f'there is no folder {path!r}: set --config.data.path to a folder of photographs')
    found = photographs(root, recursive=True)
    if not found.paths:
        raise UserError(f'{root} holds no images{found.told}: set --config.data.path to a folder of photographs')
    return FileSource(found.paths, found.told)


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
        raise UserError("sample_photos come with scikit-image: pip install 'addsr-jax[train]'") from error
    root = Path(skimage.__file__).parent / 'data'
    missing = [name for name in names if not (root / name).exists()]
    if missing:
        raise UserError(f'scikit-image lacks {", ".join(missing)}: pip install --force-reinstall scikit-image')
    return tuple(root / name for name in names)


def tfds(name: str) -> TfdsSource:
    """`tfds.data_source(name)`, prepared as ArrayRecord; images stay encoded."""
    try:
        import tensorflow_datasets as tf_datasets
    except ImportError as error:
        raise UserError("tfds sources need the training extra: pip install 'addsr-jax[train]'") from error
    data_set, _, split = name.partition(':')
    if not data_set:
        raise UserError("--config.data.path names the data set and split: for example 'div2k:train'")
    decoders = {'image': tf_datasets.decode.SkipDecoding()}
    try:
        data = tf_datasets.data_source(data_set, split=split or 'train', decoders=decoders)
    except (tf_datasets.core.DatasetNotFoundError, ValueError, FileNotFoundError) as error:
        raise UserError(f'tfds cannot open {name!r}: {error}') from error
    return TfdsSource(data, name)


SOURCES = {'folder': folder, 'tfds': tfds, 'sample_photos': lambda path: sample_photos()}


def open_source(kind: str, path: str) -> Source:
    """The source of that kind; UserError for another one."""
    if kind not in SOURCES:
        raise UserError(f'--config.data.source is {kind!r}: choose one of {", ".join(SOURCES)}')
    return SOURCES[kind](path)
