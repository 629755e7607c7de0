"""Low-rank adapters of others: every layout of the same factors merges to the same weights."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from addsr_jax.errors import UserError
from addsr_jax.weights import low_rank_files as files
from addsr_jax.weights import torch_writer
from addsr_jax.weights.stored import Stored

RNG = np.random.default_rng(0)
LINEAR = 'down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q'
OUT = 'down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0'
CONV = 'down_blocks.0.resnets.0.conv1'
BASE = {
    f'{LINEAR}.weight': RNG.normal(size=(6, 4)).astype(np.float32),
    f'{LINEAR}.bias': RNG.normal(size=6).astype(np.float32),
    f'{OUT}.weight': RNG.normal(size=(4, 6)).astype(np.float32),
    f'{CONV}.weight': RNG.normal(size=(5, 4, 3, 3)).astype(np.float32),
}
FACTORS = {  # A [r, in], B [out, r]
    LINEAR: (RNG.normal(size=(2, 4)).astype(np.float32), RNG.normal(size=(6, 2)).astype(np.float32)),
    OUT: (RNG.normal(size=(2, 6)).astype(np.float32), RNG.normal(size=(4, 2)).astype(np.float32)),
    CONV: (RNG.normal(size=(2, 4, 3, 3)).astype(np.float32), RNG.normal(size=(5, 2, 1, 1)).astype(np.float32)),
}


def stored(tensors):
    return {n: Stored(v.shape, v.dtype, lambda v=v: v) for n, v in tensors.items()}


def wanted(scale: float, *without: str) -> dict[str, np.ndarray]:
    made = dict(BASE)
    for layer, (a, b) in FACTORS.items():
        if layer not in without:
            change = np.einsum('or,r...->o...', b.reshape(b.shape[0], -1), a)
            made[f'{layer}.weight'] = BASE[f'{layer}.weight'] + scale * change
    return made


def peft(start='unet.', middle='', without=()):
    tensors = {}
    for layer, (a, b) in FACTORS.items():
        if layer not in without:
            tensors |= {f'{start}{layer}.lora_A{middle}.weight': a, f'{start}{layer}.lora_B{middle}.weight': b}
    return tensors


def kohya():
    tensors = {}
    for layer, (a, b) in FACTORS.items():
        stem = f'lora_unet_{layer.replace(".", "_")}'
        tensors |= {
            f'{stem}.lora_down.weight': a,
            f'{stem}.lora_up.weight': b,
            f'{stem}.alpha': np.array(3, np.float32),
        }
    return tensors


def before_peft():
    stem = 'unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor'
    (qa, qb), (oa, ob) = FACTORS[LINEAR], FACTORS[OUT]
    return {
        f'{stem}.to_q_lora.down.weight': qa,
        f'{stem}.to_q_lora.up.weight': qb,
        f'{stem}.to_out_lora.down.weight': oa,
        f'{stem}.to_out_lora.up.weight': ob,
    }


METADATA = {'lora_adapter_metadata': json.dumps({'unet.r': 2, 'unet.lora_alpha': 5})}
LAYOUTS = {
    'diffusers': (peft(), None, wanted(1)),
    'diffusers, which says its alpha': (peft(), METADATA, wanted(2.5)),
    'PEFT': (peft('base_model.model.'), None, wanted(1)),
    'PEFT with the name of its adapter': (peft('', '.default'), None, wanted(1)),
    'kohya, with alpha': (kohya(), None, wanted(1.5)),
    'diffusers before PEFT': (before_peft(), None, wanted(1, CONV)),
}


def merged(path):
    fitting = files.fitting(files.read(path, print), '--sd_lora', {'--sd_lora': ('unet', 'text_encoder')}, print)
    found = files.merged(stored(BASE), fitting, 'unet')
    return {name: tensor.read() for name, tensor in found.items()}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_layout_merges_to_the_same_weights(tmp_path, layout):
    tensors, metadata, expected = LAYOUTS[layout]
    save_file(tensors, tmp_path / 'x.safetensors', metadata)
    made = merged(tmp_path / 'x.safetensors')
    assert set(made) == set(BASE)
    for name, value in expected.items():
        np.testing.assert_allclose(made[name], value, rtol=1e-6, atol=1e-6)


def test_alpha_beside_a_file_of_peft_counts_and_a_folder_is_read(tmp_path):
    save_file(peft('base_model.model.'), tmp_path / 'adapter_model.safetensors')
    (tmp_path / 'adapter_config.json').write_text(json.dumps({'r': 2, 'lora_alpha': 1}))
    np.testing.assert_allclose(merged(tmp_path)[f'{OUT}.weight'], wanted(0.5)[f'{OUT}.weight'], rtol=1e-6)


def test_a_file_of_another_ending_says_its_alpha_too(tmp_path):
    save_file(peft(), tmp_path / 'x.bin', METADATA)
    np.testing.assert_allclose(merged(tmp_path / 'x.bin')[f'{OUT}.weight'], wanted(2.5)[f'{OUT}.weight'], rtol=1e-6)


def test_notes_are_read_once_for_a_network(tmp_path, monkeypatch):
    save_file(peft(), tmp_path / 'x.safetensors', METADATA)
    real, asked = files.reader.metadata, []
    monkeypatch.setattr(files.reader, 'metadata', lambda path: asked.append(path) or real(path))
    files.read(tmp_path / 'x.safetensors', print)
    assert len(asked) == 1


def test_weights_keep_their_type(tmp_path):
    save_file(peft(), tmp_path / 'x.safetensors')
    half = stored({name: value.astype(np.float16) for name, value in BASE.items()})
    found = files.merged(half, files.read(tmp_path / 'x.safetensors', print), 'unet')
    assert {found[name].read().dtype for name in found} == {np.dtype(np.float16)}


def pair(layer, rows, columns):
    return {f'unet.{layer}.lora_A.weight': np.ones((2, columns)), f'unet.{layer}.lora_B.weight': np.ones((rows, 2))}


WRONG = {
    'another network': (peft() | pair('up_blocks.9.x', 3, 3), 'another network: 1 of its 4 layers'),
    'another size': (
        peft(without=[LINEAR]) | pair(LINEAR, 6, 9),
        r'factors \(6, 2\) and \(2, 9\) for a weight \(6, 4\)',
    ),
    'another part of the model': (
        peft('controlnet.'),
        'adapts controlnet: --sd_lora is for unet and text_encoder alone',
    ),
    'half of a pair': ({f'unet.{LINEAR}.lora_A.weight': np.ones((2, 4))}, 'half of the adapter'),
    'LoHa': ({'lora_unet_x.hada_w1_a': np.ones((2, 4))}, 'no LoHa, LoKr or DoRA'),
    'its network named for some layers only': (
        peft(without=[LINEAR]) | peft('', without=[OUT, CONV]),
        'names its network, unet, for some layers and not for others',
    ),
    'no adapters': ({'conv_in.weight': np.ones((2, 4))}, 'only plain low-rank adapters'),
}


@pytest.mark.parametrize('wrong', WRONG)
def test_adapters_of_something_else_are_one_line(tmp_path, wrong):
    tensors, words = WRONG[wrong]
    save_file({name: np.asarray(value, np.float32) for name, value in tensors.items()}, tmp_path / 'x.safetensors')
    with pytest.raises(UserError, match=words) as error:
        merged(tmp_path / 'x.safetensors')
    assert len(str(error.value).splitlines()) == 1


def test_settings_that_mean_another_sum_are_refused(tmp_path):
    save_file(peft('base_model.model.'), tmp_path / 'adapter_model.safetensors')
    (tmp_path / 'adapter_config.json').write_text(json.dumps({'r': 2, 'lora_alpha': 1, 'use_rslora': True}))
    with pytest.raises(UserError, match='says use_rslora'):
        merged(tmp_path)


TAKERS = {
    '--sd_lora': ('text_encoder',),
    '--addsr_lora': ('unet', 'controlnet'),
    '--seesr_lora': ('unet', 'controlnet'),
}


@pytest.mark.parametrize(
    ('option', 'kept', 'others'),
    [
        ('--sd_lora', 'text_encoder', 'unet, which --addsr_lora and --seesr_lora take'),
        ('--addsr_lora', 'unet', 'text_encoder, which --sd_lora takes'),
    ],
)
def test_a_file_of_several_networks_gives_each_option_its_own_and_the_rest_is_said(tmp_path, option, kept, others):
    save_file(kohya() | text_layer(), tmp_path / 'x.safetensors')
    lines = []
    (file,) = files.fitting(files.read(tmp_path / 'x.safetensors', print), option, TAKERS, lines.append)
    assert list(file.layers) == [kept]
    assert len(lines) == 1
    assert lines[0].endswith(f'leaves the adapters of {others}')


def test_a_file_for_another_option_alone_is_refused_by_its_name(tmp_path):
    save_file(text_layer(), tmp_path / 'x.safetensors')
    with pytest.raises(UserError, match='adapts text_encoder, which --sd_lora takes: --addsr_lora is for unet'):
        files.fitting(files.read(tmp_path / 'x.safetensors', print), '--addsr_lora', TAKERS, print)


def text_layer():
    stem = 'lora_te_text_model_encoder_layers_0_self_attn_q_proj'
    return {
        f'{stem}.lora_down.weight': np.ones((2, 4), np.float32),
        f'{stem}.lora_up.weight': np.ones((4, 2), np.float32),
    }


TEXT = 'text_model.encoder.layers.0.self_attn.q_proj'
BARE = TEXT.removeprefix('text_model.')
TEXT_LAYOUTS = {
    'diffusers': (f'text_encoder.{TEXT}.lora_A', f'text_encoder.{TEXT}.lora_B'),
    'diffusers before PEFT': tuple(
        f'text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.{end}' for end in ('down', 'up')
    ),
    'diffusers on transformers 5': (f'text_encoder.{BARE}.lora_A', f'text_encoder.{BARE}.lora_B'),
    'PEFT': (f'base_model.model.{TEXT}.lora_A', f'base_model.model.{TEXT}.lora_B'),
    'PEFT on transformers 5': (f'base_model.model.{BARE}.lora_A', f'base_model.model.{BARE}.lora_B'),
    'kohya': tuple(f'lora_te_{TEXT.replace(".", "_")}.lora_{end}' for end in ('down', 'up')),
    'kohya on transformers 5': tuple(f'lora_te_{BARE.replace(".", "_")}.lora_{end}' for end in ('down', 'up')),
}


@pytest.mark.parametrize('layout', TEXT_LAYOUTS)
def test_every_layout_of_a_text_encoder_s_adapters_merges_to_the_same_weights(tmp_path, layout):
    a, b = FACTORS[LINEAR]
    first, second = TEXT_LAYOUTS[layout]
    save_file({f'{first}.weight': a, f'{second}.weight': b}, tmp_path / 'x.safetensors')
    base = BASE[f'{LINEAR}.weight']
    fitting = files.fitting(files.read(tmp_path / 'x.safetensors', print), '--sd_lora', TAKERS, print)
    found = files.merged(stored({f'{TEXT}.weight': base}), fitting, 'text_encoder')
    np.testing.assert_allclose(found[f'{TEXT}.weight'].read(), base + b @ a, rtol=1e-6, atol=1e-6)


def test_one_layer_under_two_names_is_one_line(tmp_path):
    tensors = {f'{start}{name}.lora_A.weight': np.ones((2, 4)) for start in ('text_encoder.',) for name in (TEXT, BARE)}
    save_file(tensors, tmp_path / 'x.safetensors')
    with pytest.raises(UserError, match='twice, in two layouts'):
        files.read(tmp_path / 'x.safetensors', print)


def test_of_epochs_in_one_folder_none_is_added_to_another(tmp_path):
    for name in ('style-000001', 'style-000002', 'style'):
        save_file(kohya(), tmp_path / f'{name}.safetensors')
    with pytest.raises(UserError, match=r'style-000001.safetensors and style-000002.safetensors beside it both adapt'):
        files.read(tmp_path, print)


def test_two_layouts_of_one_layer_in_two_files_are_one_layer(tmp_path):
    save_file(kohya(), tmp_path / 'a.safetensors')
    save_file(peft(), tmp_path / 'b.safetensors')
    with pytest.raises(UserError, match='both adapt'):
        files.read(tmp_path, print)


@pytest.mark.parametrize('name', ['adapter_model.safetensors', 'pytorch_lora_weights.safetensors'])
def test_a_trainer_s_state_beside_its_adapters_is_left(tmp_path, name):
    save_file(peft(), tmp_path / name)
    torch_writer.write(tmp_path / 'optimizer.bin', {'state': {'x': np.ones(3, np.float32)}})
    np.testing.assert_allclose(merged(tmp_path)[f'{OUT}.weight'], wanted(1)[f'{OUT}.weight'], rtol=1e-6)
    lines = []
    files.read(tmp_path, lines.append)
    assert f'{tmp_path}: {name} is read, and not optimizer.bin beside it' in lines


def test_files_of_one_network_each_are_parts_of_one(tmp_path):
    save_file(kohya(), tmp_path / 'unet.safetensors')
    save_file(text_layer(), tmp_path / 'text.safetensors')
    assert [list(file.layers) for file in files.read(tmp_path, print)] == [['text_encoder'], ['unet']]
