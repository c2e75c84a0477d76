"""allauth's tests, out of the source distribution of the version that is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("ALLAUTH_SUITE_CACHE") or ROOT / ".cache" / "allauth_suite")
# Not `allauth` itself: what is tested is the installed package.
KEPT = ("tests", "pytest.ini")


def version() -> str:
    """The version of django-allauth that is installed."""
    return metadata.version("django-allauth")


def suite_of(number: str) -> Path:
    """The folder with the tests of this version. It is downloaded once."""
    folder = CACHE / f"django-allauth-{number}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            fetch(number, Path(work))
            unpack(Path(work), folder)
    return folder


def fetch(number: str, folder: Path) -> None:
    """Put the source distribution into this folder."""
    chosen = ("--no-deps", "--no-binary", "django-allauth", f"django-allauth=={number}")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), *chosen]
    subprocess.run(command, check=True)


def unpack(work: Path, folder: Path) -> None:
    """Unpack what was fetched, so that `folder` is complete as soon as it exists."""
    (archive,) = work.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(work / "all", filter="data")
    (unpacked,) = (work / "all").iterdir()
    (work / "kept").mkdir()
    for name in KEPT:
        shutil.move(unpacked / name, work / "kept" / name)
    (work / "kept").rename(folder)
