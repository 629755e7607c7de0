"""Sizes are data: they travel through JSON, and the published ones count the published parameters."""

import dataclasses
import json
import math
import time
import typing

import jax
import pytest

from addsr_jax import options, sizes, spec_json, specs
from addsr_jax.errors import UserError
from addsr_jax.sizes import MODELS
from addsr_jax.specs import ModelSpec
from addsr_jax.weights import bundle as bundles


@pytest.mark.parametrize('name', MODELS)
def test_a_spec_survives_json(name):
    assert spec_json.from_json(ModelSpec, spec_json.to_json(MODELS[name])) == MODELS[name]


def test_unknown_and_missing_keys_of_a_spec_are_named():
    data = spec_json.to_json(MODELS['nano'])
    data['autoencoder']['depth'] = data['autoencoder'].pop('patch')
    with pytest.raises(UserError, match=r'no option spec\.autoencoder\.depth: .*; spec\.autoencoder\.patch is missing'):
        spec_json.from_json(ModelSpec, data)


def test_a_folder_from_before_the_finish_had_a_choice_keeps_the_finish_it_had():
    data = spec_json.to_json(MODELS['nano'])
    for younger in ('student_steps', 'color', 'grain', 'overshoot', 'calm', 'plain', 'edges', 'film_grain'):
        del data['view'][younger]
    view = spec_json.from_json(ModelSpec, data).view
    assert (view.student_steps, view.color, view.grain, view.overshoot) == (4, 'wavelet', 0.0, 10.0)
    assert view.calm == view.plain == 0.0


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


def test_a_kernel_that_an_older_folder_names_is_left_out():
    data = spec_json.to_json(sizes.NANO)
    for unet in (data['unet'], data['controlnet']['unet']):
        unet['kernel'] = 'chunked'
    assert spec_json.from_json(specs.ModelSpec, data) == sizes.NANO


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
    (SD2.dino, {'heads': 7}, 'heads 7 does not divide width 384'),
    (SD2.dinov2, {'image_size': 500}, 'patch 14 does not divide image_size 500'),
    (NANO.discriminator, {'norm_groups': 5}, 'norm_groups 5 does not divide feature_channels 48'),
    (NANO.schedule, {'beta_end': 1e-5}, 'beta_start 0.00085 is above beta_end 1e-05'),
    (NANO.schedule, {'prediction': 'sample'}, 'choose one of epsilon, v'),
    (NANO.view, {'color': 'blue'}, 'choose one of guided, wavelet, adain, none'),
]


def with_fields(spec, group, **changes):
    """(the spec, {group: changed}): what `dataclasses.replace` takes."""
    return spec, {group: dataclasses.replace(getattr(spec, group), **changes)}


def with_unet(**changes):
    """As `with_fields` of nano's UNet, in ControlNet too."""
    unet = dataclasses.replace(NANO.unet, **changes)
    return NANO, {'unet': unet, 'controlnet': dataclasses.replace(NANO.controlnet, unet=unet)}


def with_controlnet_unet(**changes):
    return with_fields(NANO, 'controlnet', unet=dataclasses.replace(NANO.unet, **changes))


# what one network gives another does not take
IMPOSSIBLE += [
    (*with_fields(NANO, 'autoencoder', image_channels=1), "autoencoder.image_channels 1 is not pictures' channels 3"),
    (*with_unet(text_dim=32), 'unet.text_dim 32 is not text_encoder.width 64'),
    (*with_unet(image_dim=32), 'unet.image_dim 32 is not prompt_extractor.token_dim 64'),
    (*with_unet(in_channels=5), 'unet.in_channels 5 is not autoencoder.latent_channels 4, or twice it'),
    (*with_unet(out_channels=8), 'unet.out_channels 8 is not autoencoder.latent_channels 4'),
    (*with_controlnet_unet(in_channels=4), 'controlnet.unet.in_channels 4 is not unet.in_channels 8'),
    (*with_controlnet_unet(image_dim=None), 'controlnet.unet.image_dim None is not unet.image_dim 64'),
    (
        *with_controlnet_unet(block_out_channels=(48, 64, 48)),
        r'\(48, 64, 48\) is not unet.block_out_channels \(48, 64, 96',
    ),
    (
        *with_fields(NANO, 'controlnet', condition_channels=4),
        "controlnet.condition_channels 4 is not pictures' channels",
    ),
    (
        *with_fields(NANO, 'controlnet', condition_embedding_channels=(16, 32)),
        "pixels per latent of controlnet 2 is not autoencoder's 4",
    ),
    (
        *with_fields(NANO, 'discriminator', hooks=(0, 1, 3)),
        r'hooks \(0, 1, 3\) are not all below 3, the levels of unet',
    ),
    (*with_fields(NANO, 'discriminator', hooks=(0, 1)), r'not those of the hooked levels of unet, \(48, 64\)'),
    (*with_fields(NANO, 'discriminator', condition_dim=8), 'condition_dim 8 is not prompt_extractor.token_dim 64'),
    (*with_fields(NANO, 'discriminator', image_size=126), 'latent 4 does not divide discriminator.image_size 126'),
    (*with_fields(SD2, 'discriminator', hooks=(2, 5, 8, 12)), 'are not all below 12, the blocks of dino'),
    (*with_fields(SD2, 'discriminator', feature_channels=(384,) * 4), 'those of the hooked blocks of dino'),
    (*with_fields(SD2, 'discriminator', condition_dim=512), 'condition_dim 512 is not dinov2.width 384'),
    (*with_fields(SD2, 'discriminator', image_size=8), 'discriminator.image_size 8 is below dino.patch 16'),
]


