"""Finding the application that a command names."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.cli.application import load_application
from perdure.exceptions import UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


APP = "async def app(scope, receive, send): ...\n"


def test_an_application_is_found_in_the_current_folder(folder: Path) -> None:
    (folder / "shop_found.py").write_text(APP)
    assert load_application("shop_found:app").__name__ == "app"


def test_the_name_is_app_when_left_out(folder: Path) -> None:
    (folder / "shop_default.py").write_text(APP)
    assert load_application("shop_default") is load_application("shop_default:app")


def test_the_name_may_have_dots(folder: Path) -> None:
    (folder / "shop_dotted.py").write_text(
        "class site:\n    @staticmethod\n    async def app(scope, receive, send): ...\n"
    )
    assert callable(load_application("shop_dotted:site.app"))


def test_objects_and_partials_that_can_be_called_are_applications(folder: Path) -> None:
    (folder / "shop_objects.py").write_text(
        "import functools\n"
        "class App:\n    async def __call__(self, scope, receive, send): ...\n"
        "app = App()\n"
        "async def four(pool, scope, receive, send): ...\n"
        "partial = functools.partial(four, None)\n"
    )
    assert callable(load_application("shop_objects:app"))
    assert isinstance(load_application("shop_objects:partial"), functools.partial)


@pytest.mark.parametrize(
    ("source", "path", "message"),
    [
        ("", "shop_nowhere:app", r"shop_nowhere:app: there is no module shop_nowhere, neither installed nor in .*"),
        ("", "shop_bad.deeper:app", r"shop_bad\.deeper:app: there is no module shop_bad\.deeper, .*"),
        ("", "shop_bad:app", r"shop_bad:app: shop_bad has no app; write module:name"),
        ("", "shop-bad:app", r"shop-bad:app: 'shop-bad' is no name of a module; write module:name"),
        ("", ":app", r":app: '' is no name of a module; write module:name"),
        (
            "x = 1\n1 / 0\n",
            "shop_bad:app",
            r".*importing it failed: ZeroDivisionError: division by zero \(.*shop_bad\.py:2\)",
        ),
        ("def f(:\n", "shop_bad:app", r".*importing it failed: SyntaxError: invalid syntax \(.*shop_bad\.py:1\)"),
        (
            "import no_such_library\n",
            "shop_bad:app",
            r".*importing it failed: ModuleNotFoundError: .*no_such_library.*:1\)",
        ),
        ("raise SystemExit(3)\n", "shop_bad:app", r".*importing it failed: SystemExit: 3 \(.*:1\)"),
        ("app = 3\n", "shop_bad:app", r"shop_bad:app is no ASGI application but an object of type int"),
        ("class app: ...\n", "shop_bad:app", r"shop_bad:app is no ASGI application but the class app"),
        (
            "def app(environ, start): ...\n",
            "shop_bad:app",
            r".*cannot be called with \(scope, receive, send\); WSGI is .*",
        ),
        (
            "import perdure\napp = perdure.Service('S')\n",
            "shop_bad:app",
            r".*is a Service, which an endpoint serves: .*",
        ),
        ("def app(): ...\n", "shop_bad:app", r".*cannot be called with \(scope, receive, send\)"),
    ],
)
def test_what_is_no_application_is_told_in_a_line(folder: Path, source: str, path: str, message: str) -> None:
    (folder / "shop_bad.py").write_text(source)
    with pytest.raises(UsageError, match=rf"^{message}$"):
        load_application(path)
