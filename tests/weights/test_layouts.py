"""What people have: every layout gives the tensors of the folder of diffusers, and what was taken off is said."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from addsr_jax import convert
from addsr_jax.errors import UserError, guard
from addsr_jax.weights import conversion, known, pytorch_folder, sources, torch_writer
from addsr_jax.weights.reader import open_file
from tests import tiny_sd


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """The tiny model as diffusers' folder, with the networks of its student; and Stable Diffusion's own in sd/unet."""
    place = tmp_path_factory.mktemp('layouts')
    saved = tiny_sd.save(place / 'bundle')
    pytorch_folder.to_pytorch(saved, place / 'sd', 'student', lambda line: None)
    return place / 'sd'


@pytest.fixture
def copied(folder, tmp_path):
    """One that a test may change."""
    return shutil.copytree(folder, tmp_path / 'sd')


def hashes(plan: sources.Plan) -> dict[str, str]:
    """{network: its hash}, after the check that all tensors are there."""
    conversion.check(plan)
    return {s.network: known.of_tensors(known.entry(n, t.read()) for n, t in s.tensors.items()) for s in plan.sources}


@pytest.fixture(scope='module')
def wanted(folder):
    return hashes(sources.plan(folder, addsr=folder))


@pytest.fixture(scope='module')
def base(folder):
    return hashes(sources.plan(folder))


def shards_of_bin(place, tensors):
    names = sorted(tensors)
    files = {f'diffusion_pytorch_model-0000{i + 1}-of-00002.bin': names[i::2] for i in range(2)}
    for file, held in files.items():
        torch_writer.write(place / file, {name: tensors[name] for name in held})
    index = {'weight_map': {name: file for file, held in files.items() for name in held}}
    (place / 'diffusion_pytorch_model.bin.index.json').write_text(json.dumps(index))


def variant(place, tensors):
    name = 'diffusion_pytorch_model.fp16-00001-of-00001.safetensors'
    save_file(tensors, place / name)
    index = {'weight_map': dict.fromkeys(tensors, name)}
    (place / 'diffusion_pytorch_model.safetensors.index.fp16.json').write_text(json.dumps(index))


FORMS = {
    'shards of .bin with their index': (shards_of_bin, []),
    'shards of a variant, whose index ends in fp16.json': (variant, []),
    'names of data parallel': (
        lambda place, t: save_file(
            {f'module.{n}': v for n, v in t.items()}, place / 'diffusion_pytorch_model.safetensors'
        ),
        ["names without 'module.'"],
    ),
    'a moving average beside what it averages': (
        lambda place, t: torch_writer.write(
            place / 'net_g.pth', {'params': {n: v + 1 for n, v in t.items()}, 'params_ema': t, 'step': 3}
        ),
        ["takes 'params_ema', and leaves 'params'"],
    ),
    'wrapped three times': (
        lambda place, t: torch_writer.write(
            place / 'last.ckpt', {'state_dict': {'net': {f'module.{n}': v for n, v in t.items()}}, 'epoch': 1}
        ),
        ["takes 'state_dict'", "takes 'net'", "names without 'module.'"],
    ),
    'a teacher of DINO beside its student': (
        lambda place, t: torch_writer.write(
            place / 'x.pth', {'student': {n: v + 1 for n, v in t.items()}, 'teacher': t}
        ),
        ["takes 'teacher', and leaves 'student'"],
    ),
    'flat words before every name': (
        lambda place, t: save_file(
            {f'params.{n}': v + 1 for n, v in t.items()} | {f'ema.{n}': v for n, v in t.items()},
            place / 'x.safetensors',
        ),
        ["names without 'ema.', and leaves 'params'"],
    ),
    'an average of which there are only settings': (
        lambda place, t: torch_writer.write(place / 'x.pth', {'ema': {'decay': np.ones(1, np.float32)}, 'model': t}),
        ["takes 'model'"],
    ),
    'an average whose name ends in it': (
        lambda place, t: torch_writer.write(
            place / 'x.pth', {'state_dict': {n: v + 1 for n, v in t.items()}, 'state_dict_ema': t}
        ),
        ["takes 'state_dict_ema', and leaves 'state_dict'"],
    ),
    'counters beside the words': (
        lambda place, t: save_file(
            {f'ema.{n}': v for n, v in t.items()} | {'step': np.ones((), np.int64), 'model.decay': np.ones(1)},
            place / 'x.safetensors',
        ),
        ["names without 'ema.', and leaves 'model'", "leaves 'step'"],
    ),
    'counters behind the words': (
        lambda place, t: save_file(
            {f'module.{n}': v for n, v in t.items()} | {'module.step': np.ones((), np.int64)}, place / 'x.safetensors'
        ),
        ["names without 'module.'", "leaves 'step'"],
    ),
    'torch.save under the name of the other format': (
        lambda place, t: torch_writer.write(place / 'diffusion_pytorch_model.safetensors', t),
        [],
    ),
}


@pytest.mark.parametrize('form', FORMS)
def test_every_form_of_a_networks_folder_gives_the_same_tensors(copied, base, form):
    write, said = FORMS[form]
    (copied / 'unet' / 'diffusion_pytorch_model.safetensors').unlink()
    write(copied / 'unet', tiny_sd.states()['unet'])
    plan = sources.plan(copied)
    assert hashes(plan) == base
    for words in said:
        assert any(words in note for note in plan.notes), plan.notes


@pytest.mark.parametrize('place', ['text_encoder/model.safetensors', 'text_encoder.safetensors'])
def test_a_text_encoder_of_transformers_5_has_no_prefix_and_is_the_same(copied, wanted, place):
    tensors = load_file(copied / 'text_encoder' / 'model.safetensors')
    bare = {name.removeprefix('text_model.'): value for name, value in tensors.items()}
    assert not set(bare) & set(tensors)
    if place != 'text_encoder/model.safetensors':
        shutil.rmtree(copied / 'text_encoder')
    save_file({**bare, 'embeddings.position_ids': np.arange(77)[None]}, copied / place)
    assert hashes(sources.plan(copied, addsr=copied)) == wanted


def test_a_tower_of_dinos_trainer_is_taken_without_its_head(tmp_path):
    notes = []
    wrapped = {'teacher': {'backbone.cls_token': np.ones(3), 'head.mlp.0.weight': np.ones(2)}}
    torch_writer.write(tmp_path / 'x.pth', wrapped)
    assert list(open_file(tmp_path, notes.append)) == ['cls_token']  # of a folder that holds nothing else
    assert any('of which x.pth is read' in note for note in notes)
    assert any("'head.'" in note for note in notes)


def beside(path, text):
    path.with_suffix('.yaml').write_text(text)


def test_a_whole_checkpoint_of_ldm_is_the_folder_of_diffusers(tmp_path, base):
    path = tiny_sd.whole(tmp_path / 'v2.safetensors', tiny_sd.CHECKPOINT)
    beside(path, 'model:\n  params:\n    linear_start: 0.00085\n')
    plan = sources.plan(path, tokenizer=tiny_sd.TOKENIZER)
    assert hashes(plan) == base
    assert plan.spec == sources.plan(path, tokenizer=tiny_sd.TOKENIZER, predicts='epsilon').spec
    assert plan.spec.unet.heads == tiny_sd.SPEC.unet.heads


def test_a_checkpoint_of_sgm_and_one_of_torch_save_are_read_too(tmp_path, base):
    kinds = {**tiny_sd.CHECKPOINT, 'text_encoder': 'conditioner.embedders.0.model.'}
    path = tiny_sd.whole(tmp_path / 'turbo.safetensors', kinds)
    torch_writer.write(tmp_path / 'turbo.ckpt', {'state_dict': load_file(path), 'global_step': 3})
    for file in (path, tmp_path / 'turbo.ckpt'):
        assert hashes(sources.plan(file, tokenizer=tiny_sd.TOKENIZER, predicts='epsilon')) == base


def test_a_controlnet_with_its_unet_in_one_file_is_the_folder_of_diffusers(folder, tmp_path, wanted):
    kinds = {'unet': 'model.diffusion_model.', 'controlnet': 'control_model.'}
    path = tiny_sd.whole(tmp_path / 'control.safetensors', kinds)
    plan = sources.plan(folder, addsr=path, predicts='epsilon')
    assert hashes(plan) == wanted
    assert plan.spec.controlnet == tiny_sd.SPEC.controlnet


@pytest.mark.parametrize('layout', ['ldm', 'diffusers'])
def test_single_files_lie_in_the_place_of_folders(folder, copied, wanted, layout):
    for kind, name in (('unet', 'unet'), ('controlnet', 'controlnet'), ('autoencoder', 'vae')):
        shutil.rmtree(copied / name)
        state = tiny_sd.states()[kind]
        save_file(tiny_sd.to_ldm(kind, state) if layout == 'ldm' else state, copied / f'{name}.safetensors')
    assert hashes(sources.plan(copied, addsr=copied)) == wanted
    vae = sources.plan(folder, addsr=folder, vae=copied / 'vae.safetensors')
    assert hashes(vae) == wanted


def test_an_autoencoder_with_what_its_trainer_had_beside_it_is_the_autoencoder(folder, tmp_path, wanted):
    counters = {'model_ema.decay': np.ones(()), 'model_ema.num_updates': np.ones((), np.int32)}
    loss = {'loss.logvar': np.zeros(()), 'loss.discriminator.main.0.weight': np.ones((2, 2), np.float32)}
    state = tiny_sd.to_ldm('autoencoder', tiny_sd.states()['autoencoder'])
    torch_writer.write(tmp_path / 'vae.ckpt', {'state_dict': {**state, **counters, **loss}, 'epoch': 1})
    save_file({**state, **counters}, tmp_path / 'vae.safetensors')
    for file in ('vae.ckpt', 'vae.safetensors'):
        assert hashes(sources.plan(folder, addsr=folder, vae=tmp_path / file)) == wanted


def test_a_file_where_a_folder_belongs_and_the_other_way_round(folder, tmp_path, wanted, base):
    assert hashes(sources.plan(folder / 'model_index.json', addsr=folder)) == wanted
    (tmp_path / 'models').mkdir()
    tiny_sd.whole(tmp_path / 'models' / 'v2.safetensors', tiny_sd.CHECKPOINT)
    plan = sources.plan(tmp_path / 'models', tokenizer=tiny_sd.TOKENIZER, predicts='epsilon')
    assert hashes(plan) == base
    assert any('of which v2.safetensors is read' in note for note in plan.notes)
    with pytest.raises(UserError, match='holds one network: give the folder that holds unet, controlnet'):
        sources.plan(folder, addsr=folder / 'unet')


@pytest.mark.parametrize('option', ['vae', 'text_encoder'])
def test_a_folder_with_one_file_of_any_name_is_a_network_s_too(folder, tmp_path, wanted, option):
    stem = {'vae': 'diffusion_pytorch_model', 'text_encoder': 'model'}[option]
    shutil.copy(folder / option / f'{stem}.safetensors', tmp_path / 'mine.safetensors')
    plan = sources.plan(folder, addsr=folder, **{option: tmp_path})
    assert hashes(plan) == wanted
    assert f'{tmp_path}: a folder, of which mine.safetensors is read' in plan.notes


def test_a_file_that_only_describes_a_folder_means_the_folder(folder, wanted):
    told = sources.plan(folder, addsr=folder, vae=folder / 'vae' / 'config.json')
    assert hashes(told) == wanted
    assert any(note.endswith('config.json: its folder is read') for note in told.notes)
    with pytest.raises(UserError, match='unet holds one network: give the folder that holds unet, controlnet'):
        sources.plan(folder, addsr=folder / 'unet' / 'config.json')
    for given in (folder, folder / 'tokenizer', folder / 'tokenizer' / 'vocab.json'):
        assert sources.plan(folder, addsr=folder, tokenizer=given).tokenizer == folder / 'tokenizer'


@pytest.mark.parametrize('option', ['sd', 'addsr', 'vae', 'unet', 'tokenizer', 'tiny_decoder', 'ram', 'sd_lora'])
def test_what_is_not_there_is_said_by_its_own_name(folder, tmp_path, option):
    with pytest.raises(UserError, match=r'nope does not exist$'):
        sources.plan(**{'sd': folder, option: tmp_path / 'nope'})


PREDICTIONS = {
    'the noise': ({'prediction_type': 'epsilon'}, 'epsilon'),
    'the noise, of a turbo model': (
        {'_class_name': 'EulerDiscreteScheduler', 'prediction_type': 'epsilon', 'timestep_spacing': 'trailing'},
        'epsilon',
    ),
    'nothing, as early folders do': ({'prediction_type': None}, 'epsilon'),
    'the velocity': ({'_class_name': 'DDIMScheduler', 'prediction_type': 'v_prediction'}, 'v'),
}


def change(path, **values):
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


@pytest.mark.parametrize('says', PREDICTIONS)
def test_what_is_predicted_is_what_the_scheduler_says(copied, says):
    values, predicted = PREDICTIONS[says]
    change(copied / 'scheduler' / 'scheduler_config.json', **values)
    change(copied / 'unet' / 'config.json', upcast_attention=predicted == 'v')
    assert sources.plan(copied).spec.schedule.prediction == predicted


def test_a_velocity_base_lends_its_other_networks_to_denoisers_of_noise_when_asked(copied, tmp_path):
    change(copied / 'scheduler' / 'scheduler_config.json', prediction_type='v_prediction')
    student = tmp_path / 'addsr'
    for name in ('unet', 'controlnet'):
        shutil.copytree(copied / name, student / name)
    with pytest.raises(UserError, match='v-prediction model'):
        sources.plan(copied, addsr=student)
    assert sources.plan(copied, addsr=student, predicts='epsilon').spec.schedule.prediction == 'epsilon'
    shutil.copytree(copied / 'scheduler', student / 'scheduler')  # the student says it itself
    assert sources.plan(copied, addsr=student).spec.schedule.prediction == 'v'


@pytest.mark.parametrize(
    ('text', 'predicted'), [('    parameterization: "v"\n', 'v'), ('    parameterization: eps\n', 'epsilon')]
)
def test_a_checkpoint_says_what_it_predicts_by_its_yaml_or_a_note_inside(tmp_path, text, predicted):
    path = tiny_sd.whole(tmp_path / 'a.safetensors', tiny_sd.CHECKPOINT)
    with pytest.raises(UserError, match='does not say what its UNet predicts'):
        sources.plan(path, tokenizer=tiny_sd.TOKENIZER)
    beside(path, f'model:\n  params:\n{text}')
    assert sources.plan(path, tokenizer=tiny_sd.TOKENIZER).spec.schedule.prediction == predicted
    noted = tmp_path / 'b.safetensors'
    save_file(load_file(path), noted, {'modelspec.prediction_type': predicted})
    assert sources.plan(noted, tokenizer=tiny_sd.TOKENIZER).spec.schedule.prediction == predicted


def folder_saying(copied, tmp_path, prediction):
    change(copied / 'scheduler' / 'scheduler_config.json', prediction_type=prediction)
    return copied


def file_noting(copied, tmp_path, prediction):
    path = tiny_sd.whole(tmp_path / 'other.safetensors', {'unet': 'model.diffusion_model.'})
    save_file(load_file(path), path, {'modelspec.prediction_type': prediction.removesuffix('_prediction')})
    return path


def file_beside_yaml(copied, tmp_path, prediction):
    path = tiny_sd.whole(tmp_path / 'other.safetensors', {'unet': 'model.diffusion_model.'})
    beside(path, f'    parameterization: {prediction[:1] if prediction.startswith("v") else "eps"}\n')
    return path


UNETS = {
    'the scheduler of its model': folder_saying,
    'that of the model whose unet/ it is': lambda *given: folder_saying(*given) / 'unet',
    'that of the model in whose unet/ it lies': lambda *given: next((folder_saying(*given) / 'unet').glob('*.saf*')),
    'a note in its file': file_noting,
    'the .yaml beside it': file_beside_yaml,
}


@pytest.mark.parametrize('says', UNETS)
@pytest.mark.parametrize(('theirs', 'own'), [('epsilon', 'v_prediction'), ('v_prediction', 'epsilon')])
def test_what_another_unet_says_of_itself_counts_and_that_the_base_says_another_thing_is_said(
    folder, copied, tmp_path, says, theirs, own
):
    base = shutil.copytree(folder, tmp_path / 'base')
    change(base / 'scheduler' / 'scheduler_config.json', prediction_type=theirs)
    plan = sources.plan(base, unet=UNETS[says](copied, tmp_path, own))
    assert plan.spec.schedule.prediction == own.removesuffix('_prediction')
    assert any(f'as {base} says' in note and note.startswith('the model predicts') for note in plan.notes), plan.notes


def test_what_a_file_of_denoisers_says_of_itself_counts(folder, tmp_path):
    path = tiny_sd.whole(tmp_path / 'c.safetensors', {'unet': 'model.diffusion_model.', 'controlnet': 'control_model.'})
    save_file(load_file(path), path, {'modelspec.prediction_type': 'v'})
    assert sources.plan(folder, addsr=path).spec.schedule.prediction == 'v'


def test_a_unet_that_says_nothing_predicts_what_the_base_does(copied, tmp_path):
    change(copied / 'scheduler' / 'scheduler_config.json', prediction_type='v_prediction')
    path = tiny_sd.whole(copied / 'other.safetensors', {'unet': 'model.diffusion_model.'})
    assert sources.plan(copied, unet=path).spec.schedule.prediction == 'v'


def test_another_schedule_of_noise_is_refused(tmp_path):
    path = tiny_sd.whole(tmp_path / 'a.safetensors', tiny_sd.CHECKPOINT, alphas_cumprod=np.linspace(1, 0, 1000))
    with pytest.raises(UserError, match='another noise schedule'):
        sources.plan(path, tokenizer=tiny_sd.TOKENIZER, predicts='epsilon')


def test_a_schedule_that_is_damaged_or_no_number_is_one_line(tmp_path):
    path = tiny_sd.whole(tmp_path / 'a.safetensors', tiny_sd.CHECKPOINT, alphas_cumprod=np.full(1000, np.nan))
    with pytest.raises(UserError, match='another noise schedule'):
        sources.plan(path, tokenizer=tiny_sd.TOKENIZER, predicts='epsilon')
    torch_writer.write(tmp_path / 'a.ckpt', {'state_dict': load_file(path)})
    content = bytearray((tmp_path / 'a.ckpt').read_bytes())
    content[content.index(np.full(1000, np.nan).tobytes()) + 2000] ^= 1
    (tmp_path / 'a.ckpt').write_bytes(content)
    with pytest.raises(UserError, match=r'a\.ckpt: alphas_cumprod cannot be read \(Bad CRC'):
        sources.plan(tmp_path / 'a.ckpt', tokenizer=tiny_sd.TOKENIZER, predicts='epsilon')


BAD = {
    'half a shard': (
        lambda p: (
            shards_of_bin(p / 'unet', tiny_sd.states()['unet']),
            (p / 'unet' / 'diffusion_pytorch_model-00002-of-00002.bin').unlink(),
        ),
        'which is not there: download all of its files',
    ),
    'shards without their index': (
        lambda p: (
            shards_of_bin(p / 'unet', tiny_sd.states()['unet']),
            (p / 'unet' / 'diffusion_pytorch_model.bin.index.json').unlink(),
        ),
        r'in pieces and no diffusion_pytorch_model\.bin\.index\.json',
    ),
    'an index that names files outside its folder': (
        lambda p: (p / 'unet' / 'diffusion_pytorch_model.bin.index.json').write_text(
            json.dumps({'weight_map': {'a': '../vae/diffusion_pytorch_model.bin'}})
        ),
        r'names \.\./vae/diffusion_pytorch_model\.bin, which is no',
    ),
    'an index of a name that no disk can have': (
        lambda p: (p / 'unet' / 'diffusion_pytorch_model.bin.index.json').write_text(
            json.dumps({'weight_map': {'a': f'{"x" * 300}.bin'}})
        ),
        'which is not there',
    ),
    'an index that lists nothing': (
        lambda p: (p / 'unet' / 'diffusion_pytorch_model.bin.index.json').write_text('{"weight_map": {}}'),
        r'index\.json is empty: it lists no tensors',
    ),
    'a pointer of git-LFS': (
        lambda p: (p / 'unet' / 'diffusion_pytorch_model.safetensors').write_text(
            'version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n'
        ),
        'is a pointer of git-LFS and not the file: run git lfs pull',
    ),
    'a web page': (
        lambda p: (p / 'unet' / 'diffusion_pytorch_model.bin').write_text('\n<!DOCTYPE html><html>404</html>'),
        'is a web page and not the file',
    ),
    'half of an archive': (
        lambda p: (
            torch_writer.write(p / 'unet' / 'x.bin', tiny_sd.states()['unet']),
            (p / 'unet' / 'x.bin').write_bytes((p / 'unet' / 'x.bin').read_bytes()[:5000]),
        ),
        r'x\.bin is cut off or damaged',
    ),
    'a picture': (
        lambda p: (p / 'unet' / 'diffusion_pytorch_model.bin').write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(40)),
        'no archive of torch.save',
    ),
    'several files': (
        lambda p: [(p / 'unet' / name).write_bytes(b'') for name in ('a.pth', 'b.pth')],
        r'several files of tensors \(a\.pth, b\.pth\)',
    ),
    'a folder without files': (lambda p: None, 'holds no weights'),
}


@pytest.mark.parametrize('bad', BAD)
def test_what_cannot_be_read_is_one_line(copied, bad):
    write, words = BAD[bad]
    (copied / 'unet' / 'diffusion_pytorch_model.safetensors').unlink()
    write(copied)
    with pytest.raises(UserError, match=words) as error:
        sources.plan(copied)
    assert len(str(error.value).splitlines()) == 1


def other(kind):
    return lambda state: tiny_sd.states()[kind]


def with_image_attentions(state):
    return state | {f'{n}.image_attentions.{i}.x': v for i, (n, v) in enumerate(state.items())}


CAUSES = {
    'image attentions without a word in config.json': (
        'unet',
        with_image_attentions,
        r'does not say use_image_cross_attention, and these are its tensors: get the config\.json',
    ),
    'another network': ('unet', other('autoencoder'), 'it looks like an autoencoder, not a UNet'),
    'a LoRA': ('unet', lambda s: {f'unet.{n}.lora_A.weight': v for n, v in s.items()}, 'looks like low-rank adapters'),
    'half a file': ('unet', lambda s: dict(list(s.items())[: len(s) // 2]), 'a part of the network is not there'),
    'another size': ('vae', lambda s: {n: np.concatenate([v, v]) for n, v in s.items()}, 'in another size'),
    'quantised': ('unet', lambda s: {n: v.astype(np.int8) for n, v in s.items()}, r'quantised \(int8\)'),
}


@pytest.mark.parametrize('cause', CAUSES)
def test_thousands_of_tensors_that_do_not_fit_are_five_lines_with_the_likely_cause(copied, cause):
    name, changed, words = CAUSES[cause]
    path = copied / name / 'diffusion_pytorch_model.safetensors'
    save_file(changed(load_file(path)), path)
    with pytest.raises(UserError, match=words) as error:
        conversion.check(sources.plan(copied))
    lines = str(error.value).splitlines()
    assert len(lines) <= 5
    assert max(map(len, lines)) < 500


def test_the_command_says_them_on_stderr_ends_with_2_and_writes_nothing(copied, tmp_path, capsys):
    path = copied / 'unet' / 'diffusion_pytorch_model.safetensors'
    save_file(tiny_sd.states()['autoencoder'], path)
    assert guard(convert.main, ['from_pytorch', '--sd', str(copied), '-o', str(tmp_path / 'out')]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith('addsr: ') for line in lines)
    assert [place.name for place in tmp_path.iterdir()] == ['sd']


def test_all_networks_wrong_are_five_lines_too(copied):
    for kind, name in (('autoencoder', 'vae'), ('unet', 'unet'), ('text_encoder', 'text_encoder')):
        state = {f'x.{tensor}': value for tensor, value in tiny_sd.states()[kind].items()}
        for path in (copied / name).glob('*.safetensors'):
            save_file(state, path)
    with pytest.raises(UserError, match='tensors do not fit, in 3 files') as error:
        conversion.check(sources.plan(copied))
    assert len(str(error.value).splitlines()) == 4


def test_a_checkpoint_of_stable_diffusion_1_is_named(tmp_path):
    path = tmp_path / 'v1.safetensors'
    save_file({'cond_stage_model.transformer.text_model.x': np.ones(2, np.float32)}, path)
    with pytest.raises(UserError, match='holds Stable Diffusion 1, not an autoencoder'):
        sources.plan(path, tokenizer=tiny_sd.TOKENIZER, predicts='epsilon')
