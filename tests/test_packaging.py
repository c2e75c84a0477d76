"""What a user gets from the index: a wheel with everything that runs, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import recovery_backend

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(
    not (ROOT / "Makefile").exists(), reason="these are about a checkout, and this is none"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with wheel and sdist, built with what is installed: nothing is downloaded."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def wheel(built):
    (file,) = built.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        yield archive


@pytest.fixture
def sdist(built):
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        yield {name.partition("/")[2] for name in archive.getnames()}


def test_the_wheel_holds_the_whole_package(wheel):
    packages = [ROOT / "recovery_backend", *(ROOT / "integrations").glob("recovery_backend_*")]
    wanted = {
        str(file.relative_to(package.parent))
        for package in packages
        for file in package.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {
        "recovery_backend/py.typed",
        "recovery_backend/migrations/0001_initial.py",
        "recovery_backend/static/recovery_backend/recovery.css",
        "recovery_backend/templates/recovery_backend/login.html",
        "recovery_backend/templates/recovery_backend/email/code_used_message.txt",
    } <= wanted
    assert wanted <= set(wheel.namelist())


def test_the_wheel_holds_nothing_else(wheel):
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {
        "recovery_backend",
        "recovery_backend_allauth",
        "recovery_backend_api",
        f"django_recovery_backend-{recovery_backend.__version__}.dist-info",
    }


def test_the_wheel_says_what_it_is(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = wheel.read(name).decode()
    assert f"Version: {recovery_backend.__version__}\n" in metadata
    assert "Name: django-recovery-backend\n" in metadata
    assert "Requires-Python: >=3.11\n" in metadata
    assert "License-Expression: MIT\n" in metadata


def test_the_sdist_can_be_tested_and_read(sdist):
    assert {"tests/conftest.py", "docs/index.md", "LICENSE", "README.md", "SECURITY.md"} <= sdist
    assert not any(name.startswith((".venv", "example_site/var")) for name in sdist)
