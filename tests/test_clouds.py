"""The cloud adapters without a cloud: with stand-ins of the SDKs, with their signatures, e2b's SDK with an imitation.

None of this shows that a real service behaves as expected.
"""

import importlib.metadata
import json
import sys

import pytest

from rlm.shell.isolation import clouds
from rlm.shell.environments import open_shell
from rlm.base.errors import BadInput, RLMError
from rlm.tools import Answer
from tests import cloud_sdks
from tests.cloud_sdks import CALLS, PACKAGES, SNAPSHOT, STAND_INS, StandIn, signature

KNOWN = json.loads(SNAPSHOT.read_text())
STUCK = 'import re; re.match(r"(a|aa)+$", "a" * 60 + "b")'  # holds the interpreter


@pytest.fixture(params=list(STAND_INS))
def cloud(request, monkeypatch, tmp_path):
    "A provider's name, and the stand-in of its SDK."
    standing = StandIn()
    module = STAND_INS[request.param](standing)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(clouds.CloudTransport, 'why_not', classmethod(lambda cls: None))
    monkeypatch.setattr(clouds, '_FOLDER', str(tmp_path))
    return request.param, standing


def shell_in(cloud, context='Sing, goddess', **settings):
    return open_shell(cloud[0], context, python=sys.executable, timeout=60, **settings)


def test_cells_run_and_the_sandbox_is_removed(cloud):
    async def subcalls(kind, prompts, model, contexts):
        return [prompt.upper() for prompt in prompts]

    def double(number):
        return 2 * number

    with shell_in(cloud, 'caf\u00e9 \U0001f600\r\n\ud800', subcalls=subcalls, tools=dict(double=double)) as shell:
        cell = shell.run('print(context, double(21)); llm_query_batched(["a", "b"])')
        assert (cell.stdout, cell.value, cell.error) == ('caf\u00e9 \U0001f600\r\n\ud800 42\n', "['A', 'B']", None)
        assert shell.run('llm_query = 1').was_refused and shell.run('callable(llm_query)').value == 'True'
        assert '1/0' in shell.run('1/0').error
        assert shell.run('FINAL({"rows": (1, 2)})').final == Answer({'rows': (1, 2)}, 'FINAL')
    assert cloud[1].removed == 1


def test_a_large_context_and_a_large_output_cross(cloud, tmp_path):
    context = 'one line, \u00e9\r\n' * 200_000
    with shell_in(cloud, context) as shell:
        assert shell.run('len(context)').value == str(len(context))
        assert len(shell.run('print("x" * 1_000_000)').stdout) == 1_000_001
        shell['more'] = 'y' * 500_000
        assert shell.run('len(more)').value == '500000'


def test_a_stuck_cell_costs_the_sandbox_and_not_the_run(cloud):
    with shell_in(cloud) as shell:
        shell.grace = 60  # of a busy machine
        shell.run('kept = 1')
        assert 'variables are kept' in shell.run('import time; time.sleep(1000)', timeout=0.5).error
        assert shell.run('kept').value == '1'
        shell.grace = 1
        assert 'lost' in shell.run(STUCK, timeout=0.5).error
        assert shell.run('len(context)').value == '13'
    assert cloud[1].removed == 2


def test_a_worker_that_dies_is_seen(cloud):
    with shell_in(cloud) as shell:
        assert 'the process of the REPL ended' in shell.run('import os; os._exit(3)').error
        assert shell.run('len(context)').value == '13'


def test_what_the_provider_refuses_is_one_sentence(cloud):
    name, standing = cloud
    standing.fail = dict(
        modal='Sandbox.create',
        e2b='AsyncSandbox.create',
        daytona='AsyncDaytona.create',
        prime='AsyncSandboxClient.create',
    )[name]
    with (
        shell_in(cloud) as shell,
        pytest.raises(RLMError, match=f'The {name} sandbox cannot be started.*the quota is used up') as error,
    ):
        shell.run('1')
    assert '\n' not in str(error.value) and standing.removed == 0


def test_a_sandbox_that_takes_no_files_is_removed(cloud):
    name, standing = cloud
    standing.fail = dict(modal='write_bytes', e2b='Filesystem.write', daytona='upload_file', prime='upload_bytes')[name]
    with shell_in(cloud) as shell, pytest.raises(RLMError, match='quota'):
        shell.run('1')
    assert standing.removed == len([call for call, _, _ in standing.calls if call.endswith(standing.fail)]) > 0


