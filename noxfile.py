"""`make matrix`: the suite against the built wheel, on every Python, Django and allauth that is here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.options.default_venv_backend = "virtualenv"
# A Python that is not here is left out, and named; or an error, also with nox's option for it.
nox.options.error_on_missing_interpreters = os.environ.get("REQUIRE_SERVICES") == "1"

DJANGO = {"3.11": ("5.2",), "3.12": ("5.2", "6.0", "6.1"), "3.13": ("5.2", "6.0", "6.1")}
CELLS = [(python, django) for python, versions in DJANGO.items() for django in versions]
PROJECT = nox.project.load_toml("pyproject.toml")
(SUPPORTED,) = PROJECT["project"]["optional-dependencies"]["allauth"]
# The oldest allauth that is supported, and the newest that the suite was run with.
ALLAUTH = (f"=={SUPPORTED.partition('>=')[2]}", "")
ALLAUTH_CELLS = [("3.11", "5.2"), ("3.12", "6.1")]


def use_every_pyenv_version() -> None:
    """pyenv's `python3.12` runs only while a 3.12 is among the versions that it was told."""
    if "PYENV_VERSION" in os.environ or not shutil.which("pyenv"):
        return
    listed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True)
    wanted = [name for name in listed.stdout.split() if name.startswith(tuple(DJANGO))]
    os.environ["PYENV_VERSION"] = ":".join(wanted)


use_every_pyenv_version()


@nox.session
@nox.parametrize("python,django", CELLS)
def tests(session: nox.Session, django: str) -> None:
    """The suite in an empty folder, so that only the installed wheel can be imported."""
    install(session, f"Django~={django}.0")
    run_suite(session, *session.posargs)
    run_suite(session, "--ds", "tests.with_api.plain_settings", "tests/with_api")


@nox.session
@nox.parametrize("allauth", ALLAUTH)
@nox.parametrize("python,django", ALLAUTH_CELLS)
def with_allauth(session: nox.Session, django: str, allauth: str) -> None:
    """Our tests of the integration, and allauth's own tests with it installed, in both modes."""
    install(session, f"Django~={django}.0", f"django-allauth{allauth}")
    run_suite(session, "--ds", "tests.with_allauth.settings", "tests/with_allauth")
    run_suite(session, "--ds", "tests.with_api.settings", "tests/with_api")
    session.env["ALLAUTH_SUITE_CACHE"] = str(Path(__file__).parent / ".cache" / "allauth_suite")
    session.run("python", "-m", "tests.allauth_suite")
    session.run("python", "-m", "tests.allauth_suite", "--conformance")


def install(session: nox.Session, *versions: str) -> None:
    """Install the wheel and what its tests need, and go to a folder with nothing but the tests."""
    folder = Path(session.create_tmp())
    wheels = folder / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    session.install("build", "hatchling", "pip")
    session.run(
        "python", "-m", "build", "--no-isolation", "--wheel", "--outdir", str(wheels), silent=True
    )
    (wheel,) = wheels.glob("*.whl")
    groups = nox.project.dependency_groups(PROJECT, "test")
    session.install("--constraint", "constraints.txt", str(wheel), *groups, *versions)
    suite = folder / "suite"
    shutil.rmtree(suite, ignore_errors=True)
    shutil.copytree("tests", suite / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy("pyproject.toml", suite)
    session.chdir(suite)


def run_suite(session: nox.Session, *arguments: str) -> None:
    session.run("python", "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", *arguments)
