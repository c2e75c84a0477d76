"""The example site as its user meets it: what `make demo` prints, typed in where it says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass

import pytest

from tests.conftest import DASHBOARD, LOGIN, is_missing
from tests.journeys.conftest import SCHEMES, WIDTHS, chromium  # noqa: F401
from tests.processes import CODE, PASSWORD_LOGIN, PREFIX, ROOT, Answer, Browser, Site, copied

pytestmark = [
    pytest.mark.skipif(
        not (ROOT / "Makefile").exists(), reason="these are about a checkout, and this is none"
    ),
    pytest.mark.timeout(240),
]

ADMIN = "/admin/"
STEP = "/accounts/2fa/authenticate/"
CONFIRM = "/accounts/2fa/reauthenticate/"
SIGN_UP = "/accounts/signup/"
DUMMY = "/accounts/dummy/login/"
FACTORS = "/accounts/2fa/"
RESTRICTED = f"{PREFIX}restricted/"
APP_API = "/_allauth/app/v1"


@dataclass(frozen=True)
class Demo:
    """The site, and what it printed when it started."""

    site: Site
    said: str

    def password(self, name: str) -> str:
        return re.search(rf"ign in as {name} with the password ([\w-]+)", self.said)[1]

    @property
    def codes(self) -> dict[str, list[str]]:
        ada, *grace, admin = CODE.findall(self.said)
        return {"ada": [ada], "grace": grace, "admin": [admin]}

    def paths(self, browser: Browser) -> list[str]:
        """Where it sends its reader, in this order."""
        return re.findall(rf"^ +{browser.base}(/\S*)$", self.said, re.MULTILINE)

    def app_shows(self, name: str) -> str:
        """By the command that it printed."""
        command = re.search(rf"manage\.py (demo_totp) ({name})\b", self.said).groups()
        return self.site.manage(*command).strip()

    def sign_in(self, browser: Browser, path: str = PASSWORD_LOGIN) -> Answer:
        """By the password alone."""
        page = browser.get(path)
        fields = {"login": browser.name, "password": self.password(browser.name)}
        return browser.submit(page, PASSWORD_LOGIN, **fields)


@pytest.fixture(scope="module")
def demo(mail_server, tmp_path_factory):
    """Started twice, as on the second day: what was printed last is what counts."""
    with copied(
        tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("demo") / "var", mail_server
    ) as site:
        site.manage("migrate", "--verbosity", "0")
        site.start("asgi")
        for _start in range(2):
            said = site.manage("seed_demo", "--port", site.port("asgi"))
        yield Demo(site, said)


@pytest.fixture
def visit(demo):
    """Somebody with a browser of their own, at this server."""

    def visit_(name: str = "stranger", server: str = "asgi") -> Browser:
        return Browser(demo.site, server, name)

    return visit_


def test_what_the_demo_prints_leads_the_whole_way(demo, visit):
    """In by code; by password, with a past; new codes; in with one of them, and with no older one."""
    ada = visit("ada")
    start, by_code, *_others = demo.paths(ada)
    (old_code,) = demo.codes["ada"]
    page = ada.submit(ada.get(by_code), LOGIN, email=ada.email, recovery_code=old_code)
    assert (page.path, page.codes) == (DASHBOARD, [])
    assert page.text.count('<li class="batch">') == 2
    ada.sign_out()

    page = demo.sign_in(ada, start)
    assert page.path == DASHBOARD
    page = ada.submit(page, f"{PREFIX}generate/", days_to_expire="")
    page = ada.submit(page, f"{PREFIX}generate/")
    assert len(page.codes) == 10
    code = page.codes[0]
    assert "is on its way." in ada.send_email().text
    ada.sign_out()

    page = ada.submit(ada.get(LOGIN), LOGIN, email=ada.email, recovery_code=old_code)
    assert page.path == LOGIN
    page = ada.submit(page, LOGIN, email=ada.email, recovery_code=code)
    assert page.path == DASHBOARD


def test_its_system_checks_find_nothing(demo):
    """With the schedules and the sessions of a site that runs."""
    assert "no issues (0 silenced)" in demo.site.manage("check")


def test_every_address_that_the_demo_prints_is_there(demo, visit):
    """A page for people, and the description of the API with our endpoint in it."""
    stranger = visit()
    answers = [stranger.get(path) for path in demo.paths(stranger)]
    assert [answer.status for answer in answers] == [200] * 5
    document = json.loads(answers[-2].text)
    assert "post" in document["paths"]["/_allauth/{client}/v1/auth/recovery-code/login"]


def test_who_lost_the_phone_types_a_recovery_code(demo, visit):
    """It is taken at the second step, once, and the page of factors counts one less."""
    grace = visit("grace")
    code = demo.codes["grace"][0]
    page = demo.sign_in(grace)
    assert page.path == STEP
    assert "also takes one of your recovery codes" in page.text
    assert grace.submit(page, STEP, code=code).path == "/"
    assert "9 of 10 codes left." in grace.get(FACTORS).text

    again = visit("grace")
    answer = again.submit(demo.sign_in(again), STEP, code=code)
    assert answer.path == STEP
    assert "Incorrect code." in answer.text


def test_the_admin_opens_with_a_second_factor_only(demo, visit):
    """The authenticator app of the demo proves it; a password alone leads to it, and back."""
    assert visit().get(ADMIN).path == f"{PASSWORD_LOGIN}?next={ADMIN}"
    admin = visit("admin")
    page = demo.sign_in(admin, ADMIN)
    assert page.path == STEP
    assert admin.get(ADMIN).path == STEP
    page = admin.submit(page, STEP, code=demo.app_shows("admin"))
    assert (page.status, page.path) == (200, ADMIN)
    assert "Security overview" in page.text


def test_who_signs_up_is_led_to_codes(visit):
    """A password of one's own, then codes; the page of factors says that they are no factor."""
    eva = visit("eva")
    page = eva.submit(
        eva.get(SIGN_UP), SIGN_UP, email=eva.email, username=eva.name, password1="violet-hammer-31"
    )
    assert (page.status, page.path) == (200, "/")
    assert "<strong>eva</strong>" in page.text
    assert len(eva.generate().codes) == 10
    assert "are no second factor by themselves" in eva.get(FACTORS).text
    assert eva.get(ADMIN).status == 403