def test_an_image_without_python_is_one_sentence(cloud):
    with (
        open_shell(cloud[0], 'x', python='/no/python') as shell,
        pytest.raises(RLMError, match='cannot be started|did not start'),
    ):
        shell.run('1')


def calls_made(cloud):
    "Every kind of call that an adapter makes."
    with shell_in(cloud, 'x' * 200_000) as shell:
        shell.run('1')
    with shell_in(cloud, image='an-image', network=True, lifetime=600) as shell:
        shell.run('1')
    return cloud[1].calls


def test_the_calls_fit_the_signatures_that_were_written_down(cloud):
    name, calls = cloud[0], calls_made(cloud)
    for call, args, kwargs in calls:
        signature(KNOWN[name]['calls'][call]).bind(*args, **kwargs)
    unseen = {
        'e2b.sandbox_async.commands.command_handle:AsyncCommandHandle.wait',
        'modal.io_streams:StreamWriter.drain',
    }  # they take nothing
    assert {call for call, _, _ in calls} == set(CALLS[name]) - unseen
    assert all(len(KNOWN[name]['calls'][call]) == 1 for call in unseen & set(CALLS[name]))


def test_the_network_is_closed_unless_it_is_asked_for(cloud):
    name, calls = cloud[0], calls_made(cloud)
    closed = dict(
        modal=('block_network', True),
        e2b=('allow_internet_access', False),
        daytona=('network_block_all', True),
        prime=('network_denylist', ['*']),
    )[name]
    made = [
        kwargs
        for _, _, kwargs in calls
        if {'block_network', 'allow_internet_access', 'network_block_all', 'timeout_minutes'} & set(kwargs)
    ]
    assert [kwargs.get(closed[0]) == closed[1] for kwargs in made] == [True, False]


@pytest.mark.parametrize('name', list(CALLS))
def test_the_calls_fit_the_sdk_that_is_installed(name):
    try:
        found = cloud_sdks.installed(name)
    except (importlib.metadata.PackageNotFoundError, ImportError):
        pytest.skip(f'{PACKAGES[name]} is not installed')
    # What a newer SDK adds does not matter; what the adapters use must be there, and nothing more be wanted.
    for call, listed in KNOWN[name]['calls'].items():
        new = {parameter: optional for parameter, _, optional in found['calls'][call]}
        assert all(parameter in new for parameter, kind, _ in listed if kind != 'VAR_KEYWORD'), call
        assert all(
            optional or kind.startswith('VAR') or [parameter, kind, False] in listed
            for parameter, kind, optional in found['calls'][call]
        ), call


@pytest.fixture
def e2b(monkeypatch, tmp_path):
    "e2b's own SDK, and an imitation of its service."
    pytest.importorskip('e2b', reason='e2b is not installed')
    from tests.e2b_server import e2b_server

    with e2b_server() as (server, address):
        for name, value in dict(
            E2B_API_URL=address, E2B_SANDBOX_URL=address, E2B_API_KEY='test', E2B_HTTP_VERSION='1.1'
        ).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(clouds, '_FOLDER', str(tmp_path))
        yield server


def test_the_sdk_of_e2b_against_an_imitation(e2b):
    async def subcalls(kind, prompts, model, contexts):
        return [prompt.upper() for prompt in prompts]

    with open_shell(
        'e2b', 'one line, \u00e9\r\n' * 200_000, python=sys.executable, subcalls=subcalls, timeout=60
    ) as shell:
        assert shell.run('len(context)').value == '2600000'
        assert shell.run('llm_query_batched(["a", "b"])').value == "['A', 'B']"
        assert len(shell.run('print("x" * 1_000_000)').stdout) == 1_000_001
        assert 'lost' in shell.run(STUCK, timeout=0.5).error
        assert shell.run('context[:8]').value == "'one line'"
        (asked,) = e2b.sandboxes.values()
        assert (asked['allow_internet_access'], asked['timeout']) == (False, 3600)
    assert not e2b.sandboxes and len(e2b.killed) == 2


def test_a_wrong_key_is_one_sentence(e2b, monkeypatch):
    monkeypatch.setenv('E2B_API_KEY', 'e2b_wrong_key_0123456789')
    with open_shell('e2b', 'x') as shell, pytest.raises(RLMError, match='cannot be started') as error:
        shell.run('1')
    assert 'e2b_wrong_key' not in str(error.value)


def test_without_the_sdk_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(clouds.importlib.util, 'find_spec', lambda name: None)
    for name in STAND_INS:
        with pytest.raises(BadInput, match=f'pip install "rlm.{name}.'), open_shell(name, 'x') as shell:
            shell.run('1')
