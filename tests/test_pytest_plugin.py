"""The pytest plugin, in pytest runs of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

RECORDER = """
import pytest

@pytest.fixture(autouse=True)
def record(request, restate_server):
    with open("record", "a") as file:
        print(request.node.name, restate_server.pid, sorted(restate_server.options), file=file)
"""


def record_of(pytester: pytest.Pytester) -> dict[str, tuple[str, str]]:
    """Return for each test that ran: the id of its server's process, and the names of its options."""
    lines = (pytester.path / "record").read_text().splitlines()
    return {name: (pid, options) for name, pid, options in (line.split(maxsplit=2) for line in lines)}


def run(pytester: pytest.Pytester, **modules: str) -> pytest.RunResult:
    """Run the test modules with only this plugin and anyio's."""
    pytester.makeconftest(RECORDER)
    pytester.makepyfile(**modules)
    return pytester.runpytest_subprocess("-p", "perdure.pytest_plugin", "-W", "error", "--strict-markers")


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def test_loading_the_plugin_imports_nothing_but_pytest() -> None:
    program = """
import sys, pytest
class Watch:
    def pytest_unconfigure(self):
        print("modules:", *[name for name in sys.modules if name.split(".")[0] in
              ("perdure", "anyio", "trio", "msgspec", "structlog", "hypercorn", "h11")])
pytest.main(["-p", "perdure.pytest_plugin", "--collect-only", "-q", "/dev/null"], plugins=[Watch()])
"""
    result = subprocess.run([sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, check=True)
    assert set(result.stdout.rpartition("modules:")[2].split()) == {"perdure", "perdure.pytest_plugin"}


def test_an_engine_is_opened_in_memory_and_in_virtual_time(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from perdure import Context, Endpoint, Service

        pytestmark = pytest.mark.anyio
        shop = Service("Shop")

        @shop.handler
        async def sleep_long(ctx: Context, days: int) -> str:
            await ctx.sleep(days * 86400)
            return "rested"

        async def test_days_pass(perdure_engine):
            before = perdure_engine.clock.now()
            async with perdure_engine(shop) as engine:
                assert await engine.call(sleep_long, 90) == "rested"
            assert perdure_engine.clock.now() - before >= 90 * 86400

        async def test_a_file_is_opened_again(perdure_engine, tmp_path):
            async with perdure_engine(Endpoint(shop), path=tmp_path / "shop.db", limit=5) as engine:
                with perdure_engine.clock.hold():
                    sent = await engine.send(sleep_long, 1)
            async with perdure_engine(shop, path=tmp_path / "shop.db") as engine:
                assert await engine.attach(sent.invocation_id) == "rested"
        """
    )
    plugins = ("-p", "perdure.pytest_plugin", "-p", "anyio.pytest_plugin")
    result = pytester.runpytest_subprocess(*plugins, "-W", "error", "--strict-markers")
    result.assert_outcomes(passed=4)


def test_the_marker_is_known(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("-p", "perdure.pytest_plugin", "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.restate(*options): the private restate-server of the fixture*"])


def test_the_marker_takes_no_positional_argument(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.restate(7)\ndef test_it(restate_server): pass")
    result = pytester.runpytest_subprocess("-p", "perdure.pytest_plugin")
    result.stdout.fnmatch_lines(["*the marker restate takes options by name only"])


def test_an_unknown_option_is_told_by_name(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.restate(protocol=7)\ndef test_it(restate_server): pass")
    result = pytester.runpytest_subprocess("-p", "perdure.pytest_plugin")
    result.stdout.fnmatch_lines(["*TypeError: no option of a private restate-server: protocol *"])


def test_a_server_that_cannot_be_had_is_an_error_and_no_skip(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTATE_SERVER_BIN", "/nowhere")
    pytester.makepyfile("def test_it(restate_server): pass")
    result = pytester.runpytest_subprocess("-p", "perdure.pytest_plugin")
    result.assert_outcomes(errors=1)


@pytest.mark.real_server
def test_there_is_one_server_for_each_module_and_set_of_options(pytester: pytest.Pytester) -> None:
    module = """
import pytest

def test_a(): pass

@pytest.mark.restate(protocol_v7=True)
def test_b(): pass

@pytest.mark.restate(protocol_v7=True)
class TestClass:
    def test_c(self): pass

def test_d(): pass

@pytest.mark.parametrize("restate_server", [{}, {"lazy_state": True}], indirect=True, ids=["eager", "lazy"])
def test_e(): pass
"""
    run(pytester, test_one=module).assert_outcomes(passed=6)
    record = record_of(pytester)
    servers = {name.partition("[")[0]: pid for name, (pid, _) in record.items() if name != "test_e[lazy]"}
    assert servers["test_a"] == servers["test_d"] == servers["test_e"]
    assert servers["test_b"] == servers["test_c"] != servers["test_a"]
    assert record["test_b[protocol_v7]"][1] == "['protocol_v7']"
    assert record["test_e[lazy]"] == (record["test_e[lazy]"][0], "['lazy_state']")
    assert len({pid for pid, _ in record.values()}) == 3


@pytest.mark.real_server
def test_servers_end_with_their_module(pytester: pytest.Pytester) -> None:
    after = """
import os, pathlib, pytest

pytestmark = pytest.mark.restate(partitions=1)

def test_later(restate_server):
    before = int(pathlib.Path("record").read_text().split()[1])
    assert before != restate_server.pid
    assert not pathlib.Path(f"/proc/{before}").exists()
    assert restate_server.options == {"partitions": 1}
"""
    run(pytester, test_1="def test_first(): pass", test_2=after).assert_outcomes(passed=2)


@pytest.mark.real_server
def test_a_fixture_of_the_module_may_use_the_server(pytester: pytest.Pytester) -> None:
    module = """
import pytest

@pytest.fixture(scope="module")
def prepared(restate_server):
    return restate_server.query("SELECT 1 AS a")

@pytest.mark.restate(partitions=1)
@pytest.mark.parametrize("number", range(2))
def test_it(prepared, number):
    assert prepared == [{"a": 1}]
"""
    run(pytester, test_one=module).assert_outcomes(passed=2)
