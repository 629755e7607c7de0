"""What is copied as it is comes from the folder that was given: what a link leads to elsewhere goes nowhere."""

import os
import shutil
from pathlib import Path

import pytest

from addsr_jax import convert, push
from addsr_jax.errors import UserError, guard
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import plain_files, pytorch_folder, tensor_file
from tests import tiny, tiny_sd

SECRET = 'what nobody else may see'


@pytest.fixture
def secret(tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / 'secret').write_text(SECRET)
    return tmp_path / 'elsewhere' / 'secret'


@pytest.fixture
def model(tmp_path):
    """As somebody may have got it from a stranger."""
    bundles.save(tiny.bundle(tiny.LEAST), tmp_path / 'model', 'safetensors')
    return tmp_path / 'model'


def pushed(model: Path) -> int:
    return guard(push.main, [str(model), '-o', str(model.parent / 'out'), '--license', 'mit'])


def everything(folder: Path) -> str:
    return '\n'.join(path.read_text('latin-1') for path in sorted(folder.rglob('*')) if path.is_file())


@pytest.mark.parametrize('name', ['LICENSE', 'README.md', 'tokenizer/added_tokens.json', 'tags/NOTICE'])
def test_what_a_link_leads_to_is_not_published(model, secret, name, capsys):
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).symlink_to(secret)
    assert pushed(model) == 2
    told = capsys.readouterr().err
    assert told.startswith(f'addsr: {model / name} is a link that leads out of {model}, ')
    assert told.count('\n') == 1
    assert not (model.parent / 'out').exists()


def test_a_folder_that_is_a_link_is_none_of_the_model_s(model, secret, capsys):
    shutil.copytree(model / 'tokenizer', secret.parent, dirs_exist_ok=True)
    shutil.rmtree(model / 'tokenizer')
    (model / 'tokenizer').symlink_to(secret.parent)
    assert pushed(model) == 2
    assert 'is a link that leads out of' in capsys.readouterr().err


def test_files_that_nothing_reads_stay_where_they_are(model, secret):
    (model / 'tokenizer' / 'secret.txt').symlink_to(secret)
    (model / 'tokenizer' / 'a').symlink_to('.')
    os.mkfifo(model / 'tokenizer' / 'pipe')
    assert pushed(model) == 0
    assert SECRET not in everything(model.parent / 'out')
    assert {p.name for p in (model.parent / 'out' / 'tokenizer').iterdir()} == set(plain_files.tokens.FILES)


def test_links_inside_of_a_folder_and_into_the_blobs_of_a_hub_are_followed(model, tmp_path):
    cache = tmp_path / 'models--org--name'
    snapshot = cache / 'snapshots' / ('0' * 40)
    (cache / 'blobs').mkdir(parents=True)
    for number, path in enumerate(p for p in sorted(model.rglob('*')) if p.is_file()):
        link = snapshot / path.relative_to(model)
        link.parent.mkdir(parents=True, exist_ok=True)
        path.rename(cache / 'blobs' / str(number))
        link.symlink_to(os.path.relpath(cache / 'blobs' / str(number), link.parent))
    (snapshot / 'text').write_text('of the model')
    (snapshot / 'LICENSE').symlink_to('text')
    assert pushed(snapshot) == 0
    assert (snapshot.parent / 'out' / 'LICENSE').read_text() == 'of the model'


@pytest.mark.parametrize('target', ['nowhere', 'LICENSE'], ids=['nowhere', 'itself'])
def test_a_link_that_leads_nowhere_is_named(model, target, capsys):
    (model / 'LICENSE').symlink_to(target)
    assert pushed(model) == 2
    assert 'LICENSE is no regular file: remove it, or copy the folder again' in capsys.readouterr().err


def test_training_is_refused_before_it_begins_rather_than_at_its_end(model, secret):
    (model / 'LICENSE').symlink_to(secret)
    with pytest.raises(UserError, match='leads out of'):
        bundles.described(model)
    bundles.load(model)  # which copies nothing


def test_notes_that_are_links_are_kept_as_links(model, secret):
    (model / 'LICENSE').symlink_to(secret)
    bundles.save(tiny.bundle(tiny.LEAST), model, 'safetensors')
    assert (model / 'LICENSE').is_symlink()


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp('published')
    pytorch_folder.to_pytorch(tiny_sd.save(folder / 'bundle'), folder / 'sd', 'student', lambda line: None)
    return folder / 'sd'


def converted(sd: Path, *more: str) -> int:
    return guard(convert.main, ['from_pytorch', '--sd', str(sd), *more, '-o', str(sd.parent / 'out')])


@pytest.mark.parametrize('alter', [os.mkfifo, lambda path: path.symlink_to('/etc/hostname')], ids=['pipe', 'link'])
def test_conversion_takes_no_pipe_and_no_link_for_a_tokenizer_s_file(published, tmp_path, alter, capsys):
    sd = shutil.copytree(published, tmp_path / 'sd')
    alter(sd / 'tokenizer' / 'added_tokens.json')
    assert converted(sd) == 2
    assert 'added_tokens.json is ' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_the_folder_that_somebody_names_as_tokenizer_may_be_a_link(published, tmp_path):
    sd = shutil.copytree(published, tmp_path / 'sd')
    (sd / 'tokenizer').rename(tmp_path / 'elsewhere')
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'link').symlink_to(tmp_path / 'elsewhere')
    assert converted(sd, '--tokenizer', str(tmp_path / 'mine' / 'link')) == 0
    assert (tmp_path / 'out' / 'tokenizer' / 'vocab.json').is_file()


def test_adapters_go_with_the_student_that_they_are_in(tmp_path):
    lora = {'unet': {'conv_in': {'lora_A': tiny_sd.np.ones((2, 4)), 'lora_B': tiny_sd.np.ones((4, 2))}}}
    bundles.save(tiny.bundle(tiny.LEAST), tmp_path / 'model', 'orbax', lora=lora)
    assert pushed(tmp_path / 'model') == 0
    name = f'lora/unet/{plain_files.adapters.FILE}'
    assert (tmp_path / 'out' / name).read_bytes() == (tmp_path / 'model' / name).read_bytes()
    loaded = bundles.load(tmp_path / 'out')
    assert loaded.lora == tmp_path / 'out' / 'lora'
    assert bundles.merged(loaded, {}, loaded.spec, {}).lora is None  # of a student that is trained further


def test_a_folder_called_nano_is_not_taken_for_the_embedded_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tensor_file.write(Path('nano/lora/unet') / plain_files.adapters.FILE, {'a': tiny_sd.np.ones(2)})
    pytorch_folder.to_pytorch('nano', Path('out'), 'student', lambda line: None)
    assert not Path('out/lora').exists()
