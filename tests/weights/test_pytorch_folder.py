"""Folders for PyTorch: complete, in the form that was asked for, and open to our own conversion as they are."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from addsr_jax.errors import UserError
from addsr_jax.weights import conversion, known, pytorch_folder, sources
from addsr_jax.weights.reader import open_folder
from tests import tiny_sd


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return tiny_sd.save(tmp_path_factory.mktemp('bundle') / 'model')


def written(bundle, folder, part='student', **form):
    lines: list[str] = []
    pytorch_folder.to_pytorch(bundle, folder, part, lines.append, **form)
    return lines


def test_a_folder_has_all_that_a_pipeline_of_diffusers_opens(bundle, tmp_path):
    lines = written(bundle, tmp_path / 'out')
    index = json.loads((tmp_path / 'out' / 'model_index.json').read_text())
    assert index['_class_name'] == 'StableDiffusionControlNetPipeline'
    configs = {'scheduler': 'scheduler_config.json', 'feature_extractor': 'preprocessor_config.json'}
    for name, value in index.items():
        if isinstance(value, list) and value[0]:
            file = 'vocab.json' if name == 'tokenizer' else configs.get(name, 'config.json')
            assert (tmp_path / 'out' / name / file).is_file(), name
    assert any('model_index.json' in line for line in lines)
    config = json.loads((tmp_path / 'out' / 'unet' / 'config.json').read_text())
    assert 'use_image_cross_attention' not in config  # a word that the class of diffusers does not know


def test_stable_diffusions_own_unet_goes_into_the_pipeline_without_a_controlnet(bundle, tmp_path):
    written(bundle, tmp_path / 'out', 'unet')
    index = json.loads((tmp_path / 'out' / 'model_index.json').read_text())
    assert index['_class_name'] == 'StableDiffusionPipeline'
    assert not (tmp_path / 'out' / 'controlnet').exists()


def test_a_model_that_nobody_else_can_open_is_said_to_be_one(tmp_path):
    lines = []
    pytorch_folder.to_pytorch('nano', tmp_path / 'out', 'student', lines.append)
    assert not (tmp_path / 'out' / 'vae' / 'config.json').exists()
    assert any('neither diffusers nor convert from_pytorch opens' in line for line in lines)


def test_shards_are_no_larger_than_asked_and_are_read_with_their_index(bundle, tmp_path):
    size = 100_000
    written(bundle, tmp_path / 'out', shard=size / 1e9)
    place = tmp_path / 'out' / 'unet'
    files = sorted(place.glob('*.safetensors'))
    assert len(files) > 2
    assert files[0].name == f'diffusion_pytorch_model-00001-of-{len(files):05d}.safetensors'
    largest = max(value.nbytes for value in tiny_sd.states()['unet'].values())
    assert all(file.stat().st_size < max(size, largest) + 50_000 for file in files)
    state = open_folder(place, sources.STEMS['unet'])
    assert all(np.array_equal(state[n].read(), value) for n, value in tiny_sd.states()['unet'].items())
    assert json.loads((place / 'diffusion_pytorch_model.safetensors.index.json').read_text())['metadata']['total_size']


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_half_precision_is_what_was_asked_for_in_every_file(bundle, tmp_path, dtype):
    written(bundle, tmp_path / 'out', dtype=dtype)
    for name, stems in (('unet', 'unet'), ('vae', 'autoencoder'), ('text_encoder', 'text_encoder')):
        assert {str(t.dtype) for t in open_folder(tmp_path / 'out' / name, sources.STEMS[stems]).values()} == {dtype}


def test_the_folder_is_a_source_as_it_is_and_a_lora_is_merged_on_the_way(bundle, tmp_path):
    out = tmp_path / 'out'
    written(bundle, out)
    layer = 'mid_block.attentions.0.proj_in'
    factors = {f'unet.{layer}.lora_A.weight': np.ones((1, 64)), f'unet.{layer}.lora_B.weight': np.ones((64, 1))}
    save_file({name: value.astype(np.float32) for name, value in factors.items()}, tmp_path / 'lora.safetensors')
    plain = sources.plan(out, addsr=out, seesr=out)
    conversion.check(plain)
    plan = sources.plan(out, addsr=out, seesr=out, addsr_lora=tmp_path / 'lora.safetensors')
    conversion.check(plan)
    assert plan.spec == plain.spec
    read = {s.network: {n: t.read() for n, t in s.tensors.items()} for s in plan.sources}
    own = tiny_sd.states()['unet']
    np.testing.assert_allclose(read['student/unet'][f'{layer}.weight'], own[f'{layer}.weight'] + 1, rtol=1e-6)
    np.testing.assert_array_equal(read['teacher/unet'][f'{layer}.weight'], own[f'{layer}.weight'])
    merged = f'student/unet: 1 tensors with the adapters of {tmp_path / "lora.safetensors"} merged'
    assert [note for note in plan.notes if 'adapters' in note] == [merged]
    with pytest.raises(UserError, match='adapts unet, which --addsr_lora takes: --sd_lora is for text_encoder alone'):
        sources.plan(out, addsr=out, sd_lora=tmp_path / 'lora.safetensors')


def test_conversion_says_which_networks_it_knows(bundle, tmp_path):
    out = tmp_path / 'out'
    written(bundle, out)
    hash_ = known.of_tensors(known.entry(name, value) for name, value in tiny_sd.states()['autoencoder'].items())
    lines: list[str] = []
    plan = sources.plan(out, addsr=out)
    told = conversion.from_pytorch(plan, tmp_path / 'converted', lines.append, {hash_: ['the tiny one']})
    assert f'autoencoder: sha256 {hash_}, same tensors as the tiny one' in lines
    assert told['networks']['student/unet']['known'] == 'unknown'
    assert told['networks']['autoencoder'] == {'sha256': hash_, 'known': 'same tensors as the tiny one'}
