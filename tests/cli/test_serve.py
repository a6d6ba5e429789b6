"""``perdure serve`` as a user meets it."""

from __future__ import annotations

import argparse
import signal
import socket

import pytest

from perdure.cli import main
from perdure.cli.serve import add_arguments
from tests.http2 import connect
from tests.server.processes import serve_process

APP = "tests.server.applications:app"


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([APP, *arguments])


def test_the_defaults_are_asyncio_and_the_port_restate_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORT", raising=False)
    chosen = parse()
    assert (chosen.backend, chosen.host, chosen.port, chosen.log_level) == ("asyncio", "127.0.0.1", 9080, "info")


def test_the_port_comes_from_the_environment_unless_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1234")
    assert parse().port == 1234
    assert parse("--port", "4321").port == 4321


@pytest.mark.parametrize(
    "arguments", [["--port", "http"], ["--port", "65536"], ["--drain-timeout", "-1"], ["--backend", "curio"]]
)
def test_arguments_that_make_no_sense_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        parse(*arguments)
    assert exit_info.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_the_help_says_why_asyncio_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    assert "1.6 times" in " ".join(capsys.readouterr().out.split())


def test_an_application_that_is_not_there_is_a_line_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "no_such_module_anywhere:app"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("perdure serve: no_such_module_anywhere:app: there is no module")
    assert err.count("\n") == 1


@pytest.mark.anyio
async def test_one_line_says_what_was_chosen(anyio_backend: str) -> None:
    async with serve_process(APP, "--backend", anyio_backend) as server:
        await server.started()
        assert server.announcement.startswith(f"perdure serves http://127.0.0.1:{server.port} on {anyio_backend} (")
        assert "drain 10 s" in server.announcement
        async with connect(server.port) as client:
            client.send(stream := client.request("/echo"), b"x", end=True)
            assert (await client.answer(stream)).body == b"x"
        server.signal(signal.SIGTERM)
        assert await server.exit_code() == 0


@pytest.mark.anyio
async def test_a_taken_port_is_a_line_and_an_exit_code(anyio_backend: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with serve_process(APP, "--backend", anyio_backend, port=port) as server:
            assert await server.exit_code() == 1
            assert server.stderr.startswith(f"perdure serve: cannot listen on 127.0.0.1:{port}: the port is taken")
            assert server.stderr.count("\n") == 1


@pytest.mark.anyio
async def test_a_lifespan_that_fails_is_a_line_and_an_exit_code(anyio_backend: str) -> None:
    async with serve_process("tests.server.applications:failing", "--backend", anyio_backend) as server:
        assert await server.exit_code() == 1
        assert server.stderr == "perdure serve: the application could not start: no database\n"


@pytest.mark.anyio
async def test_what_is_logged_is_chosen(anyio_backend: str) -> None:
    async with serve_process(APP, "--backend", anyio_backend, "--log-level", "error") as server:
        await server.started()
        server.signal(signal.SIGTERM)
        assert await server.exit_code() == 0
        assert server.stderr == ""