def test_the_dummy_provider_signs_in(visit):
    dot = visit("dummy-user")
    page = dot.get(DUMMY)
    page = dot.submit(page, page.path)
    page = dot.submit(page, page.path, id="7", email=dot.email, username=dot.name)
    assert (page.status, page.path) == (200, "/")
    assert f"<strong>{dot.name}</strong>" in page.text


def test_the_curl_session_of_the_docs_works_with_what_the_demo_prints(demo, visit):
    """Each command of docs/headless.md, as it stands."""
    if not shutil.which("curl"):
        is_missing("curl")
    first, *blocks = re.findall(
        r"```bash\n(.*?)```", (ROOT / "docs/headless.md").read_text(), re.DOTALL
    )
    _at_the_page, code, other_code = demo.codes["grace"]
    printed = {
        "SITE": visit().base,
        "PASSWORD": demo.password("grace"),
        "CODE": code,
        "OTHER_CODE": other_code,
    }
    values = dict(re.findall(r"^(\w+)='?(.*?)'?$", first, re.MULTILINE)) | printed
    script = "\necho\necho END\n".join(["set -eu", *blocks, ""])
    done = subprocess.run(
        ["bash", "-c", script],
        env={**demo.site.environment(), **values},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    _start, _token, step, signed_out, by_code, _end = done.stdout.split("END\n")
    methods = [(it["method"], it.get("type")) for it in json.loads(step)["data"]["methods"]]
    assert methods == [("password", None), ("mfa", "recovery_codes")]
    assert json.loads(signed_out)["status"] == 401
    answer = json.loads(by_code)
    assert answer["data"]["user"]["email"] == "grace@example.com"
    assert answer["meta"]["session_token"]


def test_its_two_switches_do_what_they_say(demo, visit):
    """Under WSGI: a list alone repairs and opens no admin; programs get JWTs."""
    demo.site.start("wsgi", EXAMPLE_SITE_RECOVERY_SESSION="restricted", EXAMPLE_SITE_TOKENS="jwt")
    admin = visit("admin", "wsgi")
    (code,) = demo.codes["admin"]
    page = admin.submit(admin.get(LOGIN), LOGIN, email=admin.email, recovery_code=code)
    assert page.path == DASHBOARD
    assert admin.get(ADMIN).path == RESTRICTED
    assert "You signed in with a recovery code" in admin.get("/").text
    page = admin.get(CONFIRM)
    admin.submit(page, CONFIRM, code=demo.app_shows("admin"))
    assert admin.get(ADMIN).path == ADMIN

    ada = visit("ada", "wsgi")
    answer = ada.post_json(f"{APP_API}/auth/login", username="ada", password=demo.password("ada"))
    token = json.loads(answer.text)["meta"]["access_token"]
    program = visit("ada", "wsgi")
    assert program.open(f"{APP_API}/account/authenticators").status == 401
    bearer = {"Authorization": f"Bearer {token}"}
    assert program.open(f"{APP_API}/account/authenticators", **bearer).status == 200


def test_its_swagger_page_needs_no_other_site(demo, visit):
    """The page, its files and the document come from here; the document has our endpoints."""
    ada = visit("ada")
    page = ada.get("/api/docs/")
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert page.status == 200 and len(files) >= 3
    assert [ada.get(file).status for file in files] == [200] * len(files)
    assert "/api/schema/" in page.text and "//cdn" not in page.text
    document = ada.get("/api/schema/?format=json")
    assert document.status == 200
    paths = json.loads(document.text)["paths"].keys()
    assert {"/api/recovery-codes/generate/", "/api/recovery-codes/keys/"} <= paths


@pytest.mark.browser
@pytest.mark.parametrize("scheme", SCHEMES)
def test_its_swagger_page_fits_a_phone_and_follows_its_colours(demo, visit, chromium, scheme):  # noqa: F811
    size = {"width": min(WIDTHS), "height": 900}
    context = chromium.new_context(viewport=size, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{visit().base}/api/docs/")
    for name in ("Recovery_codes-get_activity", "API_keys-keys"):
        page.click(f"#operations-{name} .opblock-summary-control")
        page.locator(f"#operations-{name} .headers-wrapper").first.wait_for()
    page.click("#operations-Recovery_codes-get_activity .try-out__btn")
    page.click("#operations-Recovery_codes-get_activity .execute")
    page.locator("#operations-Recovery_codes-get_activity .curl").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == min(WIDTHS)
    assert page.evaluate("document.documentElement.className") == "dark-mode" * (scheme == "dark")
    context.close()


def test_its_json_api_answers_an_app(demo, visit):
    ada = visit("ada")
    answer = ada.post_json(f"{APP_API}/auth/login", username="ada", password=demo.password("ada"))
    token = json.loads(answer.text)["meta"]["session_token"]
    program = visit("ada")
    with program.open("/api/recovery-codes/status/", **{"X-Session-Token": token}) as status:
        assert json.load(status).keys() >= {"left", "total", "warning", "batch"}
