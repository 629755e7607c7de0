"""The one way in for JSON: bounded, checked for what it is, and wrong in one line."""

import json
from pathlib import Path
from typing import Any

from addsr_jax import places
from addsr_jax.errors import UserError, printable

LARGEST = 32 << 20  # bytes; a tokenizer's vocabulary takes 1 MB, an index of 10,000 tensors as much


def read(path: Path, advice: str) -> dict[str, Any]:
    """The object in a file; a UserError says what is wrong with it, and `advice`."""
    try:
        if (size := places.size(path)) > LARGEST:
            raise UserError(f'{path} cannot be read ({size} bytes, more than {LARGEST}): {advice}')
        found = json.loads(path.read_text(encoding='utf-8'))
    except RecursionError as error:
        raise UserError(f'{path} cannot be read (it is nested too deeply): {advice}') from error
    except (OSError, ValueError) as error:
        raise UserError(f'{path} cannot be read ({printable(str(error))}): {advice}') from error
    if not isinstance(found, dict):
        raise UserError(f'{path} cannot be read (it holds {type(found).__name__}, not an object): {advice}')
    return found
