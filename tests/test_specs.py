"""Sizes are data: they travel through JSON, and the published ones count the published parameters."""

import dataclasses

import jax
import pytest

from addsr_jax import specs
from addsr_jax.specs import MODELS, ModelSpec
from addsr_jax.weights import bundle as bundles


@pytest.mark.parametrize('name', MODELS)
def test_a_spec_survives_json(name):
    assert specs.from_json(ModelSpec, specs.to_json(MODELS[name])) == MODELS[name]


def test_unknown_and_missing_keys_of_a_spec_are_named():
    data = specs.to_json(MODELS['nano'])
    data['autoencoder']['depth'] = data['autoencoder'].pop('patch')
    with pytest.raises(ValueError, match=r"missing \['patch'\], unknown \['depth'\]"):
        specs.from_json(ModelSpec, data)


def test_a_folder_from_before_the_finish_had_a_choice_keeps_the_finish_it_had():
    data = specs.to_json(MODELS['nano'])
    for younger in ('color', 'grain'):
        del data['view'][younger]
    view = specs.from_json(ModelSpec, data).view
    assert (view.color, view.grain) == ('wavelet', 0.0)


@pytest.mark.parametrize(
    ('part', 'parameters'),
    [
        ('autoencoder', 83_653_863),
        ('text_encoder', 340_387_840),
        ('teacher', 1_126_760_324 + 489_031_440),
    ],
)
def test_sd2_has_the_published_numbers_of_parameters(part, parameters):
    tree = bundles.expected(specs.SD2, [part])[part]
    assert sum(leaf.size for leaf in jax.tree.leaves(tree)) == parameters


def test_pixels_per_latent():
    assert specs.SD2.autoencoder.factor == 8
    assert specs.NANO.autoencoder.factor == 4


def test_another_attention_kernel_is_all_that_changes():
    changed = specs.with_attention(specs.SD2, 'cudnn')
    assert changed.unet.kernel == changed.controlnet.unet.kernel == 'cudnn'
    assert specs.with_attention(changed, specs.SD2.unet.kernel) == specs.SD2


def test_specs_have_no_defaults_so_that_every_number_is_written_down():
    for kind in vars(specs).values():
        if dataclasses.is_dataclass(kind):
            assert all(f.default is dataclasses.MISSING for f in dataclasses.fields(kind)), kind
