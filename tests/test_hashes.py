"""Hashes change with every bit, name, shape and dtype, and with nothing else."""

import ml_dtypes
import numpy as np

from addsr_jax import hashes


def test_every_bit_name_shape_and_dtype_counts_and_the_order_of_leaves_does_not():
    a, b = np.zeros(4, np.float32), np.ones(2, np.float32)
    trees = [
        {'a': a, 'b': b},
        {'a': a, 'c': b},
        {'a': np.array([0, 0, 0, -0.0], np.float32), 'b': b},
        {'a': a.reshape(2, 2), 'b': b},
        {'a': a.astype(np.int32), 'b': b},
        {'a': b, 'b': a},
    ]
    assert len({hashes.of_tree(tree) for tree in trees}) == len(trees)
    assert hashes.of_tree({'b': b, 'a': a}) == hashes.of_tree(trees[0])


def test_arrays_of_any_layout_and_dtype_have_one():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert hashes.of_array('x', array.T) == hashes.of_array('x', np.ascontiguousarray(array.T))
    for odd in (np.float32(3), np.zeros((0, 2)), array.astype(ml_dtypes.bfloat16), np.array(True)):
        assert hashes.of_array('x', np.asarray(odd)) == hashes.of_array('x', np.asarray(odd).copy())


def test_pieces_of_a_large_array_hash_to_what_the_whole_does_whoever_has_which():
    array = np.random.default_rng(0).normal(size=(3, 96, 80)).astype(np.float32)
    assert hashes.cut(array.shape) == (1, 32)
    whole = hashes.in_pieces('x', array)
    parts = [hashes.in_pieces('x', array[:, start:stop], array.shape, start) for start, stop in ((0, 36), (36, 96))]
    assert sum(parts) % 2**128 == whole < 2**128
    turned = np.concatenate([array[:, 3:], array[:, :3]], 1)
    assert hashes.in_pieces('x', turned) != whole, 'pieces have their places'
    assert hashes.in_pieces('y', array) != whole
    assert hashes.in_pieces('x', array.transpose(2, 1, 0)) != whole
    for shape in ((128, 128), (2, 8192)):  # whose pieces are the same
        assert hashes.cut(shape)[1] == 64
    square = np.arange(2**14).reshape(128, 128)
    assert hashes.in_pieces('x', square) != hashes.in_pieces('x', np.concatenate(np.split(square, 64), 1))
    small = array[:, :2]
    assert hashes.in_pieces('x', small) == hashes.of_array('x', small)


def test_plain_data_hashes_by_what_it_says(tmp_path):
    assert hashes.of_json({'a': 1, 'b': [2.5, None]}) == hashes.of_json({'b': [2.5, None], 'a': 1})
    assert hashes.of_json({'a': 1}) != hashes.of_json({'a': 1.5})
    (tmp_path / 'x').write_bytes(b'abc')
    assert hashes.of_file(tmp_path / 'x') == '06b05ab6733a618578af5f94892f3950'  # as xxhsum -H2 says
