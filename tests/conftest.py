"What several test files share."
import pytest

from tests.mock_server import mock_server


@pytest.fixture(scope='session')
def shared_server():
    with mock_server() as server: yield server


@pytest.fixture
def server(shared_server):
    "A mock server without latency, faults or key, as if freshly started."
    shared_server.reset()
    return shared_server
