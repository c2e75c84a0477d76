"""`make matrix`: the suite against the built wheel, on every Python and Django that is here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False

DJANGO = {"3.11": ("5.2",), "3.12": ("5.2", "6.0", "6.1"), "3.13": ("5.2", "6.0", "6.1")}
CELLS = [(python, django) for python, versions in DJANGO.items() for django in versions]
PROJECT = nox.project.load_toml("pyproject.toml")


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
    folder = Path(session.create_tmp())
    wheels = folder / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    session.install("build", "hatchling")
    session.run(
        "python", "-m", "build", "--no-isolation", "--wheel", "--outdir", str(wheels), silent=True
    )
    (wheel,) = wheels.glob("*.whl")
    groups = nox.project.dependency_groups(PROJECT, "test")
    session.install("--constraint", "constraints.txt", str(wheel), *groups, f"Django~={django}.0")
    suite = folder / "suite"
    shutil.rmtree(suite, ignore_errors=True)
    shutil.copytree("tests", suite / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy("pyproject.toml", suite)
    session.chdir(suite)
    session.run("python", "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", *session.posargs)
