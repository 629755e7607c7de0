"""Low-rank adapters as PyTorch users have them."""

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from addsr_jax import trees
from addsr_jax.networks.lora import Adapters
from addsr_jax.stages.addsr_objective import ADAPTED
from addsr_jax.weights import adapters as files
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import layout
from tests import tiny

ADAPTERS = Adapters(ADAPTED, rank=2, scale=0.5)


def test_base_plus_the_file_is_the_merged_weights_under_pytorchs_names(tmp_path):
    student = tiny.on_device(tiny.bundle().params['student'])
    factors = jax.tree.map(lambda x: x + 0.1, ADAPTERS.init(jax.random.key(0), student))
    files.write(tmp_path / 'lora', ADAPTERS.scaled(factors))
    merged = ADAPTERS.merge(student, factors)
    for network in ('unet', 'controlnet'):
        stored = load_file(tmp_path / 'lora' / network / 'pytorch_lora_weights.safetensors')
        base, wanted = (layout.to_state_dict(network, tree[network]) for tree in (student, merged))
        adapted = {
            n.removeprefix(f'{network}.').removesuffix('.lora_A.weight') for n in stored if n.endswith('A.weight')
        }
        assert adapted
        assert all(f'{layer}.weight' in base for layer in adapted)
        for name, value in wanted.items():
            layer = name.removesuffix('.weight')
            if layer in adapted:  # as torch adds it with alpha = rank: W [out, in] + B A
                a, b = (stored[f'{network}.{layer}.lora_{x}.weight'] for x in 'AB')
                np.testing.assert_allclose(value, base[name] + b @ a, atol=1e-6)
                assert np.abs(value - base[name]).max() > 1e-3
            else:
                np.testing.assert_array_equal(value, base[name])


def test_a_bundle_keeps_them_beside_weights_that_hold_them_already(tmp_path):
    factors = ADAPTERS.init(jax.random.key(0), tiny.on_device(tiny.bundle().params['student']))
    bundles.save(tiny.bundle(), tmp_path / 'final', 'safetensors', lora=factors)
    assert (tmp_path / 'final' / 'lora' / 'controlnet' / files.FILE).exists()
    loaded = bundles.load(tmp_path / 'final').params
    assert jax.tree.structure(loaded) == jax.tree.structure(tiny.bundle().params)
    assert not any('lora' in path for path in trees.flatten(loaded))
    assert all(jnp.isfinite(value).all() for value in trees.flatten(factors).values())
