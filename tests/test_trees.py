"""Path-named trees and their rules."""

import numpy as np
import pytest

from addsr_jax import trees

TREE = {'a': {'kernel': 1, 'bias': 2}, 'b': {'c': {'kernel': 3}}}


def test_flatten_and_unflatten_are_inverse():
    assert trees.flatten(TREE) == {'a/kernel': 1, 'a/bias': 2, 'b/c/kernel': 3}
    assert trees.unflatten(trees.flatten(TREE)) == TREE


def test_select_and_remove_divide_a_tree():
    patterns = ('.*/kernel',)
    assert trees.select(TREE, patterns) == {'a': {'kernel': 1}, 'b': {'c': {'kernel': 3}}}
    assert trees.remove(TREE, patterns) == {'a': {'bias': 2}}
    assert trees.overlay(trees.remove(TREE, patterns), trees.select(TREE, patterns)) == TREE


def test_a_pattern_that_matches_nothing_is_a_mistake():
    with pytest.raises(ValueError, match='no parameter matches'):
        trees.select(TREE, ('a/kernal',))


def test_the_first_matching_rule_decides_and_every_path_needs_one():
    rules = (('a/.*', 'first'), ('a/kernel', 'second'))
    assert trees.first_match('a/kernel', rules) == 'first'
    with pytest.raises(KeyError, match='no rule'):
        trees.first_match('b/c/kernel', rules)


def test_cast_leaves_whole_numbers_alone():
    out = trees.cast({'x': np.ones(2, np.float32), 'n': np.ones(2, np.int32)}, np.float16)
    assert (out['x'].dtype, out['n'].dtype) == (np.float16, np.int32)
