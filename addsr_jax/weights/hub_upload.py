"""A folder of weights to a hub, as one commit."""

from pathlib import Path

from addsr_jax.errors import UserError, printable
from addsr_jax.weights.hub import bars
from addsr_jax.weights.hub_cache import COMMIT


def check_name(repository: str) -> None:
    """A UserError where a hub would take no such name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
        organisation, slash, _ = repository.partition('/')
    except HFValidationError as error:
        raise UserError(f'--to is {repository!r}: {printable(str(error))}') from error
    if not slash or not organisation:
        raise UserError(f'--to is {repository!r}: it must be ORG/NAME')


def upload(folder: Path, repository: str, *, private: bool) -> str:
    """The commit that holds the folder's files, in a repository that is made if it is not there."""
    from huggingface_hub import HfApi, constants, errors, logging

    logging.set_verbosity_error()  # what went wrong is said once, by us
    hub = HfApi(endpoint=constants.ENDPOINT)
    again = f'the files are in {folder}: hf upload {repository} {folder} tries again'
    if constants.HF_HUB_OFFLINE:
        raise UserError(f'HF_HUB_OFFLINE is set: unset it; {again}')
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        with bars():
            made = hub.upload_folder(repo_id=repository, folder_path=folder, commit_message='Weights of addsr_jax')
    except errors.HfHubHTTPError as error:
        code = error.response.status_code
        if code in (401, 403):
            raise UserError(
                f'{hub.endpoint} does not let you write {repository}: run hf auth login; {again}'
            ) from error
        raise UserError(f'{hub.endpoint} refuses {repository} ({code}: {printable(str(error))}); {again}') from error
    except Exception as error:  # of its client, of the net
        first = error.__cause__ or error
        reason = printable(str(first)) or type(first).__name__
        raise UserError(f'{repository} cannot be uploaded to {hub.endpoint} ({reason}); {again}') from error
    if not COMMIT.fullmatch(made.oid):
        raise UserError(f'{hub.endpoint} says no commit of what was uploaded: look at it; {again}')
    return made.oid
