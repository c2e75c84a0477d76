"""Every text of the packages in every language that they speak."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import polib
import pytest
from django.template.loader import get_template
from django.utils import translation

from tests.conftest import DASHBOARD, LOGIN, is_missing

CORE = "recovery_backend"
INTEGRATIONS = ("recovery_backend_allauth", "recovery_backend_api")
PACKAGES = (CORE, *INTEGRATIONS)
FOLDERS = {package: Path(find_spec(package).origin).parent for package in PACKAGES}
LANGUAGES = ["de", "es", "fr"]
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\w*\}|</?\w+>")
TEMPLATES = sorted(path for folder in FOLDERS.values() for path in folder.glob("templates/**/*.*"))
every_language = pytest.mark.parametrize("language", LANGUAGES)
every_package = pytest.mark.parametrize("package", PACKAGES)


@pytest.fixture(autouse=True)
def language_of_the_suite():
    """LocaleMiddleware leaves its language active: other tests of this process read English."""
    with translation.override(translation.get_language()):
        yield


def catalogue(package, language, suffix="po"):
    file = FOLDERS[package] / "locale" / language / "LC_MESSAGES" / f"django.{suffix}"
    return polib.pofile(str(file)) if suffix == "po" else polib.mofile(str(file))


def source(entry):
    return entry.msgctxt, entry.msgid, entry.msgid_plural


def texts(entry):
    """Each source text of an entry with its translation."""
    if not entry.msgid_plural:
        return [(entry.msgid, entry.msgstr)]
    forms = entry.msgstr_plural
    return [(entry.msgid if not n else entry.msgid_plural, text) for n, text in forms.items()]


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    """What the code and the templates of each package say now."""
    if shutil.which("xgettext") is None:
        is_missing("xgettext (Debian: gettext)")
    return {package: extract(package, tmp_path_factory.mktemp("messages")) for package in PACKAGES}


def extract(package, folder):
    copy = folder / package
    shutil.copytree(FOLDERS[package], copy, ignore=shutil.ignore_patterns("locale", "__pycache__"))
    (copy / "locale").mkdir()
    # -P: our rooms are not to be taken for modules of the standard library.
    django = [sys.executable, "-P", "-m", "django"]
    command = [*django, "makemessages", "--locale", "xx", "--keep-pot"]
    answer = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=True)
    assert "warning" not in answer.stderr + answer.stdout
    return {source(entry) for entry in polib.pofile(str(copy / "locale" / "django.pot"))}


@every_package
@every_language
def test_no_text_is_missing_and_none_is_left_over(package, language, extracted):
    """If this fails, run `make messages` and translate what is new."""
    assert {source(entry) for entry in catalogue(package, language)} == extracted[package]


@every_package
@every_language
def test_every_text_is_translated(package, language):
    for entry in catalogue(package, language):
        assert not entry.fuzzy and not entry.obsolete, entry.msgid
        assert all(text.strip() for _source, text in texts(entry)), entry.msgid


@every_package
@every_language
def test_a_translation_keeps_what_is_filled_in(package, language):
    for entry in catalogue(package, language):
        for english, text in texts(entry):
            needed, found = (sorted(PLACEHOLDER.findall(t)) for t in (english, text))
            # "one code" instead of "1 code" is a right singular.
            is_singular = bool(entry.msgid_plural) and english == entry.msgid
            assert found == needed or (is_singular and set(found) <= set(needed)), entry.msgid
            assert text.startswith("\n") == english.startswith("\n"), entry.msgid


@every_package
@every_language
def test_the_compiled_catalogue_is_the_translation(package, language):
    """If this fails, run `make messages`."""
    compiled = {source(entry): texts(entry) for entry in catalogue(package, language, "mo")}
    assert compiled == {source(entry): texts(entry) for entry in catalogue(package, language)}


@every_language
@pytest.mark.parametrize("package", INTEGRATIONS)
def test_the_same_text_is_said_in_the_same_words(package, language):
    core, integration = (
        {source(entry): texts(entry) for entry in catalogue(name, language)}
        for name in (CORE, package)
    )
    shared = core.keys() & integration.keys()
    assert shared
    assert {text: integration[text] for text in shared} == {text: core[text] for text in shared}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_holds_no_text_of_its_own(template):
    text = template.read_text(encoding="utf-8")
    translated = r"\{%\s*blocktranslate.*?endblocktranslate\s*%\}"
    comments = r"\{%\s*comment.*?endcomment\s*%\}|<!--.*?-->"
    class_names = r"\{%\s*block bodyclass\s*%\}.*?endblock\s*%\}"
    code = r"\{%.*?%\}|\{\{.*?\}\}|<style>.*?</style>|<[^>]*>|&\w+;"
    for pattern in (translated, comments, class_names, code):
        text = re.sub(pattern, "", text, flags=re.DOTALL)
    assert re.findall(r"[A-Za-z]{2,}", text.replace("UTC", "")) == []


@pytest.mark.parametrize(
    "template",
    [path for path in TEMPLATES if path.is_relative_to(FOLDERS[CORE])],
    ids=lambda path: path.name,
)
def test_a_template_compiles(template):
    get_template(str(template.relative_to(FOLDERS[CORE] / "templates")))


@every_language
def test_pages_speak_the_language_of_the_browser(language, client, user, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    with translation.override(language):
        title = translation.gettext("Sign in with a recovery code")
        heading = translation.gettext("You have no codes yet.")
    assert title != "Sign in with a recovery code"
    page = client.get(LOGIN, headers={"Accept-Language": language}).content.decode()
    assert f'<html lang="{language}" dir="ltr">' in page
    assert f"<h1>{title}</h1>" in page
    client.force_login(user)
    page = client.get(DASHBOARD, headers={"Accept-Language": language}).content.decode()
    assert heading in page


@every_language
def test_the_words_of_a_page_are_all_translated(language, client, user, settings):
    """No sentence of the catalogue is left in English on a page that has many of them."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    client.force_login(user)
    client.post("/auth/recovery-codes/generate/", headers={"Accept-Language": language})
    page = client.get(DASHBOARD, headers={"Accept-Language": language}).content.decode()
    sentences = [entry.msgid for entry in catalogue(CORE, language) if " " in entry.msgid.strip()]
    assert len(sentences) > 100
    kept = {text for entry in catalogue(CORE, language) for english, text in texts(entry)}
    left = [text for text in sentences if text in page and text not in kept]
    assert left == []
