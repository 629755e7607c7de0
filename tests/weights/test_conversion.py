"""From the originals' files to a bundle and back: strict, bit for bit, whole or not at all."""

import dataclasses
import json
import re
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from addsr_jax import trees
from addsr_jax.errors import UserError
from addsr_jax.networks.tiny_decoder import TinyDecoder
from addsr_jax.sizes import SD2
from addsr_jax.specs import TinyDecoderSpec
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import (
    conversion,
    layout,
    published,
    pytorch_folder,
    single_files,
    sources,
    tensor_file,
    torch_writer,
)
from addsr_jax.weights.names import is_computed
from addsr_jax.weights.reader import open_file, open_folder
from tests import golden
from tests.golden import originals, specs


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('files')
    return folder, originals.write(folder)


@pytest.fixture
def copied(files, tmp_path):
    """Files that a test may damage."""
    shutil.copytree(files[0], tmp_path / 'files')
    return {name: tmp_path / 'files' / path.relative_to(files[0]) for name, path in files[1].items()}


@pytest.fixture(scope='module')
def converted(files, tmp_path_factory):
    output = tmp_path_factory.mktemp('converted') / 'out'
    lines: list[str] = []
    told = conversion.from_pytorch(sources.plan(**files[1]), output, lines.append, {})
    return output, told, lines


@pytest.fixture(scope='module')
def loaded(converted):
    return bundles.load(converted[0])


def test_sizes_come_from_configurations_and_shapes(loaded):
    spec = loaded.spec
    assert spec.autoencoder == specs.autoencoder()
    assert spec.text_encoder == specs.text_encoder()
    assert spec.prompt_extractor == specs.prompt_extractor()
    assert spec.dino == specs.dino()
    assert spec.dinov2 == specs.dinov2()
    assert spec.unet.heads == specs.unet().heads
    assert spec.controlnet.condition_embedding_channels == specs.controlnet().condition_embedding_channels
    assert spec.discriminator.condition_dim == specs.dinov2().width


def test_there_and_back_is_bit_for_bit(converted, files, tmp_path):
    for part, folder in (('student', 'addsr'), ('teacher', 'seesr')):
        back = tmp_path / part
        pytorch_folder.to_pytorch(converted[0], back, part, lambda line: None)
        for network in ('unet', 'controlnet'):
            before, after = (open_folder(place / network, sources.STEMS['unet']) for place in (files[1][folder], back))
            assert set(before) == set(after)
            assert all(np.array_equal(before[name].read(), after[name].read()) for name in before)
    config = json.loads((back / 'unet' / 'config.json').read_text())
    wanted = golden.document('unet', 'config')
    unstated = {'sample_size', 'center_input_sample', 'dual_cross_attention'}  # their defaults are the values
    assert {key: config[key] for key in wanted if key not in unstated} == {
        key: value for key, value in wanted.items() if key not in unstated
    }
    state = golden.state_dict('ram')
    for name, part in (('ram.pth', False), ('DAPE.pth', True)):
        tensors = open_file(back / name)
        wanted = {key: value for key, value in state.items() if ('lora_' in key) == part}
        tables = {key for key in golden.document('ram', 'manifest') if is_computed(key) and not part}
        assert set(tensors) == set(wanted) | tables
        assert all(np.array_equal(tensors[key].read(), wanted[key]) for key in wanted)


def test_a_tiny_decoder_comes_in_both_layouts_and_goes_out_in_its_own(files, tmp_path):
    size = TinyDecoderSpec(channels=8, blocks=(2,) + (1,) * (len(specs.autoencoder().block_out_channels) - 1))
    params = TinyDecoder(size).init(jax.random.key(0), np.zeros((1, 4, 4, 4)))['params']
    state = layout.to_state_dict('tiny_decoder', params)
    (tmp_path / 'tiny').mkdir()
    save_file(
        {f'decoder.{name}': tensor for name, tensor in state.items()} | {'encoder.layers.0.bias': np.zeros(3)},
        tmp_path / 'tiny' / 'diffusion_pytorch_model.safetensors',
    )
    given = {'sd': files[1]['sd'], 'addsr': files[1]['addsr']}
    for name, place in (
        ('of a folder', tmp_path / 'tiny'),
        ('of its own', tmp_path / 'out' / 'taesd_decoder.safetensors'),
    ):
        made = tmp_path / name
        conversion.from_pytorch(sources.plan(**given, tiny_decoder=place), made, lambda line: None, {})
        loaded = bundles.load(made)
        assert loaded.spec.tiny_decoder == size
        for path, leaf in trees.flatten(params).items():
            np.testing.assert_array_equal(trees.flatten(loaded.params['tiny_decoder'])[path], leaf)
        if not (tmp_path / 'out').exists():
            pytorch_folder.to_pytorch(made, tmp_path / 'out', 'student', lambda line: None)
    written = open_file(tmp_path / 'out' / 'taesd_decoder.safetensors')
    assert '1.weight' in written
    assert '3.conv.0.weight' in written


