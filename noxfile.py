"""What is checked, and how to run it.

``nox`` alone checks everything that a change must pass, on the Python that runs nox. Further sessions are asked for by
name: ``nox -l`` lists them. Another Python: ``nox -s tests-3.13``, where the interpreter is found; with pyenv, whose
versions are found only when they are selected, ``PYENV_VERSION=3.11.7:3.13.0 nox -s tests-3.13``. What stands behind
``--`` goes to pytest: ``nox -s tests -- -k wire``.

If the variable PERDURE_REPORTS names a folder, each pytest run leaves a JUnit file there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_external_run = True
nox.options.reuse_existing_virtualenvs = True

TYPING = "tests/typing"
"""The tests of both type checkers: they need them, and do not depend on the Python that runs them."""

PROJECT = nox.project.load_toml("pyproject.toml")
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHONS = sorted({"3.11", "3.12", "3.13", THIS_PYTHON}, key=lambda version: tuple(map(int, version.split("."))))

nox.options.sessions = ["lint", "types", "docs", f"tests-{THIS_PYTHON}"]


def groups(*names: str) -> tuple[str, ...]:
    """Return the requirements of the dependency groups; pip below 25.1 cannot read them itself."""
    return nox.project.dependency_groups(PROJECT, *names)


def report(session: nox.Session) -> list[str]:
    """Return the option that makes pytest write its JUnit file, if a folder for it was named."""
    folder = os.environ.get("PERDURE_REPORTS")
    return [f"--junitxml={Path(folder).absolute() / session.name}.xml"] if folder else []


CANCELLATION_RULES = "ASYNC102,ASYNC103,ASYNC104,ASYNC118,ASYNC120"


def async_sources() -> list[str]:
    """Return the modules of the package that have coroutines; the checker takes half a second for each file."""
    return [str(path) for path in sorted(Path("src").rglob("*.py")) if "async " in path.read_text()]


@nox.session
def lint(session: nox.Session) -> None:
    """Style, names, imports, formatting, and cancellations that could be lost or delayed."""
    session.install(*groups("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    # Awaits in `finally` and `except` without a shield, and cancellations that are swallowed; ruff does not know these
    # rules. Its rules on checkpoints (ASYNC91x) are left out: a replayed operation has none, on purpose.
    session.run("flake8-async", "--anyio", f"--enable={CANCELLATION_RULES}", *async_sources())


@nox.session
def types(session: nox.Session) -> None:
    """Two type checkers, and the completeness of the public types of the installed package."""
    session.install(".", "nox", *groups("test", "types"))
    python = f"{session.bin}/python"
    session.run("mypy")
    # Without the interpreter's path pyright looks at the machine's own packages and misses errors.
    session.run("pyright", "--pythonpath", python)
    # Here it must find the session's interpreter on PATH: told by --pythonpath, it does not see the package.
    session.run("pyright", "--verifytypes", "perdure", "--ignoreexternal")
    session.run("pytest", *report(session), TYPING)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The test suite against the installed wheel."""
    session.install(".", *groups("test"))
    session.run("pytest", f"--ignore={TYPING}", *report(session), *session.posargs)


@nox.session
def conformance(session: nox.Session) -> None:
    """Every conformance test in every configuration of the server, on both event loops; takes half an hour."""
    session.install(".", *groups("test"))
    environment = {"PERDURE_CONFORMANCE": "full"}
    paths = ("tests/conformance", "tests/aws_lambda/test_durable_real_server.py")
    session.run("pytest", *paths, *report(session), *session.posargs, env=environment)


@nox.session
def storage(session: nox.Session) -> None:
    """The engine's store under 2,000 power cuts, 200 kills, an error in every call, and long property tests."""
    session.install(".", *groups("test"))
    environment = {"PERDURE_STORAGE": "full"}
    session.run("pytest", "tests/engine/storage", *report(session), *session.posargs, env=environment)


