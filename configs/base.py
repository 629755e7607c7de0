"""What all stages share; each stage's file writes only its differences.

addsr_jax/training/options.py declares keys, defaults, ranges and what they mean; `addsr train --help` lists them.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from addsr_jax.errors import UserError
from addsr_jax.options import defaults
from addsr_jax.training.options import TRAINING


def get_config(stage: str, sizes: Mapping[str, Mapping[str, Any]], size: str) -> ConfigDict:
    """The defaults of a stage with the row `size` of its table; a key that does not exist is a KeyError.

    A row that is a variant of a size is called SIZE_WORD.
    """
    if size not in sizes:
        raise UserError(f'configs/{stage}.py has no size {size!r}: choose one of {", ".join(sizes)}')
    config = ConfigDict({'stage': stage, 'size': size.partition('_')[0], **defaults(TRAINING[stage])})
    config.lock()
    config.update(sizes[size])
    return config
