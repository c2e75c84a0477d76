from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from recovery_backend import cooldown
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from tests.conftest import DASHBOARD, LOGIN, WRONG_CODE

pytestmark = pytest.mark.browser

OWNER = "owner@example.com"
PREFIX = "DJANGO_AUTH_RECOVERY_CODES_"


def fill_in(page, code, email=OWNER):
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Recovery code").fill(code)


def submit(page):
    page.get_by_role("button", name="Sign in").click()


def is_signed_in(page, site):
    page.wait_for_url(re.compile(f"^{re.escape(site + DASHBOARD)}(#content)?$"))
    return page.get_by_text(f"Signed in as {OWNER}").is_visible()


def fail_times(number):
    for _ in range(number):
        cooldown.charge(OWNER, "127.0.0.1/32")


def expire(user):
    past = timezone.now() - timedelta(days=1)
    RecoveryCodeBatch.objects.filter(user=user).update(expires_at=past)
    RecoveryCode.objects.of_user(user).update(expires_at=past)


def printed_line(code):
    """As a PDF viewer hands it over: numbered, spaced out, with dashes of its own."""
    groups = code.split("-")
    return (
        f"  3. {groups[0]} \u2013 "
        + "\u2011".join(groups[1:4])
        + "\u00a0\u2014 "
        + " ".join(groups[4:])
        + "\u200b \n"
    )


@pytest.mark.parametrize("has_javascript", [True, False], ids=["script", "no script"])
def test_a_whole_printed_line_can_be_pasted(open_page, site, copy, codes, has_javascript):
    """R-130"""
    copy(printed_line(codes[2]))
    page = open_page(LOGIN, width=320, has_javascript=has_javascript)
    page.get_by_label("E-mail address").fill(OWNER)
    page.get_by_label("Recovery code").focus()
    page.keyboard.press("Control+V")
    submit(page)
    assert is_signed_in(page, site)


def test_the_keyboard_alone_is_enough(open_page, site, codes):
    """R-139: skip link, e-mail, code, button, in that order; Enter in the code signs in."""
    page = open_page(LOGIN)
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type(OWNER)
    page.keyboard.press("Tab")
    page.keyboard.type(codes[0])
    page.keyboard.press("Enter")
    assert is_signed_in(page, site)
    page.get_by_role("button", name="Sign out").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site}{LOGIN}")


def test_the_keyboard_alone_is_enough_without_script(open_page, site, codes):
    """R-139"""
    page = open_page(LOGIN, has_javascript=False)
    page.get_by_label("E-mail address").focus()
    page.keyboard.type(OWNER)
    page.keyboard.press("Tab")
    page.keyboard.type(codes[0])
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert is_signed_in(page, site)


def test_a_sign_in_leads_to_the_page_that_was_asked_for(open_page, site, codes):
    page = open_page(f"{LOGIN}?next=/%3Fasked=1")
    fill_in(page, codes[0])
    submit(page)
    page.wait_for_url(f"{site}/?asked=1")


def test_the_whole_code_can_be_seen_on_a_narrow_phone(open_page, codes):
    """R-136: two lines of three groups, and nothing of it scrolls away."""
    page = open_page(LOGIN, width=320)
    field = page.get_by_label("Recovery code")
    for typed in (codes[0], printed_line(codes[0]).strip()):
        field.fill(typed)
        hidden = field.evaluate(
            "el => [el.scrollWidth - el.clientWidth, el.scrollHeight - el.clientHeight]"
        )
        assert hidden == [0, 0]
    assert float(field.evaluate("el => parseFloat(getComputedStyle(el).fontSize)")) >= 16
    assert page.get_by_text("36 of 36 characters").is_visible()


def test_a_code_can_be_hidden_and_shown(open_page, codes):
    """R-131"""
    page = open_page(LOGIN)
    field = page.get_by_label("Recovery code")
    field.fill(codes[0])
    button = page.get_by_role("button", name="Hide code")
    for pressed, masked in [("true", "disc"), ("false", "none")]:
        button.click()
        assert button.get_attribute("aria-pressed") == pressed
        assert field.evaluate("el => getComputedStyle(el).webkitTextSecurity") == masked
    assert field.input_value() == codes[0]


