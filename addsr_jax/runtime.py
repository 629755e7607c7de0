"""What every door does before it computes: the persistent compilation cache."""

import os
from pathlib import Path

import jax


def enable_compilation_cache() -> None:
    """Compiled programs are kept in $ADDSR_CACHE, or ~/.cache/addsr_jax, for the next start."""
    folder = os.environ.get('ADDSR_CACHE') or str(Path.home() / '.cache' / 'addsr_jax')
    jax.config.update('jax_compilation_cache_dir', folder)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)
