"""What goes to TensorBoard: all pictures of a stage, and one line where they cannot be written."""

from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

from addsr_jax import attempts
from addsr_jax.errors import UserError
from addsr_jax.training.writers import Writers


def opened(tmp_path, writer):
    outbox = SimpleNamespace(here=tmp_path, send=lambda report: None)
    return Writers(writer, outbox, lambda step, seconds: None, lambda line: None, steps=1, batch_size=1)


def test_pictures_that_no_column_is_named_after_stand_behind_those_of_the_columns(tmp_path):
    writer = mock.Mock()
    shades = {'tiny_decoder': 0.5, 'decoder': 0.0, 'HR': -1.0, 'LQ': 1.0}
    opened(tmp_path, writer).images(1, {name: np.full((2, 4, 4, 3), shade) for name, shade in shades.items()})
    (_, written), _ = writer.write_images.call_args
    assert list(written) == ['LQ | HR | tiny_decoder | decoder']
    (grid,) = written['LQ | HR | tiny_decoder | decoder']
    assert grid.shape == (8, 16, 3)
    assert grid[0, ::4, 0].tolist() == [1.0, 0.0, 0.75, 0.5]


@pytest.mark.parametrize(('said', 'code'), [('UNAVAILABLE: 503', 1), (f'...; {attempts.FULL}', 2)])
def test_what_cannot_be_written_ends_a_run_for_good_only_where_the_disk_is_full(tmp_path, said, code):
    writer = mock.Mock()
    writer.flush.side_effect = RuntimeError(said)
    with pytest.raises(UserError, match=r'cannot be written .*run the same command again') as ended:
        opened(tmp_path, writer).keep()
    assert ended.value.code == code
