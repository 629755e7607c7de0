"""How much the page takes, of one and of all. Nothing here needs gradio."""

from dataclasses import dataclass

from addsr_jax.options import Options, option

LIMITS = 'limits'


@dataclass(frozen=True, kw_only=True)
class Limits(Options):
    max_bytes: int = option(
        'a file of more is not taken', default=32_000_000, low=1, high=2**40, unit='bytes', group=LIMITS
    )
    max_pixels: int = option(
        'a picture of more is not read', default=4_000_000, low=1, high=2**40, unit='pixels', group=LIMITS
    )
    max_files: int = option('in one batch', default=50, low=1, high=10_000, group=LIMITS)
    waiting: int = option('requests that may wait in the queue', default=64, low=1, high=10_000, group=LIMITS)
    keep: float = option(
        'how long uploads and results are kept', default=60.0, above=0, high=10_000, unit='minutes', group=LIMITS
    )
    disk: float = option(
        'uploads and results together; above that none is taken',
        default=4.0,
        above=0,
        high=1e6,
        unit='GB',
        group=LIMITS,
    )
