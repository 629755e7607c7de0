"""Checkpoints are right or refused, on whatever mesh; past a damaged one a run goes on from the one before."""

import errno
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from addsr_jax import attempts, hashes, places, sharding
from addsr_jax.errors import Momentary, UserError
from addsr_jax.training import record
from addsr_jax.training.checkpoints import Checkpoints
from tests.training.common import assert_equal, run

# reads that fail leave coroutines behind, which end some time later
pytestmark = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')


def spread(text, tree):
    """A tree over the first devices, split wherever its leaves can be."""
    mesh = sharding.make_mesh(text, jax.devices()[: 8 if text != 'data:1' else 1])
    return jax.device_put(tree, sharding.state_shardings(mesh, tree))


@pytest.fixture
def tree(monkeypatch):
    monkeypatch.setattr(sharding, 'SMALL', 1)
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((8, 16)).astype(np.float32)
    return {'params': {'kernel': kernel, 'bias': kernel[0, :8].astype(jnp.bfloat16)}, 'step': np.int32(3)}


def test_a_record_holds_on_every_mesh(tree):
    for saved in ('data:8', 'fsdp:8', 'data:2,fsdp:4', 'data:1'):
        made = json.loads(json.dumps(record.made(spread(saved, tree), 7)))
        for restored in ('fsdp:8', 'data:4,fsdp:2', 'data:1'):
            assert record.damaged(made, spread(restored, tree)) == [], (saved, restored)
    assert record.made(spread('fsdp:8', tree), 7)['leaves']['params/kernel']['cut'] == [1, 8]


@pytest.mark.parametrize('restored', ['fsdp:8', 'data:8'])
def test_one_bit_and_pieces_that_have_changed_places_are_named(tree, restored):
    made = record.made(spread('fsdp:8', tree), 7)
    kernel = tree['params']['kernel']
    flipped = kernel.copy()
    flipped.view(np.uint32)[5, 6] ^= 1
    for other in (flipped, np.concatenate([kernel[:, 2:4], kernel[:, :2], kernel[:, 4:]], axis=1)):
        assert record.damaged(made, spread(restored, {**tree, 'params': {**tree['params'], 'kernel': other}})) == [
            'params/kernel'
        ]


def kept(workdir, trees):
    opened = Checkpoints.open(workdir, keep=5)
    for step, tree in trees.items():
        opened.save(step, spread('data:1', tree))
    opened.close()


@pytest.mark.parametrize('older', [False, True], ids=['hashed', 'without hashes'])
def test_a_folder_under_another_step_s_name_is_damage(older, tmp_path, tree):
    kept(tmp_path, {3: tree, 5: tree})
    folder = tmp_path / 'checkpoints'
    if older:
        for step in (3, 5):
            (folder / str(step) / 'data' / 'metadata').write_text(f'{{"batches": {step}}}')
    (folder / '3').rename(folder / '50')
    lines = []
    _, step = restored(tmp_path, tree, lines)
    assert step == 5
    assert len(lines) == 1
    assert 'it holds a state after 3 steps' in lines[0]


def test_a_record_of_fewer_than_no_batches_is_damage(tmp_path):
    (tmp_path / 'record').write_text('{"batches": -4}')
    with pytest.raises(record.Damage):
        record.read(tmp_path / 'record')


def test_the_best_by_the_held_out_score_stays_after_a_new_start_too(tmp_path, tree):
    for scores, left in (
        ({1: 30.0, 2: 25.0}, ['1', '2']),
        ({3: None, 4: 29.0}, ['1', '4']),
        ({5: 30.0, 6: None, 7: 28.0}, ['5', '7']),
    ):
        opened = Checkpoints.open(tmp_path, keep=1)
        for step, score in scores.items():
            opened.save(step, spread('data:1', tree), score)
        opened.close()
        assert sorted(path.name for path in (tmp_path / 'checkpoints').iterdir()) == left