def test_without_script_no_button_is_shown_that_does_nothing(open_page):
    """R-131"""
    page = open_page(LOGIN, has_javascript=False)
    assert page.get_by_role("button").all_inner_texts() == ["Sign in"]


def test_a_wrong_code_keeps_the_address_and_not_the_code(open_page, site, codes):
    """R-132"""
    page = open_page(LOGIN)
    fill_in(page, WRONG_CODE)
    submit(page)
    alert = page.get_by_role("alert")
    assert "You are not signed in." in alert.inner_text()
    assert page.title().startswith("Error: ")
    assert page.get_by_label("E-mail address").input_value() == OWNER
    field = page.get_by_label("Recovery code")
    assert field.input_value() == ""
    assert WRONG_CODE not in page.content()
    assert field.get_attribute("aria-invalid") == "true"
    assert alert.get_attribute("id") in field.get_attribute("aria-describedby").split()
    assert page.evaluate("document.activeElement.name") == "recovery_code"

    page.keyboard.insert_text(codes[0])
    submit(page)
    assert is_signed_in(page, site)


def test_each_empty_field_says_so(open_page):
    """R-132: also where the browser did not check."""
    page = open_page(LOGIN, has_javascript=False)
    page.locator("form").evaluate("form => { form.noValidate = true }")
    submit(page)
    for label in ["E-mail address", "Recovery code"]:
        field = page.get_by_label(label)
        error = page.locator(f"#{field.get_attribute('id')}_error")
        assert error.inner_text() == "This field is required."
        assert error.get_attribute("id") in field.get_attribute("aria-describedby").split()
        assert field.get_attribute("aria-invalid") == "true"


def test_a_wait_is_counted_down_and_then_over(open_page, site, codes, settings):
    """R-133, R-137: the region is there at load, the button waits, and the end is announced."""
    setattr(settings, f"{PREFIX}BASE_COOLDOWN", 5)
    page = open_page(LOGIN)
    for _ in range(5):
        fill_in(page, WRONG_CODE)
        submit(page)
    status = page.get_by_role("status").filter(has_text="Too many tries.")
    button = page.get_by_role("button", name="Sign in")
    status.locator("time", has_text=re.compile("0:0[1-5]")).wait_for()
    assert button.is_disabled()
    page.get_by_label("Recovery code").fill(codes[0])
    page.keyboard.press("Enter")
    assert page.get_by_label("Recovery code").input_value() == codes[0]

    status.get_by_text("You can try again now.").wait_for()
    assert button.is_enabled()
    submit(page)
    assert is_signed_in(page, site)


def test_a_try_during_the_wait_is_refused_and_says_how_long(open_page, codes):
    """R-59: without script too."""
    fail_times(5)
    page = open_page(LOGIN, has_javascript=False)
    fill_in(page, codes[0])
    with page.expect_response(f"**{LOGIN}") as response:
        submit(page)
    assert response.value.status == 429
    assert response.value.headers["retry-after"] in {"58", "59", "60"}
    text = page.get_by_role("status").filter(has_text="Too many tries.").inner_text()
    assert re.search(r"Wait (1 minute|5\d seconds), then try again\.", text)
    assert "did not use up a code" in text
    assert page.get_by_label("E-mail address").input_value() == OWNER
    assert codes[0] not in page.content()


def test_a_double_click_sends_one_try(open_page, site, codes):
    page = open_page(LOGIN)
    fill_in(page, codes[0])
    sent = []
    page.on("request", lambda request: sent.append(request.method))
    page.get_by_role("button", name="Sign in").dblclick()
    assert is_signed_in(page, site)
    assert sent.count("POST") == 1


def login(open_page, **_):
    return open_page(LOGIN)


def login_with_a_code(open_page, codes, **_):
    page = open_page(LOGIN)
    fill_in(page, codes[0])
    return page


def login_with_password(open_page, settings, **_):
    setattr(settings, f"{PREFIX}LOGIN_MODE", "second_factor")
    return open_page(LOGIN)


def error(open_page, **_):
    page = open_page(LOGIN)
    fill_in(page, WRONG_CODE)
    submit(page)
    page.get_by_role("alert").wait_for()
    return page


