"""Sizes are data: they travel through JSON, and the published ones count the published parameters."""

import dataclasses
import json

import jax
import pytest

from addsr_jax import sizes, specs
from addsr_jax.errors import UserError
from addsr_jax.ops import attention
from addsr_jax.restoration import settings
from addsr_jax.sizes import MODELS
from addsr_jax.specs import ModelSpec
from addsr_jax.weights import bundle as bundles


@pytest.mark.parametrize('name', MODELS)
def test_a_spec_survives_json(name):
    assert specs.from_json(ModelSpec, specs.to_json(MODELS[name])) == MODELS[name]


def test_unknown_and_missing_keys_of_a_spec_are_named():
    data = specs.to_json(MODELS['nano'])
    data['autoencoder']['depth'] = data['autoencoder'].pop('patch')
    with pytest.raises(UserError, match=r'no option spec\.autoencoder\.depth: .*; spec\.autoencoder\.patch is missing'):
        specs.from_json(ModelSpec, data)


def test_a_folder_from_before_the_finish_had_a_choice_keeps_the_finish_it_had():
    data = specs.to_json(MODELS['nano'])
    for younger in ('color', 'grain', 'calm'):
        del data['view'][younger]
    view = specs.from_json(ModelSpec, data).view
    assert (view.color, view.grain, view.calm) == ('wavelet', 0.0, 0.0)


@pytest.mark.parametrize(
    ('part', 'parameters'),
    [
        ('autoencoder', 83_653_863),
        ('text_encoder', 340_387_840),
        ('teacher', 1_126_760_324 + 489_031_440),
    ],
)
def test_sd2_has_the_published_numbers_of_parameters(part, parameters):
    tree = bundles.expected(sizes.SD2, [part])[part]
    assert sum(leaf.size for leaf in jax.tree.leaves(tree)) == parameters


def test_pixels_per_latent():
    assert sizes.SD2.autoencoder.factor == 8
    assert sizes.NANO.autoencoder.factor == 4


def test_another_attention_kernel_is_all_that_changes():
    changed = specs.with_attention(sizes.SD2, 'cudnn')
    assert changed.unet.kernel == changed.controlnet.unet.kernel == 'cudnn'
    assert specs.with_attention(changed, sizes.SD2.unet.kernel) == sizes.SD2


NANO, SD2 = sizes.NANO, sizes.SD2
IMPOSSIBLE = [
    (NANO.autoencoder, {'latent_channels': 0}, 'latent_channels is 0: it must be a whole number in 1..65536'),
    (NANO.autoencoder, {'scaling_factor': float('nan')}, 'scaling_factor is nan'),
    (SD2.autoencoder, {'norm_groups': 24}, 'norm_groups 24 does not divide block_out_channels 128'),
    (NANO.text_encoder, {'heads': 3}, 'heads 3 does not divide width 64'),
    (NANO.text_encoder, {'layers': 2.0}, 'layers is 2.0: it must be a whole number'),
    (NANO.prompt_extractor.swin, {'heads': (1, 2)}, 'differ in length: depths 3, heads 2'),
    (NANO.prompt_extractor.swin, {'heads': (1, 2, 3)}, r'heads\[2\] 3 does not divide the width of level 2, 128'),
    (NANO.prompt_extractor.swin, {'image_size': 130}, 'patch 4 does not divide image_size 130'),
    (NANO.prompt_extractor.swin, {'window': 12}, 'window 12 does not divide the side of level 0 in tokens, 32'),
    (NANO.prompt_extractor.swin, {'image_size': 36, 'window': 9}, 'merging by 2 does not divide the side of level 0'),
    (NANO.prompt_extractor.tagging, {'heads': 5}, 'heads 5 does not divide width 64'),
    (NANO.unet, {'attention': (True,)}, 'block_out_channels 3, attention 1, heads 3'),
    (NANO.unet, {'heads': (2, 2, 5)}, r'heads\[2\] 5 does not divide block_out_channels\[2\] 96'),
    (NANO.unet, {'norm_groups': 5}, 'norm_groups 5 does not divide block_out_channels 48'),
    (NANO.unet, {'kernel': 'fast'}, 'choose one of einsum, chunked, cudnn'),
    (SD2.dino, {'heads': 7}, 'heads 7 does not divide width 384'),
    (SD2.dinov2, {'image_size': 500}, 'patch 14 does not divide image_size 500'),
    (NANO.discriminator, {'norm_groups': 5}, 'norm_groups 5 does not divide feature_channels 48'),
    (NANO.schedule, {'beta_end': 1e-5}, 'beta_start 0.00085 is above beta_end 1e-05'),
    (NANO.schedule, {'prediction': 'sample'}, 'choose one of epsilon, v'),
    (NANO.view, {'color': 'blue'}, 'choose one of guided, wavelet, adain, none'),
]


@pytest.mark.parametrize(('spec', 'change', 'message'), IMPOSSIBLE, ids=[message for *_, message in IMPOSSIBLE])
def test_networks_that_cannot_be_are_refused_by_the_numbers_that_do_not_fit(spec, change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(spec, **change)


def test_heads_of_levels_without_transformers_are_free():
    assert dataclasses.replace(NANO.unet, heads=(7, 7, 3)).heads == (7, 7, 3)


def test_names_of_choices_are_those_there_are():
    assert tuple(attention.KERNELS) == specs.KERNELS
    assert specs.COLORS == settings.COLORS


def test_a_damaged_model_file_is_refused_by_the_key_that_is_wrong(tmp_path):
    record = {'form': 'safetensors', 'parts': [], 'info': {}, 'spec': specs.to_json(NANO)}
    record['spec']['unet']['layers_per_block'] = 'two'
    (tmp_path / 'model.json').write_text(json.dumps(record))
    with pytest.raises(
        UserError, match=r"model\.json cannot be read: spec\.unet\.layers_per_block is 'two': it must be"
    ):
        bundles.load(tmp_path)


def test_specs_have_no_defaults_so_that_every_number_is_written_down():
    for kind in vars(specs).values():
        if dataclasses.is_dataclass(kind):
            missing = dataclasses.MISSING
            assert all(f.default is missing and f.default_factory is missing for f in dataclasses.fields(kind)), kind
