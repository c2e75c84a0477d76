"""The same admin under django-unfold."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import is_missing

ROOT = Path(__file__).parent.parent
SETTINGS = "tests.users.unfold_settings"
THE_SAME = "dressed or answer or look or superuser or refused or Measures or Schedules"

# A warning of Django 6.1 about a method that Unfold overrides, and we do not.
OF_UNFOLD = "Overriding get_action_choices"


def test_the_admin_shows_and_hides_the_same_under_unfold():
    """R-105, R-107, R-108: see tests/users/unfold_journeys.py and tests/admin."""
    if importlib.util.find_spec("unfold") is None:
        is_missing("django-unfold")
    done = subprocess.run(
        [
            sys.executable,
            *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--ds", SETTINGS),
            *("tests/users/unfold_journeys.py", "tests/admin", "-k", THE_SAME),
            *("-W", f"ignore:{OF_UNFOLD}"),
        ],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout and "skipped" not in done.stdout