def empty_fields(open_page, **_):
    page = open_page(LOGIN)
    page.locator("form").evaluate("form => { form.noValidate = true }")
    submit(page)
    page.get_by_role("alert").first.wait_for()
    return page


def wait_begins(open_page, **_):
    fail_times(4)
    page = error(open_page)
    page.get_by_text("Take the time").wait_for()
    page.locator("[data-countdown]").wait_for()
    return page


def waiting(open_page, **_):
    fail_times(5)
    page = open_page(LOGIN)
    fill_in(page, WRONG_CODE)
    submit(page)
    page.get_by_text("not looked at").wait_for()
    page.locator("[data-countdown]").wait_for()
    return page


def off(open_page, settings, **_):
    setattr(settings, f"{PREFIX}LOGIN_MODE", "off")
    return open_page(LOGIN)


def none_yet(open_page, client, **_):
    return open_page(DASHBOARD, client=client)


def many(open_page, client, user, make_codes, **_):
    make_codes(user, 10, days_to_expire=365)
    spend(user, 3)
    return open_page(DASHBOARD, client=client)


def few(open_page, client, user, make_codes, **_):
    make_codes(user, 10)
    spend(user, 8)
    return open_page(DASHBOARD, client=client)


def none_left(open_page, client, user, make_codes, **_):
    make_codes(user, 10)
    spend(user, 10)
    return open_page(DASHBOARD, client=client)


def expired(open_page, client, user, make_codes, **_):
    make_codes(user, 10, days_to_expire=1)
    expire(user)
    return open_page(DASHBOARD, client=client)


def spend(user, number):
    for code in RecoveryCode.objects.of_user(user)[:number]:
        code.spend()


SIGN_IN_STATES = [
    login,
    login_with_a_code,
    login_with_password,
    error,
    empty_fields,
    wait_begins,
    waiting,
    off,
]
DASHBOARD_STATES = {
    none_yet: "You have no codes yet.",
    many: "Each code works once.",
    few: "You are running low.",
    none_left: "You have no codes left.",
    expired: "Your codes have expired.",
}
STATES = [*SIGN_IN_STATES, *DASHBOARD_STATES]


def named(state):
    return state.__name__


@pytest.fixture
def show(open_page, user, make_codes, client, settings):
    """Bring the site into a state: the page that shows it."""

    def show_(state):
        setattr(settings, f"{PREFIX}SITE_NAME", "Lindenhof Library")
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        codes = make_codes(user) if state in SIGN_IN_STATES else []
        return state(
            open_page=open_page,
            user=user,
            make_codes=make_codes,
            client=client,
            settings=settings,
            codes=codes,
        )

    return show_


@pytest.mark.parametrize("state", STATES, ids=named)
def test_every_state_is_accessible_and_fits(show, inspect, state):
    """R-134, R-135, R-136, R-139: light and dark, on a narrow phone and on a desk."""
    page = show(state)
    inspect(page, named(state))
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize(
    ("state", "sentence"), DASHBOARD_STATES.items(), ids=map(named, DASHBOARD_STATES)
)
def test_the_dashboard_says_how_it_stands(show, state, sentence):
    page = show(state)
    assert page.get_by_text(sentence).is_visible()
    assert page.get_by_text(f"Signed in as {OWNER}").is_visible()


def test_the_focus_can_be_seen_on_everything_that_takes_it(show):
    """R-135"""
    page = show(login)
    stops = []
    for _ in range(5):
        page.keyboard.press("Tab")
        stops.append(
            page.evaluate("document.activeElement.id || document.activeElement.innerText")
        )
        width = page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
        assert width >= 2
    assert stops == [
        "Skip to the content",
        "id_email",
        "id_recovery_code",
        "Hide code",
        "Sign in",
    ]


def test_no_page_listens_for_pasting_or_runs_inline_code():
    """R-93, R-130"""
    package = Path(cooldown.__file__).parent
    script = (package / "static/recovery_backend/recovery.js").read_text()
    assert "paste" not in script
    for template in (package / "templates/recovery_backend").glob("*.html"):
        html = template.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", html)
