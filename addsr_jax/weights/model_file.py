"""model.json: what a folder of weights holds, with the hashes that say whether it still holds that.

`hashes` has an entry for every tree of tensors ('params/teacher/unet', 'training'), for every file beside them
('tokenizer/vocab.json') and for the rest of model.json itself. Folders of versions without it are taken as they are.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from addsr_jax import hashes, json_file
from addsr_jax.errors import UserError
from addsr_jax.trees import Tree
from addsr_jax.weights import finite

NAME = 'model.json'
KEYS = {'form', 'parts', 'spec', 'info'}
HASHES = 'hashes'
FILES = ('tokenizer/', 'lora/')  # folders of files, which are hashed as they are


def write(folder: Path, record: Mapping[str, Any], made: Mapping[str, str]) -> None:
    """Plain data with KEYS, the hashes of trees, and those of all files that lie in `folder` beside the trees."""
    files = (path for name in FILES for path in sorted((folder / name).rglob('*')) if path.is_file())
    made = {**made, **{path.relative_to(folder).as_posix(): hashes.of_file(path) for path in files}}
    made[NAME] = hashes.of_json({**record, HASHES: made})
    text = json.dumps({**record, HASHES: made}, indent=1) + '\n'
    (folder / NAME).write_text(text, encoding='utf-8')


def read(folder: Path) -> dict[str, Any]:
    """The record, its own hash and those of files checked; a UserError says what is wrong."""
    path = folder / NAME
    record = json_file.read(path, 'copy the folder again')
    if HASHES not in record and set(record) <= KEYS:
        return {**record, HASHES: {}}
    made = record.get(HASHES)
    if not isinstance(made, dict) or set(record) != {*KEYS, HASHES}:
        raise UserError(f'{path} holds other keys than {", ".join(sorted(KEYS))} and {HASHES}: copy the folder again')
    others = {name: value for name, value in made.items() if name != NAME}
    if made.get(NAME) != hashes.of_json({**record, HASHES: others}):
        raise UserError(
            f'{path} is not what was written: copy the folder again, or, where it was changed on purpose, take '
            f'"{HASHES}" out of it'
        )
    for name, written in others.items():
        if name.startswith(FILES) and '..' not in name and _hash_of(folder / name) != written:
            raise UserError(f'{folder / name} is not what was written: copy the folder again')
    return record


def _hash_of(path: Path) -> str:
    try:
        return hashes.of_file(path)
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror}): copy the folder again') from error


@dataclass
class Look:
    """At the tensors of one tree of a folder, 'params/teacher/unet', in portions of any size."""

    record: Mapping[str, Any]
    name: str
    path: Path  # where they lie
    found: int = 0  # sum of the hashes so far

    def at(self, arrays: Tree) -> None:
        """A UserError where one is not finite."""
        finite.check(arrays, self.path)
        if self.record[HASHES]:
            self.found += sum(hashes.of_array(name, leaf) for name, leaf in hashes.named_leaves(arrays))

    def end(self) -> None:
        """A UserError where all together are not those that were written."""
        if self.record[HASHES] and self.record[HASHES].get(self.name) != hashes.text(self.found):
            raise UserError(
                f'{self.path} is damaged: its tensors are not those that were written; copy the folder again'
            )
