"""Upload a release to the Hugging Face Hub: all of it in one commit, and nothing twice (no torch)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from adatta.core.errors import AdattaError, ExportError, PublishError

# The HTTP library's error is a base of the Hub's; which library that is depends on the version. An upload
# that fails is a RuntimeError, metadata that the Hub refuses are a ValueError.
_FAILURES: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, RuntimeError, ValueError)
_LOGIN = "make one that may write (huggingface.co/settings/tokens), then `hf auth login` or set HF_TOKEN"
_REPO = re.compile(r"(?!.*(--|\.\.|\.git$))\w([\w.-]*\w)?/(?=.{1,96}$)\w([\w.-]*\w)?", re.ASCII)
_STATUS = {
    401: f"the Hub doesn't know this token; {_LOGIN}",
    403: f"this token may not write there; {_LOGIN}, or publish to another owner",
    404: "there is no such owner or repository that this token may see; check the name and the token",
}


def require_repo(repo: str) -> None:
    """Refuse a name that no repository can have.

    Args:
        repo: OWNER/NAME.

    Raises:
        PublishError: if it isn't that, or the Hub wouldn't take it.
    """
    if not _REPO.fullmatch(repo):
        raise PublishError(
            f"no repository can be called {repo!r}: write OWNER/NAME in letters, digits, '-', '_' and '.', "
            "at most 96, no '--' or '..', no '-' or '.' at an end, not .git"
        )


def push(repo: str, files: Mapping[str, Path | bytes], *, message: str, is_public: bool) -> str:
    """Upload files, making their repository if need be; those that the Hub has aren't sent again.

    Args:
        repo: OWNER/NAME.
        files: by their path in the repository, as files of this machine or as content.
        message: the commit's.
        is_public: whether everybody may see them.

    Returns:
        The address of the repository's page.

    Raises:
        PublishError: there is no token, or it may not do that; or others see the repository than asked for.
        ExportError: the Hub can't be reached, breaks off or refuses what is sent.
    """
    token = get_token()
    if token is None or not re.fullmatch("[!-~]+", token):
        raise PublishError(f"the Hub wants a token, without spaces and accents; {_LOGIN}")
    api = HfApi(token=token, library_name="adatta")
    try:
        api.create_repo(repo, private=not is_public, exist_ok=True)
        if api.model_info(repo).private == is_public:
            hint = "leave out --public" if is_public else "say --public"
            raise PublishError(
                f"{repo} is there and not as asked for; {hint}, or change who sees it in its settings"
            )
        additions = [CommitOperationAdd(path, file) for path, file in files.items()]
        api.create_commit(repo, additions, commit_message=message)
    except _FAILURES as error:
        raise _explain(error, repo=repo, token=token) from None  # its chain may hold the token
    return f"{api.endpoint}/{repo}"


def _explain(error: Exception, *, repo: str, token: str) -> AdattaError:
    """Say what failed and what to do, without the token, which a library or a server may repeat."""
    if isinstance(error, OfflineModeIsEnabled):
        return PublishError("HF_HUB_OFFLINE forbids to publish; unset it, or look with --dry-run")
    cause = error.__cause__ if isinstance(error, RuntimeError) else ""
    words = " ".join(f"{error} {cause}".split()).replace(token, "[token]")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in _STATUS:
        return PublishError(f"{repo}: {_STATUS[status]} (the Hub says: {words})")
    if isinstance(error, ValueError) and "metadata" in words:
        return ExportError(f"the Hub refused the card of {repo}: {words}")
    return ExportError(f"publishing {repo} broke off; run the command again, nothing is sent twice ({words})")
