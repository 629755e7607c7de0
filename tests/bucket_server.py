"""gcp-storage-emulator, with what tensorstore needs and it lacks: generations in answers, and preconditions on them.

python -m tests.bucket_server PORT BUCKET

Without them two writes to one object's end in 'Malformed StorageGeneration', as a checkpoint's manifest gets them now
and then.
"""

import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import HTTPServer
from typing import Any

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects

HANDLERS = ('get', 'download', 'insert', 'delete')


def generation(storage: Any, bucket: str, name: str) -> str:
    """Of the object that there is; '0' for none."""
    try:
        return storage.get_file_obj(bucket, name)['generation']
    except NotFound:
        return '0'


def conditional(handler: Callable[..., None]) -> Callable[..., None]:
    """The handler, asked only where the request's preconditions hold."""

    def answer(request: Any, response: Any, storage: Any, *rest: Any) -> None:
        query = {name: values[0] for name, values in request.query.items()}
        bucket, name = request.params['bucket_name'], request.params.get('object_id', query.get('name', ''))
        found = generation(storage, bucket, name)
        if query.get('ifGenerationMatch', found) != found:
            response.status = HTTPStatus.PRECONDITION_FAILED
        elif query.get('ifGenerationNotMatch') == found:
            response.status = HTTPStatus.NOT_MODIFIED
        else:
            handler(request, response, storage, *rest)
        response['x-goog-generation'] = generation(storage, bucket, name)

    return answer


if __name__ == '__main__':
    for handler in HANDLERS:
        setattr(objects, handler, conditional(getattr(objects, handler)))
    from gcp_storage_emulator.server import create_server  # takes the handlers as they are now

    HTTPServer.request_queue_size = 128  # it answers one after the other
    create_server('127.0.0.1', int(sys.argv[1]), in_memory=True, default_bucket=sys.argv[2]).run()
