"""What the docs say is so: derived pages are in step, examples run, links lead somewhere."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from recovery_backend.audit import LEVELS, Event, Reason
from recovery_backend.keys import generate_key

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
pytestmark = pytest.mark.skipif(
    not (ROOT / "Makefile").exists(), reason="these are about a checkout, and this is none"
)

MACHINE = re.compile(
    rb"pypi\.org|pythonhosted\.|npmjs\.|deb\.debian\.|(?<![\w.])/(?:work|root|home|opt)/\w"
)


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name, language="python"):
    return re.findall(rf"^```{language}\n(.*?)^```", text(name), re.DOTALL | re.MULTILINE)


def first_cells(name):
    """The first cell of each table row, without its quotes."""
    return set(re.findall(r"^\| `?([^`|]+?)`? \|", text(name), re.MULTILINE))


def slugs(page):
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_settings_page_is_the_table():
    spec = importlib.util.spec_from_file_location("make_settings", ROOT / "docs/make_settings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert text("docs/settings.md") == module.page(), "run `make docs`"


CHECKS = {
    "recovery_backend": "recovery_backend/checks.py",
    "recovery_backend_allauth": "integrations/recovery_backend_allauth/checks/*.py",
    "recovery_backend_api_keys": "integrations/recovery_backend_api/keys/checks.py",
}


def ids_of_checks(app):
    source = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob(CHECKS[app]))
    made = re.findall(r"\b_?(error|warning)[(,]\s*(\d+)", source)
    return {f"{app}.{kind[0].upper()}{int(number):03}" for kind, number in made}


def test_every_check_is_documented_and_no_other():
    ids = set().union(*map(ids_of_checks, CHECKS))
    assert {f"recovery_backend.{name}" for name in ("E001", "W001", "W030")} <= ids
    assert {f"recovery_backend_allauth.{name}" for name in ("E001", "W012")} <= ids
    assert {cell for cell in first_cells("docs/checks.md") if "." in cell} == ids


def test_every_event_is_documented_with_its_level():
    rows = dict(re.findall(r"^\| `(recovery\.[\w.]+)` \| (\w+) \|", text("docs/audit.md"), re.M))
    levels = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
    assert rows == {event.value: levels[LEVELS.get(event, 20)] for event in Event}


def test_every_reason_is_documented():
    section = text("docs/audit.md").partition("## Reasons")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.M)) == set(Reason.values)


def test_every_requirement_that_is_named_is_explained():
    sources = [*ROOT.glob("recovery_backend/**/*.py"), *ROOT.glob("tests/**/*.py")]
    named = {
        number
        for source in sources
        for number in re.findall(r"\bR-\d{2,3}\b", source.read_text(encoding="utf-8"))
    }
    assert named <= first_cells("SECURITY.md")


def places_of_requirements():
    """Each requirement with the name of each test module, or folder, that its row points to."""
    rows = re.findall(r"^\| (R-\d+) \|.*\| ([^|]+) \|$", text("SECURITY.md"), re.MULTILINE)
    return [(number, name) for number, names in rows for name in names.split(", ")]


def sources_of(name):
    path = ROOT / "tests" / name
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def test_tests_that_requirements_point_to_exist():
    places = places_of_requirements()
    assert places
    assert [name for _, name in places if not all(map(Path.exists, sources_of(name)))] == []


def test_tests_that_requirements_point_to_name_them():
    """In a docstring or a comment, so that who reads the row finds the test."""
    named = {
        name: {
            number
            for source in sources_of(name)
            for number in re.findall(r"\bR-\d+\b", source.read_text(encoding="utf-8"))
        }
        for _, name in places_of_requirements()
    }
    assert [place for place in places_of_requirements() if place[0] not in named[place[1]]] == []


def names_of_tests(module):
    """The tests of a module, as `test_name` or `TestClass::test_name`."""
    for node in ast.parse(text(f"tests/{module}.py")).body:
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}::{it.name}" for it in node.body if hasattr(it, "name"))
        elif isinstance(node, ast.FunctionDef):
            yield node.name


def test_every_row_of_the_coverage_names_tests_that_exist():
    page = text("docs/coverage.md")
    named = re.compile(r"`([\w/]+)::([\w:]+)`")
    rows = re.findall(r"^\| (?!they have)(.+) \|$", page, re.MULTILINE)
    assert rows
    assert [row for row in rows if not named.search(row.split(" | ")[2])] == []
    tests = named.findall(page)
    known = {module: set(names_of_tests(module)) for module, _ in tests}
    assert [test for test in tests if test[1] not in known[test[0]]] == []


@pytest.mark.parametrize(
    "heading",
    ["Reporting", "Pathways", "Throttling", "Keys", "Logs and audit", "Classes of data"],
)
def test_the_security_page_has_its_parts(heading):
    """R-146."""
    assert re.search(rf"^## {heading}", text("SECURITY.md"), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in slugs(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_are_python(page):
    for block in blocks(page.relative_to(ROOT)):
        ast.parse(block)


def test_no_file_knows_this_machine():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
    )
    if listed.returncode:
        pytest.skip("no git here to say which files belong to the project")
    files = [ROOT / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    found = {
        str(file.relative_to(ROOT)): match.group()
        for file in files
        if file.is_file() and (match := MACHINE.search(file.read_bytes()))
    }
    assert found == {}


@pytest.fixture
def project(tmp_path):
    """A new project, wired with the two blocks of the README and nothing else."""
    manage(["-m", "django", "startproject", "site_of_a_user", "."], tmp_path)
    settings, urls, *_ = blocks("README.md")
    package = tmp_path / "site_of_a_user"
    with (package / "settings.py").open("a") as file:
        file.write(settings.replace('"..."', f'"{generate_key()}"'))
    with (package / "urls.py").open("a") as file:
        file.write(urls)
    return tmp_path


def manage(arguments, folder, **environment):
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


JOURNEY = """
from django.contrib.auth import authenticate, get_user_model
from django.test import Client
from django.conf import settings
from recovery_backend.codes import PresentedCode
from recovery_backend.flows import use_at_step
from recovery_backend.models import RecoveryCodeBatch
settings.ALLOWED_HOSTS = ["testserver"]
user = get_user_model().objects.create_user("ada", "ada@example.com")
{example}
data = {{"email": "ada@example.com", "recovery_code": plain_codes[0]}}
client = Client()
first = client.post("/auth/recovery-codes/login/", data)
print(first.status_code, first.url, client.get(first.url).status_code)
print(Client().post("/auth/recovery-codes/login/", data).status_code)
data["recovery_code"] = plain_codes[1]
print(authenticate(**data), authenticate(**data), batch.codes_left())
typed = PresentedCode(plain_codes[2])
print(use_at_step(None, user, typed), use_at_step(None, user, typed), batch.codes_left())
"""


def test_the_readme_works_in_a_new_project(project):
    """R-145: at most warnings; and a code works once, by the page and by each function."""
    said = manage(["manage.py", "check", "--fail-level", "ERROR"], project)
    assert "ERRORS" not in said
    manage(["manage.py", "migrate", "--verbosity", "0"], project)
    assert "No changes detected" in manage(
        ["manage.py", "makemigrations", "--check", "--dry-run"], project
    )
    (example,) = (block for block in blocks("README.md") if "create_recovery_batch" in block)
    answers = manage(["manage.py", "shell", "-c", JOURNEY.format(example=example)], project)
    # Among them are the owner's e-mails, which a new project prints.
    expected = ["302 /auth/recovery-codes/dashboard/ 200", "200", "ada None 8", "True False 7"]
    assert [line for line in answers.splitlines() if line in expected] == expected
