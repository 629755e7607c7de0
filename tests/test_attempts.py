"""What an exception of storage is: a mistake of somebody, the storage's own trouble, or word of what lies there."""

import errno
import json

import pytest

from addsr_jax.attempts import FULL, kind_of
from addsr_jax.errors import Momentary, UserError


def of_client(package):
    """An exception as a client of buckets raises it."""
    return type('HttpError', (Exception,), {'__module__': f'{package}.retry'})('Service Unavailable, 503')


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ('error', 'kind'),
    [
        (OSError(errno.EIO, 'Input/output error'), Momentary),
        (ConnectionResetError('reset'), Momentary),
        (TimeoutError(), Momentary),
        (MemoryError(), Momentary),
        (of_client('gcsfs'), Momentary),
        (ValueError('ABORTED: Error reading gs://b/x: All 32 retry attempts failed: Service Unavailable'), Momentary),
        (RuntimeError('RESOURCE_EXHAUSTED: Out of memory while trying to allocate'), Momentary),
        (caused(Exception('Encountered error while reading'), ValueError('DEADLINE_EXCEEDED: 60 s')), Momentary),
        (caused(ValueError('_METADATA: it cannot be read'), OSError(errno.ESTALE, 'Stale file handle')), Momentary),
        (OSError(errno.ENOSPC, FULL), UserError),
        (PermissionError(errno.EACCES, 'Permission denied'), UserError),
        (ValueError('PERMISSION_DENIED: Error writing'), UserError),
        (OSError('Forbidden: https://storage'), UserError),
        (FileNotFoundError(errno.ENOENT, 'No such file'), None),
        (FileNotFoundError('b/photos/o/run'), None),
        (IsADirectoryError(errno.EISDIR, 'Is a directory'), None),
        (OSError(errno.EINVAL, 'it is no regular file'), None),
        (json.JSONDecodeError('Expecting value', '', 0), None),
        (KeyError('chunk_shape'), None),
        (ValueError('DATA_LOSS: Error decoding'), None),
        (caused(ValueError('its tensors are not there'), ValueError('NOT_FOUND: Error reading')), None),
    ],
    ids=lambda value: f'{type(value).__name__}-{value}' if isinstance(value, Exception) else '',
)
def test_storage_that_fails_is_told_from_damage(error, kind):
    assert kind_of(error) is kind
