"""The Python that allauth's tests need: ours, and a few packages that ours does not have."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import sysconfig
import tempfile
import venv
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from tests.allauth_suite.source import CACHE

# What their tests import, and where it comes from.
NEEDED = {
    "ninja": "django-ninja>=1.3,<2",
    "openid": "python3-openid>=3.0.8,<4",
    "pytest_asyncio": "pytest-asyncio>=1.3",
}
KEPT = ("django", "django-allauth", "pytest")


def interpreter() -> str:
    """A Python with everything that is installed here, and what their tests need beside it."""
    if all(find_spec(name) for name in NEEDED):
        return sys.executable
    python = overlay() / "bin" / "python"
    if not (python.parent / "complete").exists():
        build(python)
        (python.parent / "complete").touch()
    return str(python)


def overlay() -> Path:
    """The folder of the environment on top of this one."""
    basis = "\n".join([sys.executable, sys.version, *KEPT_VERSIONS, *NEEDED.values()])
    return CACHE / f"venv-{hashlib.sha256(basis.encode()).hexdigest()[:12]}"


KEPT_VERSIONS = [f"{name}=={metadata.version(name)}" for name in KEPT]


def build(python: Path) -> None:
    """An empty environment that looks into ours as well, and the missing packages in it."""
    venv.create(python.parents[1], with_pip=False, clear=True)
    ours = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    lines = [f"import site; site.addsitedir({path!r})" for path in dict.fromkeys(ours)]
    (folder,) = python.parents[1].glob("lib/python*/site-packages")
    (folder / "ours.pth").write_text("\n".join(lines))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write("\n".join(KEPT_VERSIONS))
        constraints.flush()
        pip = [str(python), "-m", "pip", "install", "--quiet", "--constraint", constraints.name]
        subprocess.run([*pip, *NEEDED.values()], check=True)
