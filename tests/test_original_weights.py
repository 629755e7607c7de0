"""What owners of the published checkpoints do: convert, upscale, tag, and go back to PyTorch."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from addsr_jax import convert, tag, upscale
from addsr_jax.errors import guard
from addsr_jax.restoration import pipeline, program
from addsr_jax.weights import bundle as bundles
from tests import golden
from tests.data import photos
from tests.diffusion import parts
from tests.golden import originals


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with converted/, which knows RAM's tags, photos/, tags.txt and thresholds.txt."""
    folder = tmp_path_factory.mktemp('place')
    sources = originals.write(folder / 'files')
    (folder / 'photos').mkdir()
    Image.fromarray(photos.crops(1, 40)[0]).save(folder / 'photos' / 'a.png')
    config = golden.document('ram', 'config')
    (folder / 'tags.txt').write_text('\n'.join(config['tags']))
    (folder / 'thresholds.txt').write_text('\n'.join('0.3' for _ in config['tags']))
    arguments = [word for name, path in sources.items() for word in (f'--{name}', str(path))] + words(folder)
    assert guard(convert.main, ['from_pytorch', *arguments, '-o', str(folder / 'converted')]) == 0
    return folder


@pytest.fixture(autouse=True)
def networks_are_programs(monkeypatch):
    """All samplers share them: at the published size they take long to compile."""
    monkeypatch.setattr(program, 'jitted', partial(parts.jitted, answer=parts.one_by_one))
    monkeypatch.setattr(pipeline.Pipeline, 'need', lambda *_: 0)  # of one program


def words(place: Path) -> list[str]:
    return ['--tag_list', str(place / 'tags.txt'), '--thresholds', str(place / 'thresholds.txt')]


def restored(place, target: Path, *more: str, weights: Path | None = None) -> np.ndarray:
    weights = weights or place / 'converted'
    arguments = [str(place / 'photos' / 'a.png'), '--weights', str(weights), '--steps', '1', *more]
    assert guard(upscale.main, [*arguments, '--color', 'none', '-o', str(target)]) == 0
    return np.asarray(Image.open(target))


def test_converted_weights_restore_at_the_published_size_with_the_pictures_tags_unless_they_are_left_out(
    place, tmp_path, monkeypatch, capsys
):
    seen = []
    original = pipeline.Pipeline._sample

    def spied(self, lq, *rest):
        seen.append((lq.shape, rest[2].shape))  # image tokens
        return original(self, lq, *rest)

    monkeypatch.setattr(pipeline.Pipeline, '_sample', spied)
    plain, tagged = restored(place, place / 'plain.png', '--no_tags'), restored(place, tmp_path / 'tagged.png')
    same = restored(place, tmp_path / 'same.png', *words(place))
    assert plain.shape == (160, 160, 3)  # made larger first, as the published scripts do, and shrunk again
    assert seen == [((1, 512, 512, 3), (1, 17, 512))] * 3  # with what the prompt extractor says of the file
    assert (plain != tagged).any()
    assert (same == tagged).all()
    assert capsys.readouterr().out.count("each picture's tags are part of its prompt: --no_tags leaves them out") == 2


def test_the_dial_says_where_it_was_not_measured(place, tmp_path, capsys):
    arguments = [str(place / 'photos' / 'a.png'), '--weights', str(place / 'converted'), '--fidelity', '0.8']
    assert guard(upscale.main, [*arguments, '-o', str(tmp_path / 'a.png')]) == 0
    assert f'--fidelity was measured on nano, not on {place / "converted"}: `addsr evaluate' in capsys.readouterr().out


def test_converted_weights_restore_with_the_teacher_and_its_guidance(place, tmp_path):
    assert restored(place, tmp_path / 'a.png', '--method', 'seesr').shape == (160, 160, 3)


def test_tags_become_files_that_training_reads(place, capsys):
    from addsr_jax.data import sources

    arguments = [str(place / 'photos'), '--weights', str(place / 'converted')]
    assert guard(tag.main, arguments) == 0
    caption = (place / 'photos' / 'a.txt').read_text().strip()
    assert caption.endswith(',')  # as make_tags.py ends it
    assert set(caption.removesuffix(',').split(', ')) <= set(golden.document('ram', 'config')['tags'])
    assert sources.folder(str(place / 'photos'))[0]['caption'] == caption
    written = (place / 'photos' / 'a.txt').stat().st_mtime_ns
    capsys.readouterr()
    assert guard(tag.main, arguments) == 0
    assert 'have a text, which stays: --overwrite replaces it' in capsys.readouterr().out
    assert (place / 'photos' / 'a.txt').stat().st_mtime_ns == written


def test_the_walk_of_the_documents_ends_where_it_began(place, tmp_path, monkeypatch, capsys):
    """docs/weights.md, command by command: to a picture, back to PyTorch, and from there to the same picture."""
    monkeypatch.chdir(tmp_path)
    assert guard(convert.main, ['to_pytorch', str(place / 'converted'), '-o', 'for_torch']) == 0
    names = {str(p.relative_to('for_torch')) for p in Path('for_torch').rglob('*') if p.is_file()}
    assert {'unet/config.json', 'controlnet/diffusion_pytorch_model.safetensors', 'ram.pth', 'DAPE.pth'} <= names
    assert {'model_index.json', 'scheduler/scheduler_config.json', 'tokenizer/vocab.json'} <= names
    told = json.loads((place / 'converted' / 'report.json').read_text())['networks']
    Path('known.txt').write_text('\n'.join(f'{one["sha256"]} my {name}' for name, one in told.items()))
    capsys.readouterr()
    again = '--sd for_torch --addsr for_torch --ram for_torch/ram.pth --dape for_torch/DAPE.pth --known known.txt'
    assert guard(convert.main, ['from_pytorch', *again.split(), '-o', 'again']) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if ': sha256 ' in line]
    wanted = [name for name in told if not name.startswith(('teacher', 'dino'))]
    assert sorted(line.split(', ')[1] for line in lines) == sorted(f'same tensors as my {name}' for name in wanted)
    plain = place / 'plain.png'  # of the test above, where it ran
    first = np.asarray(Image.open(plain)) if plain.exists() else restored(place, plain, '--no_tags')
    np.testing.assert_array_equal(restored(place, Path('a.png'), weights=Path('again')), first)
    assert guard(convert.main, ['to_pytorch', 'nano', '-o', 'for_torch']) == 2


def test_weights_open_in_the_dtype_and_on_the_mesh_asked_for(place):
    from addsr_jax import sharding

    model = pipeline.load(place / 'converted', mesh=sharding.make_mesh('data:1,fsdp:8'), dtype='bfloat16')
    leaves = pipeline.jax.tree.leaves(model.params)
    assert {str(leaf.dtype) for leaf in leaves} == {'bfloat16'}
    assert any(not leaf.sharding.is_fully_replicated for leaf in leaves)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['from_pytorch', '-o', 'x'], 'needs --sd'),
        (['from_pytorch', '--sd', 'nothing', '-o', 'x'], 'nothing'),
        (['to_pytorch', 'nothing', '-o', 'x'], 'nothing holds no model.json'),
        (['inspect', 'nothing.pth'], 'nothing.pth does not exist'),
        (['backwards'], 'from_pytorch, to_pytorch, inspect'),
    ],
)
def test_convert_refuses_in_one_line(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert guard(convert.main, arguments) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count('\n') == 1
    assert not list(tmp_path.iterdir())


def test_what_is_converted_says_what_it_is_made_of(place):
    info = bundles.load(place / 'converted').info
    assert len(info['sha256']) == 64
    assert 'student/unet' in info['converted']