def hostile(tensors):
    """The tensors with one of them odd, or without it; and with a name that no number fits in."""
    for name in list(tensors)[:60]:
        for shape in ((), (0,), (0, 0, 0, 0), (10**12, 3), (7,) * 9):
            yield {**tensors, name: dataclasses.replace(tensors[name], shape=shape)}
        yield {other: tensor for other, tensor in tensors.items() if other != name}
    odd = '9' * 5000
    for name in ('blocks.{}.mlp.fc1.weight', 'layers.{}.weight', 'layers.{}.conv.0.weight', '{}.weight',
                 'visual_encoder.layers.{}.blocks.0.norm1.weight', 'tagging_head.encoder.layer.{}.x'):  # fmt: skip
        for number in (odd, 'x', '-1'):
            yield {**tensors, name.format(number): next(iter(tensors.values()))}
    yield {}


@pytest.mark.parametrize('kind', ['ram', 'dino', 'dinov2', 'tiny_decoder'])
def test_odd_shapes_and_names_of_single_files_are_refused_or_sizes(files, kind, tmp_path):
    if kind == 'tiny_decoder':
        size = TinyDecoderSpec(channels=8, blocks=(1, 1))
        params = TinyDecoder(size).init(jax.random.key(0), np.zeros((1, 4, 4, 4)))['params']
        save_file(layout.to_state_dict('tiny_decoder', params), tmp_path / 'tiny.safetensors')
    given = open_file(files[1].get(kind, tmp_path / 'tiny.safetensors'))
    network = 'prompt_extractor' if kind == 'ram' else kind
    refused = 0
    for tensors in hostile(given):
        try:
            names = published.current_names(tensors, network, tmp_path)
            if kind == 'ram':
                single_files.prompt_extractor_spec(names, tensors, tmp_path)
            elif kind == 'tiny_decoder':
                single_files.tiny_decoder_spec(names, tmp_path)
            else:
                single_files.vit_spec(names, getattr(SD2, kind), tmp_path)
        except UserError:
            refused += 1
    assert refused > 3


@pytest.mark.parametrize('wrong', ['an autoencoder', 'a decoder of another factor', 'nothing of a decoder'])
def test_what_is_no_tiny_decoder_of_these_latents_is_refused_in_one_line(files, tmp_path, wrong):
    path = tmp_path / 'file.safetensors'
    if wrong == 'an autoencoder':
        path = files[1]['sd'] / 'vae'
    elif wrong == 'a decoder of another factor':
        size = TinyDecoderSpec(channels=8, blocks=(1,))
        params = TinyDecoder(size).init(jax.random.key(0), np.zeros((1, 4, 4, 4)))['params']
        save_file(layout.to_state_dict('tiny_decoder', params), path)
    else:
        save_file({'layers.0.weight': np.zeros((3, 3), np.float32)}, path)
    with pytest.raises(UserError) as refused:
        conversion.from_pytorch(
            sources.plan(sd=files[1]['sd'], addsr=files[1]['addsr'], tiny_decoder=path), tmp_path / 'made', print, {}
        )
    assert ('pixels per latent' if 'factor' in wrong else 'no decoder of TAESD') in str(refused.value)
    assert not (tmp_path / 'made').exists()


def test_the_report_names_every_tensor_and_one_hash_is_the_same_for_every_form(converted, tmp_path):
    output, told, _ = converted
    assert json.loads((output / conversion.REPORT).read_text()) == told
    assert len(told['tensors']) == 248 + 52 + 2 * (780 + 388) + 184 + 28 + 150 + 175
    again = conversion.from_pytorch(
        sources.plan(**originals.write(tmp_path / 'bin', form='bin', old_names=False)), tmp_path / 'b', print, {}
    )
    assert again['sha256'] == told['sha256']
    kept = {name: path for name, path in originals.write(tmp_path / 'shards', form='shards').items() if name == 'sd'}
    fewer = conversion.from_pytorch(sources.plan(**kept), tmp_path / 'c', print, {})
    assert fewer['sha256'] != told['sha256']
    assert set(bundles.load(tmp_path / 'c').params) == {'autoencoder', 'text_encoder', 'unet'}


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_half_precision_files_stay_what_they_are_until_loaded(tmp_path, dtype):
    paths = originals.write(tmp_path / 'files', dtype=dtype)
    conversion.from_pytorch(sources.plan(sd=paths['sd']), tmp_path / 'out', print, {})
    kinds = {str(leaf.dtype) for leaf in trees.flatten(bundles.load(tmp_path / 'out').params).values()}
    assert kinds == {dtype}
    kinds = {str(leaf.dtype) for leaf in trees.flatten(bundles.load(tmp_path / 'out', 'float32').params).values()}
    assert kinds == {'float32'}


