"""Models by name, from a hub on loopback: what is fetched is checked and kept, and every mistake is one line."""

import dataclasses
import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import huggingface_hub
import jax
import numpy as np
import pytest
from huggingface_hub import constants

import addsr_jax
from addsr_jax import convert, doctor, push, sizes, train, upscale
from addsr_jax.errors import UserError, guard
from addsr_jax.specs import TinyDecoderSpec
from addsr_jax.training import job
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import conversion, hub, hub_layout, layout, random, tensor_file
from tests import hub_server, tiny
from tests.golden import originals


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A hub, with an empty cache on this side."""
    with hub_server.running() as running:
        use(monkeypatch, running.url)
        monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'fetched'))
        monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
        monkeypatch.setattr(constants, 'HF_HUB_DISABLE_XET', True)  # uploads as git-lfs does
        monkeypatch.setattr(constants, 'HF_TOKEN_PATH', str(tmp_path / 'no token'))
        monkeypatch.setenv('ADDSR_CACHE', str(tmp_path / 'cache'))
        monkeypatch.chdir(tmp_path)
        yield running


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """A folder of weights of our own layout."""
    folder = tmp_path_factory.mktemp('model') / 'least'
    bundles.save(tiny.bundle(tiny.LEAST), folder, 'safetensors')
    return folder


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    """Folders and files as their authors publish them."""
    folder = tmp_path_factory.mktemp('published')
    originals.write(folder)
    return folder


def refused(text: str) -> str:
    with pytest.raises(UserError) as raised:
        hub.located(text)
    line = str(raised.value)
    assert '\n' not in line
    return line


def use(monkeypatch, url: str) -> None:
    """As HF_ENDPOINT, which huggingface_hub reads when it is imported."""
    path = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', url + path)
    monkeypatch.setattr(constants, 'ENDPOINT', url)


def offline(monkeypatch) -> None:
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)


def same(one: bundles.Bundle, other: bundles.Bundle) -> None:
    assert one.spec == other.spec
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)


@pytest.mark.parametrize('text', ['org/name', 'org/na.me@v1', 'a/b@refs/pr/1', 'a/b+c/d@main', f'a/b@{"0" * 40}'])
def test_these_are_names(text):
    assert hub.is_name(text)


@pytest.mark.parametrize(
    'text', ['nano', 'a/b/c', './a/b', '/a/b', '~/b', 'gs://a/b', 'a/', 'a/../b', '../b', 'a/b@', '', 'a b/c', 'a/b+c']
)
def test_these_are_paths(text):
    assert not hub.is_name(text)
    assert hub.located(text) == text


def test_a_folder_that_is_here_is_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('runs/final').mkdir(parents=True)
    assert not hub.is_name('runs/final')


def test_a_model_is_loaded_by_its_name_and_fetched_once(server, model):
    commit = server.add_folder('org/least', model)
    told = []
    located = hub.located('org/least', told.append)
    same(bundles.load(located), bundles.load(model))
    assert any(line.startswith('fetching org/least/student.safetensors, ') for line in told)
    record = json.loads((hub.home() / 'org--least' / f'{commit}.json').read_text())
    assert set(record['sha256']) == {p.relative_to(model).as_posix() for p in model.rglob('*') if p.is_file()}
    before = len([line for line in server.asked if '/resolve/' in line])
    assert hub.located('org/least') == located
    assert len([line for line in server.asked if '/resolve/' in line]) == before


def test_pictures_and_what_else_lies_beside_a_model_are_not_fetched(server, model):
    files = {p.relative_to(model).as_posix(): p.read_bytes() for p in model.rglob('*') if p.is_file()}
    server.add('org/least', {**files, 'sample.png': b'x' * 5000, 'training/0.bin': b'x' * 5000})
    hub.located('org/least')
    assert not [line for line in server.asked if 'sample.png' in line or 'training' in line]


def test_a_revision_is_a_branch_a_tag_or_a_commit_and_a_commit_asks_nobody_again(server, model):
    old = server.add_folder('org/least', model, 'v1')
    new = server.add('org/least', {'model.json': b'{}'})
    assert Path(hub.located('org/least@v1')).name == Path(hub.located(f'org/least@{old}')).name == old
    assert old != new
    asked = len(server.asked)
    assert Path(hub.located(f'org/least@{old}')).name == old
    assert len(server.asked) == asked


def test_offline_takes_what_was_fetched_and_names_what_was_not(server, model, monkeypatch):
    commit = server.add_folder('org/least', model)
    located = hub.located('org/least')
    offline(monkeypatch)
    asked = len(server.asked)
    assert hub.located('org/least') == hub.located(f'org/least@{commit}') == located
    assert len(server.asked) == asked
    assert 'HF_HUB_OFFLINE is set: unset it, or run hf download org/other where there is a net' in refused('org/other')
    assert 'run hf download org/least --revision v9' in refused('org/least@v9')
    (Path(located) / 'tokenizer' / 'merges.txt').unlink()
    assert 'tokenizer/merges.txt of org/least is not in ' in refused('org/least')
    assert 'run hf download org/least tokenizer/merges.txt' in refused('org/least')


def test_offline_takes_what_another_program_has_fetched(server, model, monkeypatch):
    server.add_folder('org/least', model)
    fetched_by_another(server, model)
    offline(monkeypatch)
    same(bundles.load(hub.located('org/least')), bundles.load(model))


SMALL_AND_LARGE = ['tokenizer/special_tokens_map.json', 'student.safetensors']


def fetched_by_another(server, model: Path, others: dict[str, bytes] | None = None) -> None:
    """As `hf download` leaves the files, or others in their place."""
    for file in sorted(p.relative_to(model).as_posix() for p in model.rglob('*') if p.is_file()):
        path = Path(huggingface_hub.hf_hub_download('org/least', file, endpoint=server.url))
        if others and file in others:
            path.resolve().write_bytes(others[file])


@pytest.mark.parametrize('file', SMALL_AND_LARGE)
def test_what_was_taken_offline_is_compared_with_the_hub_when_it_is_asked_again(server, model, file, monkeypatch):
    commit = server.add_folder('org/least', model)
    fetched_by_another(server, model, {file: (model / file).read_bytes()[:-1] + b'?'})
    offline(monkeypatch)
    hub.located('org/least')
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    for text in ('org/least', f'org/least@{commit}'):
        assert f'{file} of {text} is not what the hub says' in refused(text)


def test_a_part_of_a_commit_that_was_taken_offline_is_not_taken_for_all_of_it(server, model, monkeypatch):
    commit = server.add_folder('org/least', model)
    fetched_by_another(server, model)
    (cached,) = Path(constants.HF_HUB_CACHE).rglob(f'{commit}/tokenizer/merges.txt')
    cached.unlink()
    offline(monkeypatch)
    hub.located('org/least')
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    assert 'tokenizer/merges.txt' in hub.looked_at(hub.names(f'org/least@{commit}')[0]).files
    hub.located(f'org/least@{commit}')
    assert cached.is_file()


@pytest.mark.parametrize('file', SMALL_AND_LARGE)
def test_a_record_does_not_outweigh_what_the_hub_says(server, model, file):
    commit = server.add_folder('org/least', model)
    path = Path(hub.located('org/least')) / file
    path.resolve().write_bytes(path.read_bytes()[:-1] + b'?')
    record = hub.home() / 'org--least' / f'{commit}.json'
    content = json.loads(record.read_text())
    content['sha256'][file] = hub.digest(path)
    record.write_text(json.dumps(content))
    assert f'{file} of org/least is not what the hub says' in refused('org/least')


def test_the_hash_that_git_gives_is_made_of_small_files_alone(server, model, monkeypatch):
    server.add_folder('org/least', model)
    real, hashed = hub.git_digest, []
    monkeypatch.setattr(hub, 'git_digest', lambda path: hashed.append(path.name) or real(path))
    hub.located('org/least')
    assert 'special_tokens_map.json' in hashed
    assert not [name for name in hashed if name.endswith('.safetensors')]


@pytest.mark.parametrize('file', ['student.safetensors', 'model.json'])
def test_a_file_that_changes_after_it_was_fetched_is_refused_with_what_gets_it_again(server, model, file, monkeypatch):
    commit = server.add_folder('org/least', model)
    path = Path(hub.located('org/least')) / file
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.resolve().write_bytes(content)
    for text in ('org/least', f'org/least@{commit}'):
        line = refused(text)
        assert f'{file} of {text} is not what was fetched (sha256 ' in line
        assert f'hf download --force-download --revision {commit} org/least {file}' in line
    offline(monkeypatch)
    assert 'is not what was fetched' in refused('org/least')


@pytest.mark.parametrize('file', ['student.safetensors', 'tokenizer/merges.txt'])
def test_a_hub_that_serves_other_bytes_than_it_says_is_refused(server, model, file):
    server.add_folder('org/least', model)
    server.others[file] = (model / file).read_bytes()[:-1] + b'?'
    assert f'{file} of org/least is not what the hub says' in refused('org/least')


def test_a_name_that_is_wrong_is_one_line(server, model):
    server.add_folder('org/least', model)
    assert f'there is no folder org/leest here, and {server.url} shows you no model org/leest' in refused('org/leest')
    assert f'org/least has no revision v9: {server.url}/org/least/commits lists them' in refused('org/least@v9')
    assert 'is no name of a model' in refused('org/a..b')
    assert 'names org/least twice' in refused('org/least+org/least@v1')
    server.gated.add('org/least')
    assert f'asks for your agreement: give it at {server.url}/org/least, then run hf auth login' in refused('org/least')


def test_a_hub_that_is_not_there_is_one_line(server, monkeypatch):
    use(monkeypatch, 'http://127.0.0.1:9')
    line = refused('org/least')
    assert 'org/least cannot be fetched from http://127.0.0.1:9 (' in line
    assert 'HF_HUB_OFFLINE=1 takes what was fetched before' in line


def test_a_file_that_is_listed_and_not_there_names_itself(server, model):
    server.add_folder('org/least', model)
    server.gone.add('student.safetensors')
    assert 'student.safetensors of org/least is listed and is not there' in refused('org/least')


def test_a_part_that_a_model_names_and_its_repository_lacks_is_named(server, model):
    files = {p.relative_to(model).as_posix(): p.read_bytes() for p in model.rglob('*') if p.is_file()}
    del files['student.safetensors']
    server.add('org/least', files)
    assert 'org/least lacks student.safetensors, which its model.json names' in refused('org/least')


@pytest.mark.parametrize('name', ['../model.json', '/etc/model.json', 'a/../../b', 'a\\b', 'a\x1b[2J', ''])
def test_a_file_that_leads_out_of_its_folder_is_refused(server, model, name):
    server.add('org/least', {'model.json': b'{}', name: b'x'})
    assert 'which leads out of its folder' in refused('org/least')


def test_a_record_that_is_damaged_is_named(server, model):
    commit = server.add_folder('org/least', model)
    hub.located('org/least')
    path = hub.home() / 'org--least' / f'{commit}.json'
    path.write_text('{"files": 3}')
    assert f'{path} cannot be read' in refused('org/least')


def of(published: Path, *names: str) -> dict[str, bytes]:
    """Folders and files of the published layout, each under its own name."""
    files = [path for name in names for path in (published / name, *(published / name).rglob('*')) if path.is_file()]
    return {path.relative_to(published).as_posix(): path.read_bytes() for path in files}


def test_published_checkpoints_are_converted_once_into_the_cache_with_their_report(server, published, monkeypatch):
    everything = of(published, 'stable-diffusion-2-base', 'addsr', 'ram_swin_large_14m.pth', 'DAPE.pth')
    spare = {'stable-diffusion-2-base/vae/diffusion_pytorch_model.bin': b'x' * 9000, 'README.md': b'hello'}
    commit = server.add('org/all', {**{f'preset/models/{k}': v for k, v in (everything | spare).items()}})
    told = []
    located = Path(hub.located('org/all', told.append))
    made = bundles.load(located)
    assert set(made.params) == {'autoencoder', 'text_encoder', 'student', 'prompt_extractor', 'dape'}
    assert json.loads((located / 'report.json').read_text())['sha256'] == made.info['sha256']
    (origin,) = made.info['origin']
    assert (origin['repository'], origin['commit']) == ('org/all', commit)
    assert set(origin['sha256']) == {f'preset/models/{name}' for name in everything if '-base/unet/' not in name}
    assert 'converting org/all, once' in told
    assert not [line for line in server.asked if '.bin' in line or 'README' in line or '-base/unet' in line]
    told.clear()
    assert hub.located('org/all', told.append) == located
    offline(monkeypatch)
    assert hub.located('org/all', told.append) == located
    assert not told


def test_pieces_of_several_repositories_are_one_model(server, published, monkeypatch):
    sd = {k.removeprefix('stable-diffusion-2-base/'): v for k, v in of(published, 'stable-diffusion-2-base').items()}
    server.add('mirror/stable-diffusion-2-base', sd)
    server.add('them/AddSR', {k.removeprefix('addsr/'): v for k, v in of(published, 'addsr').items()})
    server.add('ram/anything', of(published, 'ram_swin_large_14m.pth'))
    made = []
    monkeypatch.setattr(conversion, 'from_pytorch', lambda *given: made.append(given))
    hub.located('mirror/stable-diffusion-2-base+them/AddSR@main+ram/anything')
    ((plan, output, _, _, more),) = made
    networks = [source.network for source in plan.sources]
    assert networks == ['autoencoder', 'text_encoder', 'student/unet', 'student/controlnet', 'prompt_extractor']
    assert output.name.startswith('mirror--stable-diffusion-2-base+them--AddSR+ram--anything-')
    repositories = [origin['repository'] for origin in more['origin']]
    assert repositories == ['mirror/stable-diffusion-2-base', 'them/AddSR', 'ram/anything']
    line = refused('them/AddSR')
    assert 'them/AddSR lacks stable-diffusion-2-base' in line
    assert 'and ram_swin_large_14m.pth: add a repository that has it, as --weights them/AddSR+ORG/NAME' in line
    assert line.rstrip().endswith('addsr convert from_pytorch --sd PATH --ram PATH --addsr PATH -o FOLDER')


@pytest.fixture
def made(server, published, monkeypatch):
    """Base, student and RAM in repositories of their own, and what a conversion of them would be given."""
    sd = {k.removeprefix('stable-diffusion-2-base/'): v for k, v in of(published, 'stable-diffusion-2-base').items()}
    config = json.loads(sd['scheduler/scheduler_config.json'])
    said = json.dumps({**config, 'prediction_type': 'v_prediction'}).encode()
    student = {k.removeprefix('addsr/'): v for k, v in of(published, 'addsr').items()}
    server.add('o/base', sd)
    server.add('o/addsr', {**student, 'scheduler/scheduler_config.json': said})
    server.add('o/ram', of(published, 'ram_swin_large_14m.pth'))
    given = []
    monkeypatch.setattr(conversion, 'from_pytorch', lambda *arguments: given.append(arguments))
    return given


def test_what_a_denoiser_s_own_scheduler_says_counts_by_name_as_it_does_by_folder(made):
    hub.located('o/base+o/addsr+o/ram')
    ((plan, *_),) = made
    assert plan.spec.schedule.prediction == 'v'


def test_a_tokenizer_of_one_file_is_as_good_as_one_of_four():
    names = [name for name in hub_layout.SD if not name.startswith('tokenizer/')]
    files = [*names, 'tokenizer/tokenizer.json', 'tokenizer/tokenizer_config.json', 'tokenizer/photo.png']
    found = hub_layout.pieces({'o/base': files})
    assert found == {'sd': hub_layout.Piece('o/base', '')}
    stems = {'vae': 'diffusion_pytorch_model', 'text_encoder': 'model', 'unet': 'diffusion_pytorch_model'}
    tensors = [f'{place}/{stem}.safetensors' for place, stem in stems.items()]
    wanted = hub_layout.files_of(found, {'o/base': [*files, *tensors]})['o/base']
    assert {name for name in wanted if name.startswith('tokenizer/')} == set(files[-3:-1])


def test_what_another_version_converted_otherwise_is_converted_again(made, monkeypatch):
    for version in (hub.CONVERSION, hub.CONVERSION, hub.CONVERSION + 1):
        monkeypatch.setattr(hub, 'CONVERSION', version)
        hub.located('o/base+o/addsr+o/ram')
    first, second, third = (arguments[1] for arguments in made)
    assert first == second != third


def test_the_tiny_decoder_is_a_piece_of_a_model(server, made, monkeypatch):
    spec = dataclasses.replace(sizes.SD2, tiny_decoder=TinyDecoderSpec(channels=8, blocks=(1, 1, 1, 1)))
    params = random.random_params(bundles.expected(spec, ['tiny_decoder'])['tiny_decoder'], np.float32)
    tensor_file.write(Path('taesd_decoder.safetensors'), layout.to_state_dict('tiny_decoder', params))
    content = Path('taesd_decoder.safetensors').read_bytes()
    server.add('o/taesd', {'taesd_decoder.safetensors': content, 'taesd_decoder.pth': b'x', 'taesd_encoder.pth': b'x'})
    hub.located('o/base+o/addsr+o/ram+o/taesd')
    ((plan, *_),) = made
    assert 'tiny_decoder' in {source.network for source in plan.sources}
    assert not [line for line in server.asked if 'taesd_encoder' in line or 'decoder.pth' in line]


def test_a_repository_of_which_nothing_is_taken_is_named(server, made, model):
    server.add('o/other', {'taef1_decoder.pth': b'x'})
    line = refused('o/base+o/addsr+o/ram+o/other')
    assert line.startswith('o/other holds nothing that is known by its name, and o/base+o/addsr+o/ram+o/other takes')
    server.add_folder('o/least', model)
    assert 'o/least holds a model.json, a whole model, and ' in refused('o/base+o/addsr+o/ram+o/least')
    assert not made


def test_a_repository_with_the_whole_of_a_model_is_stable_diffusion_and_its_denoiser():
    found = hub_layout.pieces({'org/mine-addsr': [*hub_layout.SD, *hub_layout.DENOISER]})
    assert found == dict.fromkeys(('sd', 'addsr'), hub_layout.Piece('org/mine-addsr', ''))


def test_what_is_no_model_or_is_named_twice_or_unclearly_is_one_line(server, published):
    server.add('org/nothing', {'README.md': b'hello'})
    assert 'org/nothing holds no model.json and nothing of the published models' in refused('org/nothing')
    assert 'hf download org/nothing FILE and addsr convert from_pytorch --sd FILE' in refused('org/nothing')
    server.add('a/x', of(published, 'DAPE.pth'))
    server.add('b/x', of(published, 'DAPE.pth'))
    assert 'a/x/DAPE.pth and b/x/DAPE.pth both hold dape' in refused('a/x+b/x')
    server.add('c/x', {f'model/{n}/config.json': b'{}' for n in ('unet', 'controlnet')})
    assert 'c/x/model has a UNet and a ControlNet and is called neither addsr nor seesr' in refused('c/x')
    server.add(
        'd/addsr',
        {f'{n}/config.json': b'{}' for n in ('unet', 'controlnet')}
        | of(published, 'stable-diffusion-2-base', 'ram_swin_large_14m.pth'),
    )
    assert 'unet holds no weights: expected diffusion_pytorch_model.safetensors' in refused('d/addsr')


@pytest.mark.parametrize(
    ('there', 'chosen'),
    [
        (['model.safetensors', 'pytorch_model.bin', 'model.fp16.safetensors'], ['model.safetensors']),
        (['pytorch_model.bin', 'model.fp16.safetensors'], ['pytorch_model.bin']),
        (['model.fp16.safetensors'], ['model.fp16.safetensors']),
        (
            [
                'model.safetensors.index.json',
                'model-00001-of-00002.safetensors',
                'model-00002-of-00002.safetensors',
                'x',
            ],
            ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors', 'model.safetensors.index.json'],
        ),
    ],
)
def test_of_several_forms_of_a_network_the_one_that_is_read_is_fetched(there, chosen):
    files = [*hub_layout.SD, 'vae/diffusion_pytorch_model.bin', *(f'text_encoder/{name}' for name in there), 'addsr/x']
    found = {'sd': hub_layout.Piece('a/b', ''), 'addsr': hub_layout.Piece('a/c', '')}
    other = [f'{n}/{file}' for n in ('unet', 'controlnet') for file in ('config.json', 'diffusion_pytorch_model.bin')]
    wanted = hub_layout.files_of(found, {'a/b': files, 'a/c': other})
    assert wanted['a/b'] == sorted(
        [*hub_layout.SD, 'vae/diffusion_pytorch_model.bin', *(f'text_encoder/{name}' for name in chosen)]
    )


def test_commands_and_python_take_names(server, model, capsys, monkeypatch):
    server.add_folder('org/least', model)
    assert addsr_jax.load('org/least').networks.spec == tiny.LEAST
    assert guard(doctor.main, ['--weights', 'org/least']) == 0
    assert 'weights: org/least, of size least' in capsys.readouterr().out
    assert guard(convert.main, ['inspect', 'org/least']) == 0
    assert 'a model of size least' in capsys.readouterr().out
    from PIL import Image

    Image.new('RGB', (16, 16)).save('photo.png')
    for name, said in (('org/leest', 'shows you no model'), ('org/least@v9', 'has no revision v9')):
        assert guard(upscale.main, ['photo.png', '-o', 'out', '--weights', name]) == 2
        told = capsys.readouterr().err
        assert said in told
        assert told.count('\n') == 1
    assert not Path('out').exists()


def test_training_starts_from_a_name(server, model, tmp_path, monkeypatch):
    server.add_folder('org/least', model)
    seen = []
    monkeypatch.setattr(job, 'run', lambda options, workdir, report: seen.append(options) or True)
    config = Path(__file__).parents[2] / 'configs' / 'addsr.py'
    arguments = ['--config', f'{config}:nano', '--workdir', str(tmp_path / 'run'), '--config.weights=org/least']
    assert guard(train.main, arguments) == 0
    same(bundles.load(seen[0].weights), bundles.load(model))


def test_of_processes_that_ask_together_one_converts_and_the_others_wait(server, published, monkeypatch):
    server.add('org/all', of(published, 'stable-diffusion-2-base', 'addsr', 'ram_swin_large_14m.pth', 'DAPE.pth'))
    fetch, both = hub.fetch, threading.Barrier(2, timeout=30)
    looked_at = hub.looked_at

    def met(name):
        found = looked_at(name)
        both.wait()  # nothing is converted when either looks
        return found

    monkeypatch.setattr(hub, 'looked_at', met)
    monkeypatch.setattr(hub, 'fetch', lambda *args: time.sleep(0.2) or fetch(*args))
    told = []
    with ThreadPoolExecutor(2) as pool:
        places = list(pool.map(lambda _: hub.located('org/all', told.append), range(2)))
    assert places[0] == places[1]
    assert told.count('converting org/all, once') == 1


def pushed(*words: str, capsys) -> str:
    """What is said of a push that goes well."""
    assert guard(push.main, list(words)) == 0
    return capsys.readouterr().out


def card(folder: Path) -> tuple[dict, str]:
    from addsr_jax.weights.card import split

    return split((folder / 'README.md').read_text(encoding='utf-8'))


SCORES = {
    'images': [
        {'image': n, 'method': m, 'psnr': p, 'ssim': 0.81, 'niqe': None, 'seconds': 1.0}
        for n, m, p in (('a', 'addsr-4', 29.0), ('b', 'addsr-4', 30.0), ('a', 'addsr-1', 28.5), ('a', 'HR', None))
    ]
}


def test_push_writes_files_and_a_card_with_what_was_measured(server, model, capsys):
    Path('scores.json').write_text(json.dumps(SCORES))
    words = [
        '--license',
        'apache-2.0',
        '--base_model',
        'a/sd,b/addsr',
        '--scores',
        'scores.json',
        '--pictures',
        'Real 4',
    ]
    said = pushed(str(model), '-o', 'mine', *words, capsys=capsys)
    assert 'ready: hf upload ORG/NAME mine' in said
    same(bundles.load('mine'), bundles.load(model))
    metadata, text = card(Path('mine'))
    assert (metadata['library_name'], metadata['pipeline_tag']) == ('addsr-jax', 'image-to-image')
    assert metadata['license'] == 'apache-2.0'
    assert metadata['base_model'] == ['a/sd', 'b/addsr']
    (index,) = metadata['model-index']
    (result,) = index['results']
    assert (result['dataset']['name'], result['dataset']['type']) == ('Real 4', 'real-4')
    metrics = {metric['name']: metric['value'] for metric in result['metrics']}
    assert metrics == {'PSNR, addsr-4': 29.5, 'SSIM, addsr-4': 0.81, 'PSNR, addsr-1': 28.5, 'SSIM, addsr-1': 0.81}
    assert 'Means over 2 pairs of Real 4' in text
    assert '| addsr-4 | 29.50 | 0.8100 |' in text
    huggingface_hub.ModelCard.load('mine/README.md')  # whose reader is strict
    assert not server.asked


def test_push_keeps_the_card_and_the_licence_that_weights_have(server, model, capsys):
    shutil.copytree(model, 'with card')
    for name in bundles.NOTES:
        shutil.copy(bundles.NANO / name, 'with card')
    pushed('with card', '-o', 'mine', capsys=capsys)
    assert card(Path('mine')) == card(bundles.NANO)
    assert Path('mine/LICENSE').read_text() == (bundles.NANO / 'LICENSE').read_text()


FRONT = '---\nlicense: mit\n{}\n---\nhello\n'
CARDS = {
    'no UTF-8': ('Über'.encode('latin-1'), 'README.md cannot be read'),
    'without an end': (b'x' * (push.LARGEST + 1), 'README.md cannot be read (1048577 bytes, more than 1048576)'),
    'a name that is no text': (FRONT.format('1: 2').encode(), 'metadata that are no names with values'),
    'a list': (FRONT.replace('license: mit', '- a').format('- b').encode(), 'metadata that are no names with values'),
    'a day that is none': (FRONT.format('date: 2001-99-99').encode(), 'metadata that are no YAML'),
    'nested without end': (FRONT.format('a: ' + '[' * 5000).encode(), 'metadata that are no YAML'),
    'a name of the library': (FRONT.format('ignore_metadata_errors: 1').encode(), 'metadata that no hub takes'),
    'tags that are none': (FRONT.format('tags: 3').encode(), 'metadata that no hub takes'),
    'a base that is none': (
        FRONT.format('base_model: [1]').replace('hello', '').encode(),
        'base_model of the README.md',
    ),
}


@pytest.mark.parametrize('kind', CARDS)
def test_push_says_what_is_wrong_with_the_card_of_a_stranger(server, model, kind, capsys):
    content, line = CARDS[kind]
    shutil.copytree(model, 'theirs')
    Path('theirs/README.md').write_bytes(content)
    assert guard(push.main, ['theirs', '-o', 'mine']) == 2
    told = capsys.readouterr().err
    assert line in told
    assert told.count('\n') == 1
    assert not Path('mine').exists()


@pytest.mark.parametrize('origin', [3, ['org/all'], [{'repository': 'org/all'}], [{'sha256': 3}]])
def test_push_says_that_a_record_of_origin_is_none(server, origin, capsys):
    bundles.save(dataclasses.replace(tiny.bundle(tiny.LEAST), info={'origin': origin}), Path('theirs'), 'safetensors')
    assert guard(push.main, ['theirs', '-o', 'mine', '--license', 'mit']) == 2
    assert 'addsr: origin of the model.json of the weights' in capsys.readouterr().err


def test_push_keeps_the_card_and_the_licence_of_weights_of_a_hub(server, model, capsys):
    shutil.copytree(model, 'with card')
    for name in bundles.NOTES:
        shutil.copy(bundles.NANO / name, 'with card')
    server.add_folder('org/least', Path('with card'))
    pushed('org/least', '-o', 'mine', capsys=capsys)
    assert card(Path('mine')) == card(bundles.NANO)
    assert Path('mine/LICENSE').read_text() == (bundles.NANO / 'LICENSE').read_text()


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of huggingface_hub's own call
def test_what_was_pushed_is_loaded_by_its_name(server, model, capsys):
    said = pushed(
        str(model), '-o', 'mine', '--license', 'apache-2.0', '--to', 'org/mine', '--dtype', 'float16', capsys=capsys
    )
    (commit,) = server.commits['org/mine']
    assert f'uploaded: addsr PHOTO --weights org/mine@{commit}' in said
    found = bundles.load(hub.located('org/mine'))
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(found.params)} == {'float16'}
    assert set(server.commits['org/mine'][commit]) == {
        p.relative_to('mine').as_posix() for p in Path('mine').rglob('*') if p.is_file()
    }


def test_a_card_says_what_converted_weights_were_made_of(server, capsys):
    origin = {'repository': 'org/all', 'commit': '0' * 40, 'sha256': {'DAPE.pth': 'f' * 64}}
    converted = dataclasses.replace(tiny.bundle(tiny.LEAST), info={'origin': [origin]})
    bundles.save(converted, Path('converted'), 'safetensors')
    pushed('converted', '-o', 'mine', '--license', 'openrail++', capsys=capsys)
    _, text = card(Path('mine'))
    assert f'Converted from org/all, commit {"0" * 40}:' in text
    assert f'- `DAPE.pth`, sha256 `{"f" * 64}`' in text


@pytest.mark.parametrize(
    ('words', 'line'),
    [
        ([], 'nobody says what these weights may be used for: add --license'),
        (['--license', 'mit', '--to', 'mine'], "--to is 'mine': it must be ORG/NAME"),
        (['--license', 'mit', '--to', 'a/b/c'], "--to is 'a/b/c': "),
        (['--license', 'mit', '--private'], '--private is of an upload: give --to ORG/NAME'),
        (['--license', 'mit', '--scores', 'nothing.json'], 'addsr evaluate --lq LQ --hr HR --output FOLDER writes'),
    ],
)
def test_push_refuses_before_it_writes(server, model, words, line, capsys):
    assert guard(push.main, [str(model), '-o', 'mine', *words]) == 2
    told = capsys.readouterr().err
    assert line in told
    assert told.count('\n') == 1
    assert not Path('mine').exists()


def test_an_upload_that_is_refused_leaves_the_files_and_says_what_tries_again(server, model, capsys, monkeypatch):
    server.writable = False
    words = [str(model), '--license', 'mit', '--to', 'org/mine']
    assert guard(push.main, [*words, '-o', 'one']) == 2
    told = capsys.readouterr().err
    assert 'does not let you write org/mine: run hf auth login' in told
    assert 'hf upload org/mine one tries again' in told
    use(monkeypatch, 'http://127.0.0.1:9')
    assert guard(push.main, [*words, '-o', 'two']) == 2
    assert 'org/mine cannot be uploaded to http://127.0.0.1:9' in capsys.readouterr().err
    offline(monkeypatch)
    assert guard(push.main, [*words, '-o', 'three']) == 2
    assert 'HF_HUB_OFFLINE is set: unset it' in capsys.readouterr().err
    assert Path('one/model.json').is_file()
