"""Pairs of one's own: the same place of both in every batch, packed or not, and what does not match is refused."""

import re
import shutil
import unicodedata
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from addsr_jax import evaluate, pack, train
from addsr_jax.data import pairs, sources
from addsr_jax.data.batches import Decoded, described, enlarged, make_batches, random_pair
from addsr_jax.data.held_out import held_out_batch
from addsr_jax.data.options import DataOptions
from addsr_jax.data.tokens import load_tokenizer
from addsr_jax.errors import UserError, guard
from addsr_jax.weights.bundle import NANO
from tests.data import photos

TOKENIZER = load_tokenizer(NANO / 'tokenizer')


@pytest.fixture
def folders(tmp_path):
    """HR/ and LQ/ with four pairs, one of them in a folder of its own; a low pixel is the mean of its sixteen."""
    for name, high in zip(('a', 'b', 'deep/c', 'd'), photos.crops(4, 96), strict=True):
        low = high.reshape(24, 4, 24, 4, 3).mean(axis=(1, 3)).round().astype(np.uint8)
        for folder, image, ending in (('HR', high, 'png'), ('LQ', low, 'bmp')):
            path = tmp_path / folder / f'{name}.{ending}'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    (tmp_path / 'HR' / 'deep' / 'c.txt').write_text('a wall')
    return tmp_path / 'HR', tmp_path / 'LQ'


def batches(source, **changes):
    options = DataOptions(**{'hr_size': 80, 'null_text': 0.0, 'threads': 0, **changes})
    made = make_batches(options, source, TOKENIZER, batch_size=4, seed=5, process_index=0, process_count=1)
    return list(islice(made(0), 3))


def opened(folders):
    return sources.open_source('pairs', str(folders[0]), lq_path=str(folders[1]))


def test_the_low_quality_picture_is_the_recorded_one_at_the_place_of_the_target(folders):
    seen = []
    for batch in batches(opened(folders)):
        for hr, lq in zip(batch['hr'], batch['lq'], strict=True):
            means = (hr / 2 + 0.5).reshape(20, 4, 20, 4, 3).mean(axis=(1, 3))
            wanted = enlarged(np.rint(means * 255).astype(np.float32) / 255) * 2 - 1
            assert np.abs(wanted - lq).mean() < 1 / 255  # the low file has whole levels, before it was enlarged
            seen.append(hr.tobytes())
    assert len(set(seen)) > 8  # of three batches of four


def test_the_target_is_the_picture_itself_and_never_sharpened(folders):
    highs = [np.asarray(Image.open(path)) for path in folders[0].rglob('*.png')]
    (batch, *_) = batches(opened(folders), hr_size=96, degradation='standard')
    for hr in batch['hr']:
        target = np.rint((hr / 2 + 0.5) * 255).astype(np.uint8)
        assert any(np.array_equal(x, high) for high in highs for x in (target, target[:, ::-1]))


def test_whole_pairs_are_squeezed_alike_on_both_sides(folders):
    for batch in batches(opened(folders), frame='whole', hr_size=80):
        for hr, lq in zip(batch['hr'], batch['lq'], strict=True):
            means = (hr / 2 + 0.5).reshape(20, 4, 20, 4, 3).mean(axis=(1, 3))
            low = (lq / 2 + 0.5).reshape(20, 4, 20, 4, 3).mean(axis=(1, 3))
            assert np.abs(means - low).mean() < np.abs(means[:, ::-1] - low).mean() / 3


def test_a_pair_smaller_than_the_crop_is_mirrored_alike_on_both_sides():
    rng = np.random.default_rng(0)
    low = rng.integers(0, 256, (7, 30, 3)).astype(np.uint8)
    high = low.repeat(4, axis=0).repeat(4, axis=1)
    hr, lq = random_pair(high, low, 96, rng)
    np.testing.assert_array_equal(hr, lq.repeat(4, axis=0).repeat(4, axis=1))
    assert hr.shape == (96, 96, 3)


def test_one_name_written_in_two_ways_is_one_name(folders):
    name = 'caf\N{LATIN SMALL LETTER E WITH ACUTE}'
    (folders[0] / 'a.png').rename(folders[0] / f'{unicodedata.normalize("NFC", name)}.png')
    (folders[1] / 'a.bmp').rename(folders[1] / f'{unicodedata.normalize("NFD", name)}.bmp')
    assert name in [pair.name for pair in pairs.find(folders[1], folders[0]).pairs]
    shutil.copy(folders[0] / 'b.png', folders[0] / f'{unicodedata.normalize("NFD", name)}.png')
    with pytest.raises(UserError, match='have one name: pairs are told by it'):
        pairs.find(folders[1], folders[0])


def test_captions_are_those_beside_the_true_pictures(folders):
    source = opened(folders)
    assert [source[i]['caption'] for i in range(4)] == ['', '', '', 'a wall']
    assert [source.name_of(i)[-5:] for i in range(4)] == ['a.png', 'b.png', 'd.png', 'c.png']


