"""The fixtures for huggingface_hub's own tests, over a Hub in this process.

`HFGET_TEST_PATCHED` says whether hfget replaces its downloads.
"""

import contextlib
import os
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.utils import SoftTemporaryDirectory

from . import hub, testing_constants, testing_utils

HUB = hub.Hub(testing_constants.USER, testing_constants.TOKEN, testing_constants.OTHER_TOKEN)

# Weights that a loader reads: hfget gives out no others.
WEIGHTS = Path(os.environ["HFGET_SOURCE"], "tests/fixtures/formats/torch/module.pt").read_bytes()
CONFIG = b'{"model_type": "bert"}' + b" " * 829
HUB.add(
    "models",
    testing_constants.DUMMY_MODEL_ID,
    {"config.json": (CONFIG, False), "pytorch_model.bin": (WEIGHTS, True)},
    commit=testing_constants.DUMMY_MODEL_ID_REVISION_ONE_SPECIFIC_COMMIT,
    refs=["refs/pr/1"],
)
HUB.add(
    "models",
    "hf-internal-testing/dummy-renamed",
    {"config.json": (CONFIG, False)},
    old_names=[testing_constants.DUMMY_RENAMED_OLD_MODEL_ID],
)

_offline = testing_utils.offline


@contextlib.contextmanager
def _offline_for_children_too(mode=testing_utils.OfflineSimulationMode.CONNECTION_FAILS, **more):
    """Their `offline` breaks the network inside Python. Here the Hub's address is also one where no server listens."""
    with contextlib.ExitStack() as stack:
        if mode is not testing_utils.OfflineSimulationMode.HF_HUB_OFFLINE_SET_TO_1:
            patched = stack.enter_context(pytest.MonkeyPatch.context())
            patched.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        yield stack.enter_context(_offline(mode, **more))


testing_utils.offline = _offline_for_children_too


@pytest.fixture(scope="session", autouse=True)
def downloads():
    if os.environ.get("HFGET_TEST_PATCHED") == "1":
        import hfget
        from hfget import _job

        hfget.patch()
        run = _job.run

        def impatient(arguments, **more):
            # Their tests would wait for a Hub that does not come back.
            at = arguments.index("--") if "--" in arguments else len(arguments)
            return run([*arguments[:at], "--retry-for=1s", *arguments[at:]], **more)

        _job.run = impatient
    yield


@pytest.fixture(scope="session", autouse=True)
def endpoint():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(constants, "ENDPOINT", HUB.url)
        patched.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", HUB.url + "/{repo_id}/resolve/{revision}/{filename}")
        yield


@pytest.fixture(autouse=True)
def folders(monkeypatch):
    with SoftTemporaryDirectory() as home:
        for name, below in {
            "HF_HOME": "", "HF_HUB_CACHE": "hub", "HUGGINGFACE_HUB_CACHE": "hub", "HF_XET_CACHE": "xet",
            "HF_ASSETS_CACHE": "assets", "HF_TOKEN_PATH": "token", "HF_STORED_TOKENS_PATH": "stored_tokens",
        }.items():  # fmt: skip
            monkeypatch.setattr(constants, name, os.path.join(home, below))
        yield


@pytest.fixture(scope="session")
def api():
    return HfApi(endpoint=HUB.url, token=testing_constants.TOKEN)


@pytest.fixture
def repo_factory(api):
    made = []

    def make(repo_type="model", **more):
        url = api.create_repo(testing_utils.repo_name(prefix=repo_type), repo_type=repo_type, **more)
        made.append((url.repo_id, repo_type))
        return url

    yield make
    for repo_id, repo_type in made:
        api.delete_repo(repo_id, repo_type=repo_type, missing_ok=True)


class RepoFactory:
    """The name of a type that their tests import."""
