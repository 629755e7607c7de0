"""Files that appear whole or not at all: written under a temporary name, then moved to their place.

Objects of a bucket do so by themselves, and are made on this machine first.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from addsr_jax import places
from addsr_jax.errors import UserError


def write(path: Path, how: Callable[[Path], object]) -> None:
    """`how` writes to the path that it is given; folders are made. UserError where the disk refuses."""
    if places.in_bucket(path):
        places.write_here(path, how)
        return
    temporary = path.with_name(f'.{path.name}.writing')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        how(temporary)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f'{path} cannot be written: {error}') from error


def write_text(path: Path, text: str) -> None:
    """UTF-8."""
    write(path, lambda temporary: temporary.write_text(text, encoding='utf-8'))


def write_json(path: Path, value: Any, **options: Any) -> None:
    """Indented by one; `options` of json.dumps."""
    write_text(path, json.dumps(value, indent=1, **options) + '\n')
