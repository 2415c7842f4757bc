"""Asks the Hub why something is not available, so that the error is the one of huggingface_hub.

The command explains "not available" (exit code 3) in words for people. The words may change, so the Hub's
own status and ``X-Error-Code`` decide.
"""

from __future__ import annotations

import importlib
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from . import _compat, errors
from ._run import environment, stored_token
from ._version import __version__

#: For each repo type, the path of its API and of its files.
PLACES = {"model": ("models", ""), "dataset": ("datasets", "datasets/"), "space": ("spaces", "spaces/")}
_REDIRECTS = 5


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the token must not go to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Answer:
    """The Hub's answer to one question."""

    def __init__(self, method: str, url: str, status: int, headers: Mapping[str, str]) -> None:
        self.method, self.url, self.status, self.headers = method, url, status, headers

    @property
    def code(self) -> str:
        """``X-Error-Code``, or nothing."""
        return self.headers.get("x-error-code", "")

    @property
    def message(self) -> str:
        """``X-Error-Message``, or nothing."""
        return self.headers.get("x-error-message", "")

    def response(self) -> Any:
        """The answer as an object of huggingface_hub's HTTP library, or ``None`` without that library."""
        if not _compat.INSTALLED:
            return None
        # Depending on its version, huggingface_hub uses httpx or httpx2.
        kind: Any = importlib.import_module("huggingface_hub.errors").Response
        library: Any = importlib.import_module(kind.__module__.split(".")[0])
        return kind(self.status, headers=dict(self.headers), request=library.Request(self.method, self.url))


def endpoint_of(endpoint: str | None) -> str:
    """The endpoint, without a slash at its end."""
    return (endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def file_url(endpoint: str | None, repo_type: str, repo_id: str, revision: str, path: str) -> str:
    """The URL of a file on the Hub."""
    quote = urllib.parse.quote
    prefix = PLACES[repo_type][1]
    return f"{endpoint_of(endpoint)}/{prefix}{quote(repo_id)}/resolve/{quote(revision, safe='')}/{quote(path)}"


def revision_url(endpoint: str | None, repo_type: str, repo_id: str, revision: str) -> str:
    """The URL of the Hub's answer which commit a revision is."""
    quote = urllib.parse.quote
    plural = PLACES[repo_type][0]
    return f"{endpoint_of(endpoint)}/api/{plural}/{quote(repo_id)}/revision/{quote(revision, safe='')}"


def ask(method: str, url: str, token: bool | str | None, timeout: float = 10) -> Answer | None:
    """The answer, or ``None`` if there is none. The token goes to the first host only."""
    env = environment(token)
    secret = env.get("HF_TOKEN") or None
    if secret is None and env.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() not in ("1", "ON", "YES", "TRUE"):
        secret = stored_token()
    opener = urllib.request.build_opener(_Stay)
    asked = urllib.parse.urlsplit(url)
    if asked.scheme not in ("http", "https"):
        return None
    if asked.scheme == "http" and asked.hostname not in ("localhost", "127.0.0.1", "::1"):
        # Like the command: no token over plain HTTP, except to this machine.
        secret = None
    origin = asked[:2]
    for _ in range(_REDIRECTS):
        request = urllib.request.Request(url, method=method, headers={"User-Agent": f"hfget/{__version__}"})
        if secret and urllib.parse.urlsplit(url)[:2] == origin:
            request.add_unredirected_header("Authorization", f"Bearer {secret}")
        try:
            with opener.open(request, timeout=timeout) as answer:
                return Answer(method, url, answer.status, {k.lower(): v for k, v in answer.headers.items()})
        except urllib.error.HTTPError as error:
            headers = {k.lower(): v for k, v in error.headers.items()}
            error.close()
            to = urllib.parse.urljoin(url, headers.get("location", ""))
            # A renamed repo redirects to the same host. No other redirect is followed.
            if error.code in (301, 302, 307, 308) and urllib.parse.urlsplit(to)[:2] == origin:
                url = to
                continue
            return Answer(method, url, error.code, headers)
        except (OSError, ValueError):
            return None
    return None


def error_of(answer: Answer | None, text: str, *, on_file: bool = False) -> errors.NotAvailableError | None:
    """The error that an answer means, or ``None`` if the answer is no error."""
    if answer is None or answer.status < 400:
        return None
    kind: type[Any]
    if answer.code == "RevisionNotFound":
        kind = errors.RevisionNotFoundError
    elif answer.code == "EntryNotFound" or (on_file and not answer.code and answer.status == 404):
        kind = errors.RemoteEntryNotFoundError
    elif answer.code == "GatedRepo":
        kind = errors.GatedRepoError
    elif answer.message == "Access to this resource is disabled.":
        kind = errors.DisabledRepoError
    elif answer.code == "RepoNotFound" or (
        answer.status == 401 and answer.message != "Invalid credentials in Authorization header"
    ):
        kind = errors.RepositoryNotFoundError
    elif answer.status == 404:
        kind = errors.RepositoryNotFoundError
    else:
        kind = errors.HubError
    error = kind(text, response=answer.response(), server_message=answer.message or None)
    assert isinstance(error, errors.NotAvailableError)
    return error