def test_the_adaptation_is_kept_apart_and_added_when_networks_are_built(loaded):
    merged = bundles.adapted(loaded)
    assert 'dape' not in merged.params
    layer = 'visual_encoder/layers_0/blocks_0/attn/qkv'
    before, after = (trees.flatten(m.params['prompt_extractor'])[f'{layer}/kernel'] for m in (loaded, merged))
    width = after.shape[0]
    changed = np.abs(np.asarray(after) - before).max(axis=0).reshape(3, width).max(axis=1)
    assert (changed > 0).tolist() == [True, False, True]  # q and v


def edit(path, change):
    """Applies `change` to a JSON file."""
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def without_image_attentions(paths):
    shutil.rmtree(paths['addsr'] / 'unet')
    shutil.copytree(paths['sd'] / 'unet', paths['addsr'] / 'unet')


def lying_header(paths):
    path = paths['sd'] / 'vae' / 'diffusion_pytorch_model.safetensors'
    path.write_bytes(path.read_bytes().replace(b'"data_offsets":[0,', b'"data_offsets":[9,', 1))


def cut(paths):
    path = paths['sd'] / 'vae' / 'diffusion_pytorch_model.safetensors'
    path.write_bytes(path.read_bytes()[:-100])


def twice(paths):
    state = {k: v.read() for k, v in open_file(paths['ram']).items()}
    name = next(k for k in state if k.startswith('vision_multi'))
    torch_writer.write(paths['ram'], {**state, name.replace('vision_multi', 'tagging_head'): state[name]})


def other_vit(paths):
    paths['dino'].write_bytes(paths['ram'].read_bytes())


DAMAGE = {
    'a UNet in place of the autoencoder': (
        lambda p: shutil.copy(p['sd'] / 'unet' / 'config.json', p['sd'] / 'vae' / 'config.json'),
        'holds a UNet2DConditionModel, not a AutoencoderKL',
    ),
    'a v-prediction base': (
        lambda p: edit(
            p['sd'] / 'scheduler' / 'scheduler_config.json', lambda c: c.update(prediction_type='v_prediction')
        ),
        'v-prediction model',
    ),
    'Stable Diffusion 1': (
        lambda p: edit(p['addsr'] / 'unet' / 'config.json', lambda c: c.update(use_linear_projection=False)),
        'not of the family',
    ),
    'plain Stable Diffusion as student': (without_image_attentions, 'no image attentions'),
    'a header that lies': (lying_header, r'diffusion_pytorch_model\.safetensors cannot be read'),
    'a truncated file': (cut, r'diffusion_pytorch_model\.safetensors cannot be read'),
    'no weights': (
        lambda p: (p['sd'] / 'text_encoder' / 'model.safetensors').unlink(),
        'text_encoder holds no weights',
    ),
    'no configuration': (lambda p: (p['seesr'] / 'unet' / 'config.json').unlink(), r'config\.json does not exist'),
    'no tokenizer': (lambda p: (p['sd'] / 'tokenizer' / 'vocab.json').unlink(), 'tokenizer'),
    'a name twice': (twice, 'twice, under an older and a newer name'),
    'RAM as DINO': (other_vit, 'no vision transformer'),
    'other sizes of the teacher': (
        lambda p: edit(p['seesr'] / 'unet' / 'config.json', lambda c: c.update(layers_per_block=1)),
        'other sizes than the other denoiser',
    ),
    'a text encoder of another model': (
        lambda p: edit(p['sd'] / 'text_encoder' / 'config.json', lambda c: c.update(hidden_size=64)),
        r'files are not of one model: unet\.text_dim \d+ is not text_encoder\.width 64',
    ),
}


@pytest.mark.parametrize('damage', DAMAGE)
def test_what_does_not_fit_is_named_and_nothing_is_written(copied, tmp_path, damage):
    harm, words = DAMAGE[damage]
    harm(copied)
    with pytest.raises(UserError, match=words):
        conversion.from_pytorch(sources.plan(**copied), tmp_path / 'out', print, {})
    assert [p.name for p in tmp_path.iterdir()] == ['files']


def test_missing_unexpected_and_misshapen_tensors_are_named_together(copied, tmp_path):
    state = {k: v.read() for k, v in open_file(copied['dinov2']).items()}
    state['extra.weight'] = state.pop('cls_token')
    state['norm.bias'] = np.ones(7, np.float32)
    torch_writer.write(copied['dinov2'], state)
    with pytest.raises(UserError, match=r'3 tensors do not fit') as error:
        conversion.from_pytorch(sources.plan(**copied), tmp_path / 'out', print, {})
    assert str(error.value).splitlines()[1:] == [
        '1 missing: cls_token',
        '1 unexpected: extra.weight',
        '1 of another shape: norm.bias is (7,), not (24,)',
    ]


