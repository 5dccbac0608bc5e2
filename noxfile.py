"""Every task as a nox session. Arguments after `--` reach the command line: `nox -s verify -- --table 2`."""

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["tests"]


def install(session: nox.Session) -> None:
    """The locked environment, then the package itself in place, so that `tables/` is this checkout's."""
    # Where this is set, every process compiles all that torch imports again: 10 s each.
    session.env["PYTHONDONTWRITEBYTECODE"] = None
    session.install("--require-hashes", "-r", "requirements.lock")
    session.install("--no-deps", "-e", ".")


@nox.session
def reproduce(session: nox.Session) -> None:
    """Reproduce a table: `nox -s reproduce -- --table 2`."""
    install(session)
    session.run("repro", "reproduce", *session.posargs)


@nox.session(name="reproduce-table2")
def reproduce_table2(session: nox.Session) -> None:
    """Table 2 of the paper, beside what this machine measures."""
    install(session)
    session.run("repro", "reproduce", "--table", "2", *session.posargs)


@nox.session
def verify(session: nox.Session) -> None:
    """Compare what was measured with what was published; exit 1 names the cells that are off."""
    install(session)
    session.run("repro", "verify", *session.posargs)


@nox.session
def complexity(session: nox.Session) -> None:
    """Count parameters and operations of the full-size networks beside the published cells."""
    install(session)
    session.run("repro", "complexity", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite, two single-threaded processes side by side."""
    install(session)
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    session.run("pytest", *(session.posargs or ["-n", "2", "--dist", "worksteal"]), env=threads)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting."""
    install(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
