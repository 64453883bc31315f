"What several test files share."
import os

import pytest

from tests.mock_server import mock_server

os.environ['LITELLM_LOCAL_MODEL_COST_MAP'] = 'True'  # before LiteLLM is imported: tests fetch nothing


@pytest.fixture(scope='session')
def shared_server():
    with mock_server() as server: yield server


@pytest.fixture
def server(shared_server):
    "A mock server without latency, faults or key, as if freshly started."
    shared_server.reset()
    return shared_server