@pytest.mark.parametrize(('taken', 'for_it'), [('dinov2', 'dino'), ('dino', 'dinov2')])
def test_networks_that_were_taken_for_one_another_are_told(files, taken, for_it):
    names = {'dino': 'DINO', 'dinov2': 'DINOv2'}
    with pytest.raises(UserError, match=f'looks like {names[taken]}, not {names[for_it]}: give another file'):
        conversion.check(sources.plan(files[1]['sd'], **{for_it: files[1][taken]}))


def test_a_disk_without_space_and_a_folder_that_exists_are_refused_first(files, tmp_path, monkeypatch):
    made = sources.plan(**files[1])
    (tmp_path / 'there').mkdir()
    with pytest.raises(UserError, match='there exists'):
        conversion.from_pytorch(made, tmp_path / 'there', print, {})
    monkeypatch.setattr(conversion.shutil, 'disk_usage', lambda place: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(UserError, match='GB left'):
        conversion.from_pytorch(made, tmp_path / 'out', print, {})
    assert [p.name for p in tmp_path.iterdir()] == ['there']


def test_a_conversion_that_breaks_off_leaves_nothing(files, tmp_path, monkeypatch):
    def full(*_):
        raise OSError('no space left on device')

    monkeypatch.setattr(bundles, 'write_record', full)
    with pytest.raises(UserError, match='no space left'):
        conversion.from_pytorch(sources.plan(sd=files[1]['sd']), tmp_path / 'out', print, {})
    assert not list(tmp_path.iterdir())


def test_damaged_bytes_of_a_tensor_are_named_and_nothing_is_written(copied, tmp_path):
    state = {k: v.read() for k, v in open_file(copied['dinov2']).items()}
    inner = state['cls_token'].tobytes()
    copied['dinov2'].write_bytes(copied['dinov2'].read_bytes().replace(inner, bytes(len(inner))))
    with pytest.raises(UserError, match=r'dinov2\.pth: cls_token cannot be read'):
        conversion.from_pytorch(sources.plan(copied['sd'], dinov2=copied['dinov2']), tmp_path / 'out', print, {})
    assert [p.name for p in tmp_path.iterdir()] == ['files']


def test_inspect_says_what_files_and_models_hold(converted, files):
    assert any('student' in line and '1.440 M' in line for line in conversion.inspect(converted[0], {}))
    assert '28 tensors' not in conversion.inspect(files[1]['dape'], {})[0]  # real files hold more than is used
    assert '780 tensors' in conversion.inspect(files[1]['addsr'] / 'unet', {})[0]


@pytest.mark.parametrize('given', ['', 'model_index.json'])
def test_inspect_lists_the_parts_of_a_folder_of_diffusers(converted, tmp_path, given):
    out = tmp_path / 'torch'
    pytorch_folder.to_pytorch(converted[0], out, 'student', lambda line: None)
    lines = conversion.inspect(out / given, {})
    assert lines[0] == f'{out}: a model in parts'
    parts = [line.split(':')[0].strip() for line in lines[1:] if not line.startswith('    ')]
    assert parts == ['unet', 'controlnet', 'vae', 'text_encoder', 'scheduler', 'tokenizer']
    networks = json.loads((converted[0] / 'report.json').read_text())['networks']
    for network in ('student/unet', 'student/controlnet', 'autoencoder', 'text_encoder'):
        assert any(networks[network]['sha256'] in line for line in lines)


def test_numbers_that_are_not_finite_are_named_with_their_file(copied, tmp_path):
    path = next(copied['sd'].glob('vae/*.safetensors'))
    tensors = load_file(path)
    name = sorted(tensors)[3]
    tensors[name].reshape(-1)[0] = np.nan
    save_file(tensors, path)
    with pytest.raises(UserError, match=rf'vae: {re.escape(name)} holds NaN or infinity'):
        conversion.from_pytorch(sources.plan(sd=copied['sd']), tmp_path / 'out', print, {})
    assert not (tmp_path / 'out').exists()


def test_one_flipped_bit_of_a_file_that_we_wrote_is_named_and_others_files_are_taken_as_they_are(tmp_path):
    path, numbers = tmp_path / 'x.safetensors', {'a': np.zeros(4, np.float32), 'b': np.ones(4, np.float32)}
    tensor_file.write(path, numbers)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    found = open_file(path)
    np.testing.assert_array_equal(found['a'].read(), numbers['a'])
    with pytest.raises(UserError, match=r'x\.safetensors is damaged: b is not what was written'):
        found['b'].read()
    save_file({'a': numbers['a'], 'b': found['a'].read() + 2}, path)
    np.testing.assert_array_equal(open_file(path)['b'].read(), numbers['a'] + 2)
