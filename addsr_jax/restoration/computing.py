"""How the networks compute, of every command that restores pictures. Nothing here needs jax."""

from dataclasses import dataclass

from addsr_jax.options import Options, option
from addsr_jax.specs import ATTENTIONS, RUNTIMES

MACHINE = 'machine'


@dataclass(frozen=True, kw_only=True)
class Computing(Options):
    """What `load` takes beside weights and devices."""

    dtype: str | None = option(
        'of weights and compute',
        default=None,
        unset='float32 on CPU, bfloat16 elsewhere',
        choices=('float32', 'bfloat16'),
        group=MACHINE,
    )
    attention: str = option(
        "kernel of attention; 'auto': flash on TPUs, cudnn on GPUs in bfloat16, else chunked",
        default='auto',
        choices=ATTENTIONS,
        group=MACHINE,
    )
    runtime: str = option(
        'what runs the sampler; onnx: ONNX Runtime, for CPUs, made once for each size of a tile, which takes a minute; '
        "needs pip install '.[onnx]'",
        default='xla',
        choices=RUNTIMES,
        group=MACHINE,
    )