@nox.session
def lifecycle(session: nox.Session) -> None:
    """What the engine decides, against its naive model: 50,000 histories, and all mutants; takes an hour."""
    session.install(".", *groups("test"))
    tests = ["tests/engine/test_lifecycle_model.py", "tests/engine/test_lifecycle_mutants.py"]
    environment = {"PERDURE_EXAMPLES": "50000"}
    session.run("pytest", "-o", "timeout=0", *tests, *report(session), *session.posargs, env=environment)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation: it builds without a warning and without network, and its code runs."""
    session.install(".", *groups("docs", "test"))
    session.run("sphinx-build", "-n", "-W", "--keep-going", "-q", "-b", "html", "docs", "docs/_build/html")
    session.run("pytest", *report(session), "docs", *session.posargs)


@nox.session
def changelog(session: nox.Session) -> None:
    """What the next release would say."""
    session.install(*groups("changelog"))
    session.run("towncrier", "build", "--draft", "--version", "next")


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage of the test suite, processes started by tests included."""
    session.install(".", *groups("test"))
    environment = {"COVERAGE_PROCESS_START": str(Path("pyproject.toml").absolute())}
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs, env=environment)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def bench(session: nox.Session) -> None:
    """Every figure that perdure publishes, peers in the same run: core, journals, imports, end to end, engine.

    Give the machine to it: anything that runs beside it shows in the figures. `nox -s bench -- core` runs one of them.
    """
    session.install(".")
    for name in session.posargs or (
        "core",
        "replay",
        "import_time",
        "end_to_end",
        "engine",
        "engine_storage",
        "aws_lambda",
    ):
        session.run("python", f"benchmarks/{name}.py")


@nox.session
def exploration(session: nox.Session) -> None:
    """Ten thousand generated handler programs under random schedules, every prefix of every journal replayed; an hour.

    ``nox -s exploration -- --programs 500 --seed 3``; ``--minutes 20`` stops after that time.
    """
    session.install(".", *groups("test"))
    session.run("python", "-m", "tests.exploration", *session.posargs)


@nox.session
def mutation(session: nox.Session) -> None:
    """Small mistakes, made on purpose: how many of them the tests of wire and machine notice, and which they do not.

    A sample of 400 unless there are arguments: ``nox -s mutation -- --module machine.retry`` tries all of one module.
    """
    session.install(".", *groups("test"))
    session.run("python", "-m", "tests.mutation", *(session.posargs or ["--sample", "400"]))


WRONG_PROGRAM = """\
import trio

async def greet(name: str) -> None: ...

async def main() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(greet, 1)
"""


@nox.session(reuse_venv=False)
def trio_typing(session: nox.Session) -> None:
    """Why trio-typing is not used: installed, it hides trio's own types; with its plugin, mypy crashes.

    The session fails when one of the two is no longer so, which is a reason to think again.
    """
    folder = Path(session.create_tmp())
    program = folder / "program.py"
    program.write_text(WRONG_PROGRAM)
    with_plugin = folder / "plugin.ini"
    with_plugin.write_text("[mypy]\nplugins = trio_typing.plugin\n")
    plain = folder / "plain.ini"
    plain.write_text("[mypy]\n")

    def mypy(config: Path, *codes: int) -> str:
        options = ("--strict", "--no-incremental", f"--config-file={config}", str(program))
        output = session.run("mypy", *options, silent=True, success_codes=codes)
        assert isinstance(output, str)
        return output

    session.install(*[name for name in groups("types") if name.startswith("mypy")], "trio")
    found = 'Argument 1 to "start_soon" of "Nursery" has incompatible type'
    if found not in mypy(plain, 0, 1):
        session.error("mypy no longer finds the wrong argument with trio's own types")
    session.install("trio-typing[mypy]")
    if found in mypy(plain, 0, 1, 2):
        session.error("trio's own types are no longer hidden by an installed trio-typing")
    crashed = mypy(with_plugin, 0, 1, 2)
    if "INTERNAL ERROR" not in crashed:
        session.error(f"mypy no longer crashes with the plugin of trio-typing; it says:\n{crashed}")
    session.log("trio-typing still hides trio's own types, and its plugin still crashes mypy")