def test_a_damaged_record_protects_no_checkpoint_and_stops_no_save(tmp_path, tree):
    opened = Checkpoints.open(tmp_path, keep=1)
    opened.save(1, spread('data:1', tree), 30.0)
    opened.close()
    (tmp_path / 'checkpoints' / '1' / 'data' / 'metadata').write_text('{"batches": 1, "psnr": "best"}')
    kept(tmp_path, {2: tree})
    opened = Checkpoints.open(tmp_path, keep=1)
    opened.save(3, spread('data:1', tree), 20.0)
    opened.close()
    assert [path.name for path in (tmp_path / 'checkpoints').iterdir()] == ['3']


def strange(leaf, **changes):
    return {'batches': 1, 'leaves': {'a': {**leaf, **changes}}}


LEAF = {'shape': [8], 'dtype': 'float32', 'cut': [1], 'hash': '0' * 32}


@pytest.mark.parametrize(
    'content',
    [
        {'batches': '1', 'leaves': {}},
        {'batches': 1, 'leaves': []},
        {'batches': 1, 'leaves': {'a': 7}},
        {'batches': 1, 'leaves': {}, 'psnr': 'best'},
        strange(LEAF, cut=[0]),
        strange(LEAF, cut=[9]),
        strange(LEAF, cut=[1, 1]),
        strange(LEAF, cut=['1']),
        strange(LEAF, shape=None),
        strange(LEAF, shape=[1 << 40], cut=[1 << 39]),
        strange(LEAF, more=1),
    ],
    ids=str,
)
def test_a_record_that_nobody_made_is_damage_though_its_hash_is_right(tmp_path, content):
    (tmp_path / 'metadata').write_text(json.dumps({**content, hashes.NAME: hashes.of_json(content)}))
    with pytest.raises(record.Damage, match='is not the record that was written'):
        record.read(tmp_path / 'metadata')


def restored(workdir, tree, lines):
    placed = spread('data:1', tree)
    abstract = jax.eval_shape(lambda: placed)
    return Checkpoints.open(workdir, keep=5).restore(abstract, jax.tree.map(lambda x: x.sharding, placed), lines.append)


def test_a_checkpoint_without_hashes_is_restored_as_it_is(tmp_path, tree):
    kept(tmp_path, {3: tree})
    (tmp_path / 'checkpoints' / '3' / 'data' / 'metadata').write_text('{"batches": 3}')
    lines = []
    state, batches = restored(tmp_path, tree, lines)
    assert (batches, lines) == (3, [])
    np.testing.assert_array_equal(state['params']['kernel'], tree['params']['kernel'])


def test_numbers_that_are_not_those_of_the_record_are_damage_and_none_whole_is_one_line(tmp_path, tree):
    other = {**tree, 'params': {**tree['params'], 'kernel': tree['params']['kernel'] + 1}}
    kept(tmp_path / 'a', {3: tree})
    kept(tmp_path / 'b', {2: other, 3: other})
    place = 'checkpoints/3/data/metadata'
    shutil.copy(tmp_path / 'a' / place, tmp_path / 'b' / place)
    lines = []
    state, batches = restored(tmp_path / 'b', tree, lines)
    assert batches == 2
    np.testing.assert_array_equal(state['params']['kernel'], other['params']['kernel'])
    assert len(lines) == 1
    assert 'checkpoints/3 is damaged (params/kernel differ' in lines[0]
    assert (tmp_path / 'b' / 'damaged' / '3' / 'state').is_dir()

    shutil.rmtree(tmp_path / 'b' / 'checkpoints' / '2' / 'state')
    with pytest.raises(UserError, match=r'checkpoints/2 is not whole .*choose another --workdir'):
        restored(tmp_path / 'b', tree, lines)
    assert (tmp_path / 'b' / 'checkpoints' / '2').is_dir(), 'nothing is moved where nothing can go on'


def test_a_checkpoint_of_another_run_is_no_damage(tmp_path, tree):
    kept(tmp_path, {3: tree})
    with pytest.raises(UserError, match=r'3 is of another run \(extra is not in it\)'):
        restored(tmp_path, {**tree, 'extra': np.zeros(3, np.float32)}, [])
    assert (tmp_path / 'checkpoints' / '3').is_dir()


