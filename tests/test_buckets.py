"""Weights, photographs, runs and results in a bucket, against a server in a process of its own."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest
import tensorstore
from jax.experimental.compilation_cache import compilation_cache
from PIL import Image

from addsr_jax import atomic, places, runtime, sharding, sizes, train, upscale
from addsr_jax.data import packing, sources
from addsr_jax.data.packed import INDEX
from addsr_jax.errors import UserError, guard
from addsr_jax.training.checkpoints import Checkpoints
from addsr_jax.weights import bundle as bundles
from tests import tiny
from tests.bucket import server, told
from tests.data import photos

ROOT = Path(__file__).parents[1]
STEPS = 12
SPEC = dataclasses.replace(tiny.LEAST, name='nano')


@pytest.fixture(scope='module')
def bucket():
    with server() as found:
        yield places.place(found)


@pytest.fixture(scope='module')
def here(tmp_path_factory):
    """Weights and photographs on this machine."""
    folder = tmp_path_factory.mktemp('here')
    bundles.save(tiny.bundle(SPEC), folder / 'weights', 'orbax')
    photos.folder(folder / 'pictures', 4)
    (folder / 'pictures' / 'deeper').mkdir()
    for path in list((folder / 'pictures').glob('0[01].png')):
        path.rename(folder / 'pictures' / 'deeper' / path.name)
    (folder / 'pictures' / '03.png').rename(folder / 'pictures' / 'ö 3#%2F.png')
    (folder / 'pictures' / '02.txt').write_text('a wall', encoding='utf-8')
    for name in ('.hidden.png', 'a.eps', '.git/a.png'):
        (folder / 'pictures' / name).parent.mkdir(exist_ok=True)
        (folder / 'pictures' / name).write_text('')
    return folder


@pytest.fixture(scope='module')
def there(bucket, here):
    """The same in the bucket; the weights are saved there, as a run saves them."""
    places.copy(here / 'pictures', bucket / 'pictures')
    bundles.save(bundles.load(here / 'weights'), bucket / 'weights', 'orbax')
    return bucket


def flags(root, workdir, **changes):
    values = {
        'weights': root / 'weights', 'steps': STEPS, 'batch_size': 4, 'log_every': 1, 'checkpoint_every': 4,
        'mesh': 'data:1', 'data.hr_size': 80, 'data.source': 'folder', 'data.path': root / 'pictures', 'eval_every': 0,
        'preview_every': 0, **changes,
    }  # fmt: skip
    command = ['--config', f'{ROOT}/configs/autoencoder.py:nano', '--workdir', str(workdir)]
    return [*command, *(f'--config.{key}={value}' for key, value in values.items())]


def trained(arguments):
    """Exit code of `addsr train` in this process, on one of its devices."""
    one = partial(sharding.make_mesh, devices=jax.devices()[:1])
    with mock.patch.dict(sizes.MODELS, nano=SPEC), mock.patch.object(sharding, 'make_mesh', one):
        return guard(train.main, arguments)


@pytest.fixture(scope='module')
def run(there):
    """A workdir in the bucket whose first process was killed after its first checkpoint, and which went on here."""
    workdir = there / 'run'
    code = 'import sys; from tests.test_buckets import trained; sys.exit(trained(sys.argv[1:]))'
    environment = {**os.environ, 'JAX_DEFAULT_MATMUL_PRECISION': 'highest', 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, '-c', code, *flags(there, workdir)]
    with subprocess.Popen(command, env=environment, cwd=ROOT) as process:
        until = time.monotonic() + 300
        while not (workdir / 'checkpoints' / '4' / 'commit_success.txt').exists():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert not (workdir / 'final' / bundles.MODEL_FILE).exists()
    assert trained(flags(there, workdir)) == 0
    return workdir


def test_a_run_that_was_killed_goes_on_to_the_parameters_of_one_in_a_folder_bit_for_bit(run, here):
    assert trained(flags(here, here / 'run')) == 0
    (a, b) = (bundles.load(root / 'final').params for root in (run, here / 'run'))
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    assert all(np.array_equal(one, other) for one, other in leaves)


def test_a_workdir_in_a_bucket_holds_what_one_in_a_folder_holds(run):
    names = {path.name for path in run.iterdir()}
    assert names == {'config.json', 'checkpoints', 'tensorboard', 'final'}
    assert {path.name for path in (run / 'checkpoints').iterdir()} == {'8', '12'}
    assert len(list((run / 'tensorboard').iterdir())) == 2  # of both processes
    assert all(places.size(file) > 40 for file in (run / 'tensorboard').iterdir())


def test_pictures_of_a_bucket_are_upscaled_into_it_by_the_weights_of_a_run_there(run, there, tmp_path, capsys):
    picture = photos.crops(1, 40)[0]
    atomic.write(there / 'small' / 'a.png', lambda path: Image.fromarray(picture).save(path))
    Image.fromarray(picture).save(tmp_path / 'a.png')
    settings = ['--weights', str(run / 'final'), '--steps', '2', '--tile', '192']
    assert guard(upscale.main, [str(there / 'small'), '-o', str(there / 'out'), *settings]) == 0
    assert 'gs://photos/out/a_x4.png  160 x 160' in capsys.readouterr().out
    assert guard(upscale.main, [str(tmp_path / 'a.png'), '-o', str(tmp_path), *settings]) == 0
    assert (there / 'out' / 'a_x4.png').read_bytes() == (tmp_path / 'a_x4.png').read_bytes()
    capsys.readouterr()
    again = [str(there / 'small'), '-o', str(there / 'out'), *settings]
    assert guard(upscale.main, [*again, '--seed', '1']) == 2
    assert 'gs://photos/out/a_x4.png exists and is not of this picture with these settings' in told(capsys)
    assert guard(upscale.main, again) == 0
    assert capsys.readouterr().out == '1 of 1 results are there already\n'


def test_a_source_in_a_bucket_gives_the_records_of_the_folder_in_its_order(there, here):
    one, other = (sources.folder(str(root / 'pictures')) for root in (there, here))
    assert [path.name for path in one.paths] == [path.name for path in other.paths]
    assert [(r['image'], r['caption']) for r in one] == [(r['image'], r['caption']) for r in other]
    assert [r['caption'] for r in one] == ['a wall', '', '', '']
    assert one.left_out == other.left_out == '2 hidden, 1 of another kind'


def test_photographs_packed_on_this_machine_are_read_from_a_bucket_and_one_that_is_gone_is_named(there, here, tmp_path):
    found = packing.listed([here / 'pictures'])
    packing.pack(found, tmp_path / 'packed', shard_bytes=20_000, threads=1, report=len, complain=len)
    places.copy(tmp_path / 'packed', there / 'packed')
    one, other = (sources.open_source('packed', str(root / 'packed')) for root in (there, tmp_path))
    assert [one[i] for i in range(len(one))] == [other[i] for i in range(len(other))]
    assert len(one) == 4
    gone = sorted(path for path in (there / 'packed').iterdir() if path.name != INDEX)[1]
    gone.unlink()
    with pytest.raises(UserError, match=f'{gone} is gone: copy the folder again'):
        sources.open_source('packed', str(there / 'packed'))


def test_what_another_client_has_written_is_seen_at_once(bucket):
    (bucket / 'shared' / 'ours').write_text('1')
    assert [path.name for path in (bucket / 'shared').iterdir()] == ['ours']
    tensorstore.KvStore.open('gs://photos/shared/').result().write('theirs', b'2').result()
    assert sorted(path.name for path in (bucket / 'shared').iterdir()) == ['ours', 'theirs']
    assert (bucket / 'shared' / 'theirs').read_text() == '2'


def test_a_picture_that_vanishes_is_named(there):
    places.copy(there / 'pictures' / '02.png', there / 'moving' / 'a.png')
    source = sources.folder(str(there / 'moving'))
    (there / 'moving' / 'a.png').unlink()
    with pytest.raises(UserError, match=r'gs://photos/moving/a\.png cannot be read .*: it is gone'):
        source[0]


def test_what_tensorboard_gets_goes_there_once_and_what_cannot_go_is_told_and_goes_later(there):
    outbox, lines = places.Outbox(there / 'logs'), []
    (outbox.here / 'deeper').mkdir()
    (outbox.here / 'deeper' / 'events').write_text('1')
    outbox.place, place = places.place('gs://nobody/logs'), outbox.place
    outbox.send(lines.append)
    assert lines == ['gs://nobody/logs/deeper/events cannot be written: there is no such bucket or object']
    outbox.place = place
    for text in ('1', '12'):
        (outbox.here / 'deeper' / 'events').write_text(text)
        outbox.send(lines.append)
        assert (there / 'logs' / 'deeper' / 'events').read_text() == text
    assert len(lines) == 1


@pytest.mark.parametrize(
    ('change', 'answer'),
    [
        ({'workdir': 'gs://nobody/run'}, 'gs://nobody/run cannot be written: there is no such bucket or object'),
        ({'weights': 'gs://photos/none'}, 'gs://photos/none holds no model.json'),
        ({'weights': 'gs://nobody/none'}, 'gs://nobody/none holds no model.json'),
        ({'data.path': 'gs://nobody/none'}, 'gs://nobody/none cannot be read: there is no such bucket or object'),
    ],
)
def test_what_is_not_there_is_refused_in_one_line_before_the_first_step(there, capsys, change, answer):
    change = dict(change)
    assert trained(flags(there, change.pop('workdir', 'gs://photos/refused'), **change)) == 2
    assert answer in told(capsys)
    assert not (there / 'refused').exists(), 'nothing is left behind'


def test_an_output_that_cannot_be_written_is_refused_before_the_weights_are_loaded(tmp_path, capsys, bucket):
    photos.folder(tmp_path, 1)
    assert guard(upscale.main, [str(tmp_path), '-o', 'gs://nobody/out', '--weights', 'gs://nobody/none']) == 2
    assert 'gs://nobody/out cannot be written: there is no such bucket or object' in told(capsys)


def test_a_bundle_that_was_half_replaced_is_refused(there, monkeypatch):
    target = there / 'half'
    weights = bundles.load(there / 'weights')
    bundles.save(weights, target, 'safetensors')
    same = zip(jax.tree.leaves(bundles.load(target).params), jax.tree.leaves(weights.params), strict=True)
    assert all(np.array_equal(a, b) for a, b in same)

    def stopped(*_, **__):
        raise InterruptedError('half way')

    for place, name in ((bundles, 'write_record'), (type(target), 'rmtree')):
        monkeypatch.setattr(place, name, stopped)
        with pytest.raises((InterruptedError, UserError), match='half way'):
            bundles.save(weights, target, 'safetensors')
        monkeypatch.undo()
        with pytest.raises(UserError, match=r'holds no model\.json'):
            bundles.load(target)
        bundles.save(weights, target, 'safetensors')


def test_weights_of_a_bucket_that_are_not_those_that_were_written_are_refused(there):
    target = there / 'damaged weights'
    bundles.save(bundles.load(there / 'weights'), target, 'orbax')
    record = json.loads((target / bundles.MODEL_FILE).read_text())
    assert {'params/autoencoder', 'tokenizer/vocab.json', bundles.MODEL_FILE} <= set(record['hashes'])
    whole = (target / 'tokenizer' / 'merges.txt').read_bytes()
    (target / 'tokenizer' / 'merges.txt').write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r'tokenizer/merges\.txt is not what was written: copy the folder again'):
        bundles.load(target)
    (target / 'tokenizer' / 'merges.txt').unlink()
    with pytest.raises(UserError, match=r'tokenizer/merges\.txt cannot be read'):
        bundles.load(target)
    (target / 'tokenizer' / 'merges.txt').write_bytes(whole)
    network = target / 'params' / 'autoencoder'
    places.remove(network, first='commit_success.txt')
    other = jax.tree.map(lambda x: x + 1, bundles.load(there / 'weights').params['autoencoder'])
    bundles.write_network(target, 'autoencoder', other)
    with pytest.raises(UserError, match=r'params/autoencoder is damaged: its tensors are not those'):
        bundles.load(target)


def test_a_damaged_newest_checkpoint_is_set_aside_in_the_bucket_and_its_step_saved_again(bucket):
    workdir, lines = bucket / 'set aside', []
    trees = {step: {'params': {'kernel': np.full((8, 8), step, np.float32)}} for step in (3, 4)}
    states = jax.device_put(trees, jax.devices()[0])
    abstract, placed = jax.eval_shape(lambda: states[3]), jax.tree.map(lambda x: x.sharding, states[3])

    def save(step):
        opened = Checkpoints.open(workdir, keep=5)
        opened.save(step, states[step])
        opened.close()

    def restore():
        state, batches = Checkpoints.open(workdir, keep=5).restore(abstract, placed, lines.append)
        assert np.array_equal(state['params']['kernel'], trees[batches]['params']['kernel'])
        return batches

    for step in (3, 4):
        save(step)
    record = workdir / 'checkpoints' / '4' / 'data' / 'metadata'
    for n, aside in enumerate(('4', '4-2'), 1):
        assert restore() == 4
        record.write_text(record.read_text().replace('"batches": 4', '"batches": 5'))
        assert restore() == 3
        assert len(lines) == n
        assert 'gs://photos/set aside/checkpoints/4 is damaged (' in lines[-1]
        assert lines[-1].endswith(f'moved to gs://photos/set aside/damaged/{aside}')
        assert not (workdir / 'checkpoints' / '4').exists()
        assert places.files(workdir / 'damaged' / aside / 'state')
        save(4)
    assert restore() == 4


def test_compiled_programs_are_kept_in_a_bucket_and_found_there(bucket, monkeypatch):
    hits = []
    monkeypatch.setenv('ADDSR_CACHE', str(bucket / 'programs'))
    names = 'jax_compilation_cache_dir', 'jax_persistent_cache_min_compile_time_secs'
    before = {name: getattr(jax.config, name) for name in names}
    jax.monitoring.register_event_listener(lambda name, **_: hits.append(name) if name.endswith('cache_hits') else None)
    try:
        runtime.keep_programs()
        jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
        for _ in range(2):
            jax.jit(lambda x: x * 3 + 41).lower(1.0).compile()
            jax.clear_caches()
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
    assert list((bucket / 'programs').iterdir())
    assert len(hits) == 1
