"""CLIP's byte-pair tokens (tokenizer of SD-2 base): 77 ids, padded with what the folder's special tokens say."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from addsr_jax import hashes, json_file, keep, options, places
from addsr_jax.errors import UserError, printable

FILES = ('vocab.json', 'merges.txt', 'special_tokens_map.json', 'tokenizer_config.json')
NAMES = (*FILES, 'added_tokens.json', 'tokenizer.json')  # all that the library reads
LENGTH = 77
ADVICE = 'copy the folder of the tokenizer again'
_LOADING = threading.Lock()  # importing transformers in two threads at once fails


@dataclass
class Tokenizer:
    """Texts -> ids [B, 77] int32; picklable and for many threads, the library's tokenizer is made on first use."""

    folder: Path
    _memory: dict[str, np.ndarray] = field(init=False, default_factory=dict, repr=False, compare=False)

    @cached_property
    def _clip(self) -> Any:
        os.environ.setdefault('TRANSFORMERS_NO_ADVISORY_WARNINGS', '1')
        with _LOADING, places.on_this_machine(self.folder) as folder:
            from transformers import CLIPTokenizer

            try:
                return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
            except Exception as error:  # whatever the library raises at files that are none of a tokenizer
                reason = printable(str(error)) or type(error).__name__
                raise UserError(f'{self.folder} cannot be used as a tokenizer ({reason}): copy it again') from error

    def __reduce__(self) -> tuple[type['Tokenizer'], tuple[Path]]:
        return Tokenizer, (self.folder,)

    def __call__(self, texts: list[str], kept: bool = False) -> np.ndarray:
        """kept: from one start to the next, for texts that are always the same: importing the library is slow."""
        for text in texts:
            if text not in self._memory:
                made = keep.kept('words', f'{self._hash} {text}', partial(self._ids, text)) if kept else self._ids(text)
                self._memory[text] = np.frombuffer(made, np.int32)
        return np.stack([self._memory[text] for text in texts])

    def _ids(self, text: str) -> bytes:
        ids = self._clip(text, max_length=LENGTH, padding='max_length', truncation=True)['input_ids']
        return np.asarray(ids, np.int32).tobytes()

    @cached_property
    def _hash(self) -> str:
        """Of all that the library reads."""
        return hashes.text(sum(hashes.of_array(name, np.frombuffer(text, np.uint8)) for name, text in self._files()))

    def _files(self) -> Iterator[tuple[str, bytes]]:
        for path in sorted(places.existing(self.folder / name for name in NAMES)):
            yield path.name, places.read_bytes(path)


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer in a folder; a UserError names the files it lacks, or that are not what they should be."""
    folder = places.place(folder)
    missing = [name for name in FILES if not (folder / name).exists()]
    if missing:
        raise UserError(f'{folder} is no tokenizer folder: {", ".join(missing)} missing')
    for path in sorted(folder.glob('*.json')):  # the library reads what it finds, besides FILES
        content = json_file.read(path, ADVICE)
        if path.name == 'vocab.json':
            options.typed(dict[str, int], content, f'{path}')
    if places.kind(folder / 'merges.txt') == 'other':
        raise UserError(f'{folder / "merges.txt"} is no regular file: {ADVICE}')
    if (size := places.size(folder / 'merges.txt')) > json_file.LARGEST:
        raise UserError(f'{folder / "merges.txt"} has {size} bytes, more than {json_file.LARGEST}: {ADVICE}')
    return Tokenizer(folder)
