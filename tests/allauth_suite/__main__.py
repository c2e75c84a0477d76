"""`python -m tests.allauth_suite`: allauth's own tests, of the installed version, with our apps on.

With `--conformance` they drive our tables: each list of codes that they make is adopted at once.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from tests.allauth_suite.environment import interpreter
from tests.allauth_suite.source import CACHE, suite_of, version

# Nothing but this folder and the installed packages: their tests are a package `tests` too.
SITE = Path(__file__).parent / "site"
APPS = ("mfa", "headless", "account", "core", "usersessions")
# How many pass beside our apps, and on our tables. Another number means that some were not run.
PASSING = {"65.19.3": (711, 709), "65.21.1": (807, 804)}
AT_LEAST = 700  # in any other version
PYTEST = ("--quiet", "--tb=short", "-p", "no:cacheprovider", "-W", "ignore", "-n", "2")
ADOPTING = ("--ds", "adopting_settings", "-p", "conformance")
BESIDE = ("--ds", "beside_settings")


class Counts(NamedTuple):
    """How many tests ran, and what became of them."""

    passed: int
    failed: int
    skipped: int  # the known failures of the conformance mode are among these


def counted(report: Path) -> Counts:
    """The counts of a JUnit report, in which each subtest is a test case of the same name."""
    found: dict[tuple[str, str], set[str]] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):  # noqa: S314  # our own file
        name = (case.attrib["classname"], case.attrib["name"])
        found.setdefault(name, set()).update(child.tag for child in case)
    failed = sum(bool(tags & {"failure", "error"}) for tags in found.values())
    skipped = sum("skipped" in tags for tags in found.values())
    return Counts(len(found) - failed - skipped, failed, skipped)


def run(mode: tuple[str, ...], extra: list[str]) -> tuple[int, Counts]:
    """Their tests in this mode: pytest's exit code, and the counts."""
    folder = suite_of(version())
    report = CACHE / f"report-{os.getpid()}.xml"
    paths = [f"tests/apps/{app}" for app in APPS]
    command = [interpreter(), "-m", "pytest", *PYTEST, f"--junitxml={report}", *mode, *paths]
    environment = {**os.environ, "PYTHONPATH": str(SITE)}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run([*command, *extra], cwd=folder, env=environment)
    try:
        return done.returncode, counted(report) if report.exists() else Counts(0, 0, 0)
    finally:
        report.unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.allauth_suite", description=__doc__)
    parser.add_argument("--conformance", action="store_true", help="their tests drive our tables")
    options, extra = parser.parse_known_args()
    code, counts = run(ADOPTING if options.conformance else BESIDE, extra)
    mode = "on our tables" if options.conformance else "beside our apps"
    print(
        f"allauth {version()} {mode}: {counts.passed} passed, {counts.failed} failed, "
        f"{counts.skipped} skipped or known to fail",
        flush=True,
    )
    if not code and not extra and (wrong := miscounted(counts.passed, options.conformance)):
        print(f"ERROR: {wrong}", flush=True)
        return 1
    return code


def miscounted(passed: int, is_conformance: bool) -> str:
    """What is wrong with this number of tests, or nothing."""
    if version() not in PASSING:
        return "" if passed >= AT_LEAST else f"fewer than {AT_LEAST} tests"
    expected = PASSING[version()][is_conformance]
    return "" if passed == expected else f"{expected} tests of this version should have passed"


if __name__ == "__main__":
    sys.exit(main())
