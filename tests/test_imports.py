"""`import_recovery_codes`: what each source needs. What it does is in tests/imports."""

from __future__ import annotations

import glob
import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError

import recovery_backend
from recovery_backend.imports import APPS
from tests.conftest import is_missing
from tests.imports.command import run

ROOT = Path(__file__).parent.parent
DATABASE = os.environ.get("TEST_DATABASE", "sqlite")
# One for each database, whose tests may run at the same time.
CACHE = ROOT / ".cache" / "django_auth_recovery_codes" / DATABASE


@pytest.mark.parametrize("source", APPS)
def test_a_source_that_is_not_installed_is_named(source, db):
    with pytest.raises(CommandError) as caught:
        run(source)
    said = str(caught.value)
    assert f'--from {source} needs "{APPS[source]}" in INSTALLED_APPS' in said
    assert ("pip install" in said) == (source == "allauth")


def test_so_is_a_site_where_no_code_would_work(db, settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "off"
    with pytest.raises(CommandError, match="LOGIN_MODE"):
        run("django-otp")


def test_and_a_missing_key(db, settings):
    """R-18"""
    settings.DJANGO_AUTH_RECOVERY_KEY = ""
    with pytest.raises(ImproperlyConfigured, match="DJANGO_AUTH_RECOVERY_KEY"):
        run("django-otp")


def test_an_unknown_source_is_refused(db):
    with pytest.raises(CommandError, match="invalid choice"):
        run("nowhere")


@pytest.mark.services
def test_tokens_of_django_otp():
    """See tests/imports/otp_journeys.py."""
    if importlib.util.find_spec("django_otp") is None:
        is_missing("django-otp")
    journeys(sys.executable, "otp")


def test_tokens_of_django_otp_at_the_second_step_of_allauth():
    """See tests/imports/step_journeys.py."""
    for name in ("django_otp", "allauth"):
        if importlib.util.find_spec(name) is None:
            is_missing(name)
    journeys(sys.executable, "step")


@pytest.mark.services
def test_codes_of_django_auth_recovery_codes(tmp_path):
    """See tests/imports/keyed_journeys.py.

    In an environment of its own: what it needs allows no Django 6, and no Python 3.11 can read it.
    """
    (tmp_path / "recovery_backend").symlink_to(Path(recovery_backend.__file__).parent)
    journeys(own_environment(), "keyed", PYTHONPATH=str(tmp_path))


def journeys(python, name, **environment):
    """Run the tests of one source; on a service, those alone that are marked so."""
    marked = [] if DATABASE == "sqlite" else ["-m", "services", "--create-db"]
    done = subprocess.run(
        [
            *(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"),
            *("--ds", f"tests.imports.{name}_settings", f"tests/imports/{name}_journeys.py"),
            *marked,
        ],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout


def own_environment():
    """The Python of an environment with that package, made once."""
    python, note = CACHE / "bin" / "python", CACHE / "installed"
    if note.exists():
        return python
    shutil.rmtree(CACHE, ignore_errors=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    wanted = [*project["project"]["dependencies"], *groups["imports"], *groups.get(DATABASE, [])]
    constraints = ROOT / "constraints.txt"
    limits = ["--constraint", constraints] if constraints.exists() else []
    subprocess.run([newer_python(), "-m", "venv", CACHE], check=True, capture_output=True)
    install = [python, "-m", "pip", "install", "--quiet", *limits, *wanted]
    if subprocess.run(install, capture_output=True).returncode:
        is_missing("django-auth-recovery-codes, or a way to install it,")
    note.touch()
    return python


def newer_python():
    """A Python that can read the package: 3.12 or 3.13."""
    root = os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")
    on_path = [shutil.which(name) for name in ("python3.12", "python3.13")]
    of_pyenv = glob.glob(f"{root}/versions/3.1[23].*/bin/python")
    for python in filter(None, [sys.executable, *of_pyenv, *on_path]):
        asked = "import sys, venv; sys.exit(sys.version_info[:2] not in {(3, 12), (3, 13)})"
        if subprocess.run([python, "-c", asked], capture_output=True).returncode == 0:
            return python
    return is_missing("Python 3.12 or 3.13")
