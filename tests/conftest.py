"""All tests run on eight virtual CPU devices, at full precision, with compiled programs kept between runs."""

import os
from pathlib import Path

os.environ['JAX_PLATFORMS'] = 'cpu'
# programs run once or twice here: compiling them quickly is worth more than running them quickly
os.environ['XLA_FLAGS'] = ' '.join(
    (
        '--xla_force_host_platform_device_count=8',
        '--xla_backend_optimization_level=0',
        '--xla_llvm_disable_expensive_passes=true',
        '--xla_cpu_parallel_codegen_split_count=1',
        '--xla_cpu_use_fusion_emitters=false',
    )
)
os.environ['TF_CPP_MIN_LOG_LEVEL'] = '2'
os.environ['TF_ENABLE_ONEDNN_OPTS'] = '0'
os.environ.setdefault('ADDSR_CACHE', str(Path(__file__).parents[1] / '.cache' / 'xla'))

import jax
import pytest

jax.config.update('jax_default_matmul_precision', 'highest')
jax.config.update('jax_compilation_cache_dir', os.environ['ADDSR_CACHE'])
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)


@pytest.fixture(scope='module', autouse=True)
def programs_end_with_their_module():
    """A process may map only so many pieces of memory, and every compiled program takes some."""
    yield
    jax.clear_caches()