def test_packed_pairs_give_the_batches_of_the_folders(folders, tmp_path, capsys):
    assert guard(pack.main, [str(folders[0]), '--lq', str(folders[1]), '-o', str(tmp_path / 'packed')]) == 0
    assert '4 photographs' in capsys.readouterr().out
    packed = sources.open_source('packed', str(tmp_path / 'packed'))
    assert [packed.name_of(i) for i in range(4)] == ['HR/a.png', 'HR/b.png', 'HR/d.png', 'HR/deep/c.png']
    for mine, theirs in zip(batches(packed), batches(opened(folders)), strict=True):
        for name in theirs:
            np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)


def test_held_out_pairs_are_scored_on_their_own_low_quality_pictures(folders):
    batch = held_out_batch(opened(folders), 4, 96, 'mild', '', TOKENIZER)
    for i, pair in enumerate(pairs.find(folders[1], folders[0]).pairs):
        low, high = pairs.read(pair, 4)
        np.testing.assert_array_equal(batch['hr'][i], high.astype(np.float32) / 255 * 2 - 1)
        np.testing.assert_allclose(batch['lq'][i], enlarged(low.astype(np.float32) / 255) * 2 - 1, atol=1e-6)


def mismatches(folders):
    high, low = folders
    yield lambda: (low / 'b.bmp').unlink(), r'HR/b\.png has no partner of that name in .*LQ'
    yield lambda: (high / 'b.png').unlink(), r'LQ/b\.bmp has no partner of that name in .*HR'
    yield (
        lambda: Image.new('RGB', (25, 24)).save(low / 'b.bmp'),
        r'b\.png is 96 x 96, not 100 x 96, 4 times the size of',
    )
    yield lambda: Image.new('RGB', (9, 9)).save(high / 'a.jpg'), r'a\.png and .*a\.jpg have one name'


@pytest.mark.parametrize('number', range(4))
def test_pairs_that_do_not_match_are_one_line_and_nothing_is_written(number, folders, tmp_path, capsys):
    (high, low), (damage, message) = folders, list(mismatches(folders))[number]
    damage()
    config = ['--config', f'{NANO.parents[2]}/configs/addsr.py:nano', '--workdir', str(tmp_path / 'run')]
    data = ['--config.data.source=pairs', f'--config.data.path={high}', f'--config.data.lq_path={low}']
    calls = {
        train: [*config, *data],
        pack: [str(high), '--lq', str(low), '-o', str(tmp_path / 'packed')],
        evaluate: ['--lq', str(low), '--hr', str(high), '--methods', 'bicubic', '--output', str(tmp_path / 'scores')],
    }
    for command, arguments in calls.items():
        assert guard(command.main, arguments) == 2
        told = capsys.readouterr().err
        assert re.search(message, told)
        assert told.count('\n') == 1
    assert {path.name for path in tmp_path.iterdir()} == {'HR', 'LQ'}


def test_a_pair_whose_head_does_not_tell_is_refused_when_it_is_read_and_replaced(folders, monkeypatch):
    Image.new('RGB', (25, 24)).save(folders[1] / 'b.bmp')
    monkeypatch.setattr(pairs.heads, 'size_of', lambda path: None)
    source = Decoded(opened(folders))
    assert [source[i]['replaced'] for i in range(4)] == [-1, 1, -1, -1]


def test_a_low_quality_picture_that_cannot_be_used_is_named_as_such(folders):
    source = opened(folders)
    names = [source.name_of(i) for i in range(4)]
    low = folders[1] / 'b.bmp'
    index = next(i for i, name in enumerate(names) if name.endswith('b.png'))
    low.write_bytes(b'no picture')
    assert described(source, index).startswith(f'{names[index]} ((its low-quality picture) cannot be read')
    low.unlink()
    assert described(source, index).startswith(f'{names[index]} ((its low-quality picture {low}) cannot be read')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'source': 'pairs', 'path': 'x'}, 'set --config.data.lq_path'),
        ({'source': 'pairs', 'lq_path': 'x'}, 'set --config.data.path'),
    ],
)
def test_pairs_need_both_folders(changes, message):
    options = DataOptions(**changes)
    with pytest.raises(UserError, match=message):
        sources.open_source(options.source, options.path, lq_path=options.lq_path)


def test_a_folder_of_low_quality_pictures_goes_with_pairs_alone():
    with pytest.raises(UserError, match='lq_path is of source=pairs, not of source=folder'):
        DataOptions(lq_path='x')


def test_the_key_of_a_picture_goes_with_tfds_alone():
    assert DataOptions(source='tfds', image_key='hr').image_key == 'hr'
    with pytest.raises(UserError, match='image_key is of source=tfds, not of source=folder'):
        DataOptions(image_key='hr')
