"""From files to files: every picture once, what failed named, what is finished known by what made it."""

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from addsr_jax import atomic, upscale
from addsr_jax.data import pictures
from addsr_jax.errors import UserError, guard
from addsr_jax.options import unusual
from addsr_jax.restoration import files, folder, pipeline, results
from addsr_jax.restoration.files import Naming
from addsr_jax.restoration.settings import Settings
from addsr_jax.weights import bundle as bundles
from tests import tiny
from tests.data import icc, photos
from tests.restoration.nearest import Nearest


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(('in/a.png', 'in/sub/b.png', 'in/sub/c.jpg')):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (8, 8 + i), (40 * i, 90, 10)).save(name)


def making(settings):
    return lambda job, content: results.line('1.0', 'nano', job.source.name, content, **unusual(settings))


def run(jobs, model=None, settings=None):
    settings = settings or Settings()
    how = folder.How(settings, making(settings), 95, 6, 10**6, 10**6)
    return list(folder.restore_all(model or Nearest(), jobs, how))


def jobs_of(*inputs, output='out'):
    return files.plan_jobs(inputs or ['in'], Naming(Path(output)), Settings())[0]


def test_the_tree_is_mirrored_and_every_result_is_of_its_source(place):
    events = run(jobs_of())
    assert sorted(str(event.job.target) for event in events) == [
        'out/a_x4.png',
        'out/sub/b_x4.png',
        'out/sub/c_x4.jpg',
    ]
    for event in events:
        assert isinstance(event, folder.Done)
        source, result = Image.open(event.job.source), Image.open(event.job.target)
        assert event.size == result.size == tuple(4 * n for n in source.size)
        np.testing.assert_allclose(np.asarray(result)[::4, ::4], np.asarray(source), atol=3)


def test_while_a_result_is_written_nothing_is_held_of_what_it_was_made_of(place, monkeypatch):
    held, alive = [], []

    class Kept(SimpleNamespace):
        """One of which there may be weak references."""

    class Watched(Nearest):
        def cut(self, image, settings, name):
            cut = Kept(**vars(super().cut(image, settings, name)))
            held.append(weakref.ref(cut))
            return cut

    write = results.write
    monkeypatch.setattr(results, 'write', lambda *args, **named: alive.append(own(args[0])) or write(*args, **named))

    def own(target):
        gc.collect()
        return held[sorted(job.target for job in jobs).index(target)]() is not None

    jobs = jobs_of()
    settings = Settings()
    list(folder.restore_all(Watched(), jobs, folder.How(settings, making(settings), 95, 6, 10**6, 1)))  # one at a time
    assert alive == [False] * 3


@pytest.mark.parametrize('options', [['--max_side', '60'], ['--width', '40', '--height', '50', '--fit', 'crop']])
def test_a_damaged_picture_is_named_and_the_others_are_done_whatever_size_is_asked_for(place, capsys, options):
    bundles.save(tiny.bundle(tiny.LEAST), Path('model'), 'safetensors')
    Path('in/sub/b.png').write_bytes(b'none')
    assert guard(upscale.main, ['in', '-o', 'out', '--weights', 'model', '--steps', '1', *options]) == 3
    assert 'b.png cannot be read' in capsys.readouterr().err
    assert len([path for path in Path('out').rglob('*') if path.is_file()]) == 2


def test_a_picture_that_cannot_be_read_or_written_is_left_out_and_the_others_are_done(place, monkeypatch):
    Path('in/sub/b.png').write_bytes(b'none')
    write = atomic.write

    def full(path, how):
        if path.name == 'c_x4.jpg':
            raise UserError(f'{path} cannot be written: No space left on device')
        write(path, how)

    monkeypatch.setattr(atomic, 'write', full)
    events = {event.job.source.name: event for event in run(jobs_of())}
    assert isinstance(events['a.png'], folder.Done)
    for name, reason in (('b.png', 'cannot be read as an image'), ('c.jpg', 'No space left')):
        event = events[name]
        assert isinstance(event, folder.LeftOut)
        assert reason in str(event.error)
    assert [path.name for path in Path('out').rglob('*') if path.is_file()] == ['a_x4.png']


def left(jobs, settings, **flags):
    flags = {'overwrite': False, 'resume': False, **flags}
    return [job.source.name for job in files.remaining(jobs, making(settings), **flags)]


def test_a_start_after_a_stop_does_what_is_missing_whatever_the_batch_was(place):
    jobs = jobs_of()
    run(jobs[:2])
    assert left(jobs, Settings()) == ['c.jpg']
    assert left(jobs, Settings(batch=4)) == ['c.jpg']
    run(jobs[2:])
    assert left(jobs, Settings()) == []
    assert left(jobs, Settings(), overwrite=True) == ['a.png', 'b.png', 'c.jpg']


def test_results_of_other_settings_or_of_somebody_else_are_not_taken_for_finished_ones(place):
    jobs = jobs_of()
    run(jobs)
    with pytest.raises(UserError, match=r'a_x4\.png and 2 more exist and are not of this picture .*leave them'):
        left(jobs, Settings(steps=1))
    assert left(jobs, Settings(steps=1), resume=True) == []
    for name in ('a_x4.png', 'sub/c_x4.jpg'):
        Image.new('RGB', (32, 32)).save(Path('out') / name)
    with pytest.raises(UserError, match=r'a_x4\.png and 1 more exist and are not of'):
        left(jobs, Settings())