@pytest.mark.parametrize(('spec', 'change', 'message'), IMPOSSIBLE, ids=[message for *_, message in IMPOSSIBLE])
def test_networks_that_cannot_be_are_refused_by_the_numbers_that_do_not_fit(spec, change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(spec, **change)


def test_networks_that_fit_in_another_way_are_taken():
    spec, plain = with_unet(in_channels=4, image_dim=None)
    assert dataclasses.replace(spec, **plain).unet.in_channels == 4
    through_teacher = dataclasses.replace(
        SD2.discriminator, hooks=(1, 3), feature_channels=(640, 1280), condition_dim=512
    )
    assert dataclasses.replace(SD2, dinov2=None, discriminator=through_teacher).dinov2 is None


def test_heads_of_levels_without_transformers_are_free():
    assert dataclasses.replace(NANO.unet, heads=(7, 7, 3)).heads == (7, 7, 3)


def test_a_damaged_model_file_is_refused_by_the_key_that_is_wrong(tmp_path):
    record = {'form': 'safetensors', 'parts': [], 'info': {}, 'spec': spec_json.to_json(NANO)}
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


def parts_of(spec):
    """A spec and all specs inside it."""
    yield spec
    for name in options.declared(type(spec)):
        if isinstance(value := getattr(spec, name), options.Options):
            yield from parts_of(value)


HUGE = (10**9 + 7, 10**12, 10**400)
NO_NUMBER = (True, '7', '', [], {}, {'a': 1}, math.nan, math.inf, -math.inf)


def absurd(annotation):
    """Values that no field of this type may have, whatever its range."""
    kinds = options.kinds_of(annotation)
    none = () if type(None) in kinds else (None,)
    if options.group_of(annotation):
        return 1, 'x', [], [{}], {}, {'a': 1}, True, *none
    if typing.get_origin(annotation) is tuple:
        elements = NO_NUMBER[:-3] if bool not in kinds else ('true', None, 2)
        numbers = () if bool in kinds else ([-1], *([value] for value in HUGE))
        return 'x', 3, {}, {'a': 1}, [], [None], [[]], [1] * 1000, *([value] for value in elements), *numbers, *none
    if bool in kinds:
        return 'true', 2, -1, [], {}, *none
    if str in kinds:
        return 1, True, [], {}, ['x'], *none
    return -1, -1e9, *HUGE, *NO_NUMBER, *((1.5,) if float not in kinds else ()), *none


KINDS = {type(part): part for model in (NANO, SD2) for part in parts_of(model)}
FIELDS = [(kind, name) for kind in KINDS for name in options.declared(kind)]


@pytest.mark.parametrize(('kind', 'name'), FIELDS, ids=[f'{kind.__name__}.{name}' for kind, name in FIELDS])
def test_absurd_values_of_every_field_are_refused_at_once_in_one_line_that_names_it(kind, name):
    data = spec_json.to_json(KINDS[kind])
    for value in absurd(options.declared(kind)[name]):
        began = time.process_time()
        with pytest.raises(UserError, match=rf'spec\.{name}\b') as refused:
            spec_json.from_json(kind, {**data, name: value})
        assert time.process_time() - began < 1
        assert len(str(refused.value)) < 2000
        assert str(refused.value).isprintable()


def test_tables_that_would_fill_memory_before_anything_runs_are_refused():
    for change in ({'window': 64, 'image_size': 4096}, {'patch': 1, 'image_size': 8192, 'window': 1}):
        with pytest.raises(UserError, match='are more than 2048'):
            dataclasses.replace(NANO.prompt_extractor.swin, depths=(1,), heads=(1,), **change)


def test_a_thousand_strange_names_are_not_all_told():
    with pytest.raises(UserError, match='992 more do not exist') as refused:
        spec_json.from_json(ModelSpec, {**spec_json.to_json(NANO), **{f'x{i}': i for i in range(1000)}})
    assert len(str(refused.value)) < 4000
