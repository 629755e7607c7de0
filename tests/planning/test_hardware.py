"""Compiling for devices that are not there."""

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from addsr_jax.planning import hardware


@pytest.fixture
def cache(tmp_path):
    """A cache of compiled programs, of any size, for this test alone."""
    names = ('jax_compilation_cache_dir', 'jax_persistent_cache_min_compile_time_secs')
    before = {name: jax.config.values[name] for name in names}
    for name, value in zip(names, (str(tmp_path), 0), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_what_libtpu_compiles_is_in_no_cache_though_programs_before_and_after_it_are(cache):
    def programs(number: float) -> int:
        jax.jit(lambda x: x * number + 1).lower(0.0).compile()
        return len([path for path in cache.iterdir() if path.name.endswith('-cache')])

    assert programs(2.0) == 1
    with hardware.by_libtpu():
        assert programs(3.0) == 1
    assert programs(4.0) == 2
