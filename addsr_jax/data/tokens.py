"""CLIP's byte-pair tokens (tokenizer of SD-2 base): 77 ids, padded with what the folder's special tokens say."""

import os
import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from addsr_jax import places
from addsr_jax.errors import UserError

FILES = ('vocab.json', 'merges.txt', 'special_tokens_map.json', 'tokenizer_config.json')
LENGTH = 77
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

            return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)

    def __reduce__(self) -> tuple[type['Tokenizer'], tuple[Path]]:
        return Tokenizer, (self.folder,)

    def __call__(self, texts: list[str]) -> np.ndarray:
        for text in texts:
            if text not in self._memory:
                ids = self._clip(text, max_length=LENGTH, padding='max_length', truncation=True)['input_ids']
                self._memory[text] = np.asarray(ids, np.int32)
        return np.stack([self._memory[text] for text in texts])


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer in a folder; a UserError names the files it lacks."""
    folder = places.place(folder)
    missing = [name for name in FILES if not (folder / name).exists()]
    if missing:
        raise UserError(f'{folder} is no tokenizer folder: {", ".join(missing)} missing')
    return Tokenizer(folder)
