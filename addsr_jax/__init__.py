"""AddSR in JAX: blind super-resolution of photographs in one to four diffusion steps (arXiv 2404.01717).

pipeline = addsr_jax.load('nano')
large = pipeline.upscale(small)  # uint8 [H, W, 3] -> uint8 [4 H, 4 W, 3]
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from addsr_jax.restoration.pipeline import Pipeline

if sys.platform == 'win32':  # locks of files and memory limits are those of POSIX
    raise ImportError('addsr_jax runs on Linux and macOS; on Windows install it inside WSL')

__version__ = '0.2.0'
__all__ = ['load']


def load(
    path_or_name: Any,
    mesh: Any = None,
    dtype: Any = None,
    attention: str = 'auto',
    runtime: str = 'xla',
    method: str | None = None,
) -> 'Pipeline':
    """A model that is ready to upscale: 'nano' (shipped), a folder of training (`final/`) or `convert`, or a name.

    'ORG/NAME' or 'ORG/NAME@REVISION' is a model on a hub, fetched once (docs/weights.md). mesh: a jax Mesh to spread
    tiles over (default: the first device). dtype: of weights and compute (default: float32 on CPU, bfloat16
    elsewhere). attention: a kernel of `ops.attention` (default: the quickest of the device). runtime: 'onnx' restores
    by ONNX Runtime, on CPUs (docs/export.md). method: 'addsr' or 'seesr', where no other will be asked for, so that the
    other's networks take no memory. `errors.UserError` says what is wrong with a name or a folder, which may
    lie in a bucket (`gs://`). Compiled programs are kept as the commands keep them, unless jax has been told where.
    """
    from addsr_jax.restoration import pipeline  # jax and the networks are imported when they are needed
    from addsr_jax.runtime import keep_programs

    keep_programs()
    return pipeline.load(path_or_name, mesh, dtype, attention, runtime, method=method)