def raising(error):
    def work(*_, **__):
        raise error

    return work


@pytest.mark.parametrize(
    ('place', 'name'),
    [(places, 'read_text'), (ocp.StandardCheckpointHandler, 'metadata'), (ocp.StandardCheckpointer, 'restore')],
    ids=['record', 'description', 'tensors'],
)
def test_a_checkpoint_that_cannot_be_read_now_stays_where_it_is_and_the_next_start_takes_it(
    tmp_path, tree, monkeypatch, place, name
):
    kept(tmp_path, {3: tree, 5: tree})
    folder, lines = tmp_path / 'checkpoints', []
    shutil.rmtree(folder / '5' / 'state')
    for error in (
        OSError(errno.EIO, 'Input/output error'),
        ValueError('UNAVAILABLE: Error reading: HTTP 503'),
        MemoryError(),
    ):
        shutil.copytree(folder / '3', folder / '7', dirs_exist_ok=True)
        monkeypatch.setattr(place, name, raising(error))
        with pytest.raises(Momentary, match=r'7 cannot be read now \(.*\): run the same command again') as ended:
            restored(tmp_path, tree, lines)
        assert ended.value.code == 1
        monkeypatch.undo()
        assert not lines
        assert {path.name for path in tmp_path.iterdir()} == {'checkpoints'}
    _, step = restored(tmp_path, tree, lines)
    assert step == 3
    assert len(lines) == 2, 'what is damaged is moved by the start that can read'


def test_a_checkpoint_that_nobody_may_read_is_a_mistake_and_stays(tmp_path, tree, monkeypatch):
    kept(tmp_path, {3: tree})
    monkeypatch.setattr(places, 'read_text', raising(PermissionError(errno.EACCES, 'Permission denied')))
    with pytest.raises(UserError, match=r'3 cannot be read \(.*Permission denied\): see that this user may') as ended:
        restored(tmp_path, tree, [])
    assert ended.value.code == 2
    assert {path.name for path in tmp_path.iterdir()} == {'checkpoints'}


@pytest.mark.parametrize(
    ('error', 'code', 'advice'),
    [
        (ConnectionResetError('reset by peer'), 1, 'run the same command again'),
        (RuntimeError('UNAVAILABLE: HTTP 503'), 1, 'run the same command again'),
        (ValueError(f'RESOURCE_EXHAUSTED: {attempts.FULL}'), 2, 'make room and run the same command again'),
        (PermissionError(errno.EACCES, 'Permission denied'), 2, 'may write there, and run the same command again'),
    ],
)
def test_a_save_that_fails_is_a_mistake_only_where_the_disk_is_full_or_refuses(
    tmp_path, tree, monkeypatch, error, code, advice
):
    opened = Checkpoints.open(tmp_path, keep=5)
    monkeypatch.setattr(ocp.CheckpointManager, 'save', raising(error))
    with pytest.raises(UserError, match=rf'the last whole checkpoint is none: .*{advice}$') as ended:
        opened.save(3, spread('data:1', tree))
    assert ended.value.code == code
    monkeypatch.undo()
    opened.close()


def test_a_run_with_a_damaged_newest_checkpoint_goes_on_from_the_one_before_to_the_same_end(tmp_path):
    whole = run(tmp_path / 'whole')
    run(tmp_path / 'run', steps=4)
    for path in (tmp_path / 'run' / 'checkpoints' / '4').rglob('*'):
        if path.is_file() and path.stat().st_size > 1000 and path.parent.name == 'd':
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    lines: list[str] = []
    again = run(tmp_path / 'run', report=lines.append)
    assert 'checkpoints/4 is damaged' in lines[0]
    assert lines[1] == 'resuming at step 2'
    assert_equal(again.state, whole.state)
    assert sorted(p.name for p in (tmp_path / 'run' / 'checkpoints').iterdir()) == ['4', '6']