def test_another_picture_of_the_same_name_is_not_finished(place):
    run(jobs_of('in/a.png'))
    assert left(jobs_of('in/a.png'), Settings()) == []
    Image.new('RGB', (8, 8), 'red').save('in/a.png')
    with pytest.raises(UserError, match=r'a_x4\.png exists and is not of this picture with these settings'):
        left(jobs_of('in/a.png'), Settings())
    Path('more').mkdir()
    Image.new('RGB', (8, 8), 'blue').save('more/a.png')
    with pytest.raises(UserError, match=r'a_x4\.png exists and is not of this picture with these settings'):
        left(jobs_of('more/a.png'), Settings())


def test_results_beside_their_sources_are_no_inputs_of_the_next_run(place):
    run(jobs_of(output='in'))
    jobs, told = files.plan_jobs(['in'], Naming(Path('in')), Settings())
    assert {job.source.name for job in jobs} >= {'a.png', 'b.png', 'c.jpg'}
    assert 'a_x4.png' not in {job.source.name for job in jobs}
    assert 'of earlier runs are no inputs' in told


def test_tiles_of_several_pictures_go_together(place):
    model = Nearest()
    same = [Path(f'in/same{i}.png') for i in range(4)]
    for path in same:
        Image.new('RGB', (8, 8)).save(path)
    run(jobs_of(*map(str, same)), model, Settings(batch=2))
    assert model.calls == [(2, 2), (2, 2)]


def test_a_folder_of_any_aspects_becomes_one_of_frames_and_profiles_and_alpha_are_cut_too(place):
    pixels = np.dstack([photos.crops(1, 12)[0][:6]] * 2)[..., :4]
    Image.fromarray(pixels).save('in/alpha.png', icc_profile=icc.wide())
    settings = Settings(width=32, height=32, fit='crop')
    jobs = files.plan_jobs(['in/alpha.png'], Naming(Path('out')), settings)[0]
    assert jobs[0].result == (32, 32)
    run(jobs, settings=settings)
    with Image.open('out/alpha_w32_h32_crop.png') as image:
        assert image.size == (24, 24)  # of the model that knows of four times alone
        assert np.abs(np.asarray(image)[::4, ::4, 3].astype(int) - pixels[:, 3:9, 3]).max() < 30


def test_a_bmp_which_cannot_say_what_made_it_is_known_by_its_size(place):
    Image.new('RGB', (8, 8)).save('in/d.bmp')
    jobs = jobs_of('in/d.bmp')
    run(jobs)
    assert left(jobs, Settings()) == []
    Image.new('RGB', (16, 16)).save('out/d_x4.bmp')
    with pytest.raises(UserError, match=r'd_x4\.bmp exists'):
        left(jobs, Settings())


def mixed(folder):
    """Eight pictures of several kinds and sizes, each one tile, all of one shape."""
    Path(folder).mkdir()
    small = photos.crops(1, 32)[0]
    wide, tall, deep = small[:11], small[:, :20], small.astype(np.uint16) * 257
    for name, pixels in {
        'whole.jpg': small,
        'wide.bmp': wide,
        'tall.webp': tall,
        'grey.png': tall[..., 0],
        'deep.png': deep[..., 1],
        'alpha.png': np.dstack([wide, wide[..., :1]]),
        'pages.tif': tall[:25],
        'least.png': small[:1, :1],
    }.items():
        Image.fromarray(pixels).save(Path(folder, name))


def test_all_devices_of_a_machine_share_a_folder_and_give_the_pictures_that_one_gives(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    bundles.save(tiny.bundle(tiny.LEAST), Path('model'), 'safetensors')
    mixed('in')
    sample, used = pipeline.Pipeline._sample, []

    def seen(*arguments):
        result = sample(*arguments)
        used.append({shard.device for shard in result.addressable_shards})
        return result

    monkeypatch.setattr(pipeline.Pipeline, '_sample', seen)
    command = ['in', '--weights', 'model', '--steps', '1', '--batch', '2', '--format', 'png']
    devices = jax.local_devices()
    for output, some in (('all', devices), ('one', devices[:1])):
        monkeypatch.setattr(jax, 'local_devices', lambda backend=None, some=some: some)
        used.clear()
        assert guard(upscale.main, [*command, '-o', output]) == 0
        assert used
        assert all(found == set(some) for found in used)
    assert 'onto 8 devices' in capsys.readouterr().out
    names = sorted(path.name for path in Path('one').iterdir())
    assert names == sorted(path.name for path in Path('all').iterdir())
    assert len(names) == 8
    for name in names:
        a, b = (pictures.open_picture(Path(folder, name)) for folder in ('one', 'all'))
        white = np.iinfo(a.rgb.dtype).max
        assert a.rgb.shape == b.rgb.shape
        assert np.abs(a.rgb.astype(int) - b.rgb).max() <= white / 255
        assert (a.grey, a.rgb.dtype) == (b.grey, b.rgb.dtype)
