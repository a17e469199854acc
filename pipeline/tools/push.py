"""Put the folder of a network on the Hugging Face Hub, or a server of its kind."""

from pathlib import Path

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from pipeline.errors import InputError, StageFailed, first_line
from pipeline.tools.layout import FILES

REFUSED = (401, 403)


def token_for(repository: str) -> str:
    """Return the token of this user, before any work.

    It is HF_TOKEN, or that of the login.

    Raises:
        InputError: there is none, or the repository has no such name.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError:
        raise InputError(
            f"--push {repository}: no name of a repository; expected OWNER/NAME"
        ) from None
    token = get_token()
    if token is None:
        raise InputError(
            f"--push {repository}: no token for {constants.ENDPOINT}; set HF_TOKEN, or log in by"
            " hf auth login"
        )
    return token


def push(folder: Path, repository: str, token: str) -> str:
    """Put the files of `folder` into a model's repository, and return its address.

    A repository that does not exist is made.

    Raises:
        InputError: the token may not write there.
        StageFailed: the server cannot be reached, or does not take the files.
    """
    hub = HfApi(token=token, library_name="going-deeper")
    try:
        made = hub.create_repo(repository, exist_ok=True)
        hub.upload_folder(
            repo_id=made.repo_id,
            folder_path=folder,
            allow_patterns=list(FILES),
            commit_message="Put in a network of going-deeper",
        )
    except Exception as error:  # of the network, or of the server: nearly anything
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in REFUSED:
            raise InputError(
                f"--push {repository}: {constants.ENDPOINT} refuses the token ({status}); expected"
                " one that may write there"
            ) from None
        raise StageFailed(
            f"--push {repository}: {constants.ENDPOINT} did not take {folder}: {first_line(error)}"
        ) from None
    return str(made)
