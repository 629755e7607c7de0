"""model.json: what a folder of weights holds, with the hashes that say whether it still holds that.

`hashes` has an entry for every tree of tensors ('params/teacher/unet', 'training'), for every file beside them
('tokenizer/vocab.json') and for the rest of model.json itself. Folders of versions without it are taken as they are.
`same`, where it is there, names what two parts share (`weights.same`), and `pieces` says that the networks' tensors
were hashed in so many pieces each (`hashes.in_pieces`).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from addsr_jax import hashes, json_file, places
from addsr_jax.errors import UserError, printable
from addsr_jax.weights import same

NAME = 'model.json'
NOTES = ('README.md', 'LICENSE')  # a card and a licence, beside it
KEYS = {'form', 'parts', 'spec', 'info'}
HASHES, PIECES = 'hashes', 'pieces'
FILES = ('tokenizer/', 'lora/', 'tags/')  # folders of files, which are hashed as they are


def write(folder: Path, record: Mapping[str, Any], made: Mapping[str, str]) -> None:
    """Plain data with KEYS, perhaps `same` and `pieces`, the hashes of trees, and those of all files beside them."""
    files = [path for name in FILES for path in places.files(folder / name)]
    made = {**made, **{path.relative_to(folder).as_posix(): _hash_of(path) for path in files}}
    made[NAME] = hashes.of_json({**record, HASHES: made})
    text = json.dumps({**record, HASHES: made}, indent=1) + '\n'
    with places.answering(folder / NAME, 'written'):
        (folder / NAME).write_text(text, encoding='utf-8')


def read(folder: Path) -> dict[str, Any]:
    """The record, its own hash and those of files checked; a UserError says what is wrong."""
    path = folder / NAME
    record = json_file.read(path, 'copy the folder again')
    if record.get(PIECES, hashes.PIECES) != hashes.PIECES:
        raise UserError(f'{path} was written by a newer addsr_jax: install that one')
    if HASHES not in record and set(record) - {PIECES} <= KEYS:
        return {**record, HASHES: {}}
    made = record.get(HASHES)
    if not isinstance(made, dict) or set(record) - {same.NAME, PIECES} != {*KEYS, HASHES}:
        raise UserError(f'{path} holds other keys than {", ".join(sorted(KEYS))} and {HASHES}: copy the folder again')
    others = {name: value for name, value in made.items() if name != NAME}
    if made.get(NAME) != hashes.of_json({**record, HASHES: others}):
        raise UserError(
            f'{path} is not what was written: copy the folder again, or, where it was changed on purpose, take '
            f'"{HASHES}" out of it, and "{same.NAME}" where it is there'
        )
    for name, written in others.items():
        if name.startswith(FILES) and '..' not in name and _hash_of(folder / name) != written:
            raise UserError(f'{folder / name} is not what was written: copy the folder again')
    return record


def _hash_of(path: Path) -> str:
    try:
        if places.kind(path) == 'other':
            raise ValueError('it is no regular file')
        with places.answering(path, 'read'):
            return hashes.of_file(path)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise UserError(f'{path} cannot be read ({printable(str(error))}): copy the folder again') from error


def view(content: bytes) -> dict[str, Any]:
    """What the model of a model.json does where its user says nothing; nothing of one that is damaged, or b''."""
    try:
        found = json_file.of_text(content.decode())['spec']['view']
    except (ValueError, LookupError, TypeError):  # it is said when the model is loaded
        return {}
    return found if isinstance(found, dict) else {}


def content(record: Mapping[str, Any]) -> str:
    """One hash of all networks' tensors as they are stored; '' where the record has none."""
    made = {name: value for name, value in record[HASHES].items() if name.startswith('params/')}
    return hashes.of_json(made) if made else ''


def in_pieces(record: Mapping[str, Any]) -> bool:
    """How the networks' tensors were hashed: in pieces, or each at once."""
    return PIECES in record


def check(record: Mapping[str, Any], name: str, made: str, path: Path) -> None:
    """A UserError where the tensors in `path`, whose hash is `made`, are not those that were written as `name`."""
    if record[HASHES] and record[HASHES].get(name) != made:
        raise UserError(f'{path} is damaged: its tensors are not those that were written; copy the folder again')
