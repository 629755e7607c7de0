"""`addsr train` in a process of its own, with size nano as small as the tiny model and small leaves split as well.

python -m tests.training.worker FLAGS OF TRAIN
"""

import dataclasses
import sys

from addsr_jax import sharding, sizes, train
from addsr_jax.errors import guard
from tests import tiny

if __name__ == '__main__':
    sizes.MODELS['nano'] = dataclasses.replace(tiny.SPEC, name='nano')
    sharding.SMALL = 2
    sys.exit(guard(train.main))
