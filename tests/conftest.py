"What several test files share."

import contextlib
import os
import tempfile

import pytest

from rlm.shell.environments import ENVIRONMENTS, why_not
from tests.mock_server import mock_server

os.environ['LITELLM_LOCAL_MODEL_COST_MAP'] = 'True'  # before LiteLLM is imported: tests fetch nothing
# Without the profiles of the person who runs the tests: they would change the plans.
os.environ.setdefault('RLM_PROFILES', os.path.join(tempfile.gettempdir(), 'rlm-tests-without-profiles'))


# The files that take longest, longest first: begun last, one of them would keep one core busy and leave the other idle.
LONG_FILES = ['attacks', 'envs', 'leaks', 'kill', 'resume', 'limits', 'bench', 'cli', 'imports', 'srlm', 'types']


def pytest_collection_modifyitems(items):
    ranks = {f'test_{name}': rank for rank, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


@pytest.fixture(scope='session')
def shared_server():
    # Imported here because it takes seconds, which must not count towards a run's time limit.
    import litellm  # noqa: F401

    with mock_server() as server:
        yield server


@pytest.fixture
def server(shared_server):
    "A mock server without latency, faults or key, as if freshly started."
    shared_server.reset()
    return shared_server


@pytest.fixture(scope='session')
def docker_settings():
    "Lets `env='docker'` run on this machine without a network; the test is skipped where no container runs."
    from rlm.base.errors import RLMError
    from tests.containers import container_settings

    with contextlib.ExitStack() as opened:
        try:
            given = opened.enter_context(container_settings(everywhere=True))
        except RLMError as error:
            pytest.skip(str(error))
        yield given


# The clouds need an account; their own tests speak to a fake.
HERE = [name for name in ENVIRONMENTS if name not in ('modal', 'e2b', 'daytona', 'prime')]


@pytest.fixture(params=HERE)
def env(request):
    "Each environment that code can run in on this machine."
    if request.param == 'docker':
        request.getfixturevalue('docker_settings')
    if problem := why_not(request.param):
        pytest.skip(problem)
    return request.param
