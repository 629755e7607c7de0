"""All tests run on eight virtual CPU devices, at full precision, with compiled programs kept between runs."""

import gc
import os
from importlib.metadata import version
from pathlib import Path
from unittest import mock

os.environ['JAX_PLATFORMS'] = 'cpu'
# programs run once or twice here: compiling them quickly is worth more than running them quickly
os.environ['XLA_FLAGS'] = ' '.join(
    (
        '--xla_force_host_platform_device_count=8',
        '--xla_backend_optimization_level=0',
        '--xla_llvm_disable_expensive_passes=true',
        '--xla_cpu_parallel_codegen_split_count=1',
        # the flag ended with jax 0.10, and XLA stops at one that it does not know
        *(['--xla_cpu_use_fusion_emitters=false'] if version('jax').startswith('0.10.') else []),
    )
)
os.environ['TF_CPP_MIN_LOG_LEVEL'] = '2'
os.environ['TF_ENABLE_ONEDNN_OPTS'] = '0'
os.environ.setdefault('ADDSR_CACHE', str(Path(__file__).parents[1] / '.cache' / 'xla'))

import jax
import pytest

from addsr_jax import keep

gc.freeze()  # tracing makes many objects that live: to look at all of them again and again takes a tenth of its time
gc.set_threshold(100_000, 20, 20)
jax.config.update('jax_default_matmul_precision', 'highest')
jax.config.update('jax_compilation_cache_dir', os.environ['ADDSR_CACHE'])
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)


# Files that take longest, the longest first: one that began last would run alone while other processes are done.
LONG = (
    'test_training_from_originals.py',
    'test_parity_train_step.py',
    'test_job.py',
    'test_processes.py',
    'test_buckets.py',
    'test_pipeline.py',
    'test_page.py',
    'test_exported.py',
    'test_parity_unet.py',
    'test_original_weights.py',
    'test_parity_sampler.py',
    'test_seesr.py',
    'test_networks.py',
    'test_conversion.py',
    'test_parity_autoencoder.py',
    'test_addsr.py',
    'test_addsr_terms.py',
    'test_doors.py',
    'test_sampler.py',
    'test_parity_photo.py',
    'test_batches.py',
    'test_parity_traces.py',
    'test_devices.py',
    'test_loop.py',
    'test_dape.py',
    'test_kept_training.py',
    'test_ablate.py',
    'test_program.py',
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope='session', autouse=True)
def only_what_is_compiled_is_kept():
    """Tests alter the code that traced programs follow from."""
    with mock.patch.object(keep, 'place', return_value=None):
        yield


@pytest.fixture(scope='module', autouse=True)
def programs_end_with_their_module():
    """A process may map only so many pieces of memory, and every compiled program takes some."""
    yield
    jax.clear_caches()
