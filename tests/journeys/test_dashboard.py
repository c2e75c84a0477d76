"""A person and their codes, in a browser: generate, see once, take along, test, take out of use."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.core import mail
from django.utils import timezone
from django_q.models import OrmQ

from recovery_backend import tasks
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from tests.conftest import DASHBOARD, LOGIN, WRONG_CODE
from tests.test_emails import use_mail_backend

pytestmark = pytest.mark.browser

PREFIX = "DJANGO_AUTH_RECOVERY_CODES_"
CODE = re.compile(r"(?:[A-Za-z2-9]{6}-){5}[A-Za-z2-9]{6}")
FRESH = "Your new codes"
MASKED = "Your codes were shown once"
OVER = "The time is over"
FORMATS = {"txt": "Text (TXT)", "csv": "Spreadsheet (CSV)", "pdf": "Paper (PDF)"}
ATTRIBUTES = """() => [...document.querySelectorAll("*")]
    .flatMap((el) => [...el.attributes].map((attribute) => attribute.value)).join("\\n")"""
STORED = "() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, location.href])"
LEAVE_FOR_LATER = (
    """() => dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }))"""
)
COME_BACK = """() => dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }))"""

with_and_without_script = pytest.mark.parametrize(
    "has_javascript", [True, False], ids=["script", "no script"]
)


@pytest.fixture
def open_dashboard(open_page, user, client, settings):
    """Open the dashboard as its owner."""

    def open_dashboard_(**options):
        setattr(settings, f"{PREFIX}SITE_NAME", "Lindenhof Library")
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return open_page(DASHBOARD, client=client, **options)

    return open_dashboard_


@pytest.fixture
def open_fresh(open_dashboard):
    """Open the dashboard and generate: the page that shows the codes, and the codes."""

    def open_fresh_(**options):
        page = open_dashboard(**options)
        return page, generate(page)

    return open_fresh_


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def heading(page, text):
    return page.get_by_role("heading", name=text)


def generate(page):
    press(page, "Generate codes")
    return shown_codes(page)


def shown_codes(page):
    heading(page, FRESH).wait_for()
    return page.locator("[data-codes] code").all_inner_texts()


def replace(page):
    press(page, "Replace my codes …")
    press(page, "Yes, replace them")
    return shown_codes(page)


def mask(page):
    page.goto(DASHBOARD)
    heading(page, MASKED).wait_for()


def type_code(page, button, code):
    form = page.locator("form").filter(has=page.get_by_role("button", name=button, exact=True))
    form.get_by_label("Recovery code").fill(code)
    press(page, button)


def send_what_is_queued():
    """What the worker does with the e-mails that carry codes."""
    for row in OrmQ.objects.all():
        task = row.task
        if task["func"].endswith("send_codes"):
            tasks.send_codes(*task["args"])


def statuses(user):
    return sorted(RecoveryCode.objects.of_user(user).values_list("status", flat=True))


def is_any_part_there(page, codes):
    """Whether the page holds a group of these codes, in whatever element or attribute."""
    groups = {group for code in codes for group in code.split("-")}
    return any(group in page.content() for group in groups)


def grant_clipboard(page, site):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site)


@with_and_without_script
def test_new_codes_are_shown_once(open_fresh, has_javascript):
    """R-74"""
    page, codes = open_fresh(has_javascript=has_javascript)
    assert len(set(codes)) == 10
    assert all(CODE.fullmatch(code) for code in codes)
    assert is_any_part_there(page, codes)
    page.reload()
    heading(page, MASKED).wait_for()
    assert not is_any_part_there(page, codes)
    assert page.get_by_text("They are hidden now and cannot be shown again.").is_visible()


@with_and_without_script
def test_a_list_from_its_making_to_its_end(open_fresh, user, settings, has_javascript):
    """R-33, R-46, R-138: every step of its life, by forms and links alone as well."""
    setattr(settings, f"{PREFIX}EMAIL_ASYNC", False)
    page, codes = open_fresh(has_javascript=has_javascript)
    type_code(page, "Test this code", codes[0])
    page.get_by_text("This code works.").wait_for()
    assert page.get_by_role("button", name="Test this code").count() == 0

    press(page, "Send the e-mail")
    page.get_by_text("was sent to owner@example.com").wait_for()
    [message] = [message for message in mail.outbox if codes[0] in message.body]
    assert message.to == ["owner@example.com"]
    assert page.get_by_role("button", name="Send the e-mail").count() == 0

    press(page, "I have saved them")
    page.get_by_text("Your codes are not kept here any longer.").wait_for()
    assert page.get_by_role("button", name="Download").count() == 0

    page.get_by_text("One code", exact=True).click()
    type_code(page, "Invalidate it", codes[1])
    page.get_by_text("This code cannot be used any more.").wait_for()
    page.get_by_text("One code", exact=True).click()
    type_code(page, "Delete it", codes[2])
    page.get_by_text("This code is deleted.").wait_for()
    assert page.get_by_text("8 of 10 codes left").is_visible()
    assert statuses(user) == sorted(["active"] * 8 + ["deleted", "invalidated"])

    page.get_by_text("All codes", exact=True).click()
    press(page, "Delete all codes …")
    page.get_by_role("link", name="No, go back").click()
    assert page.get_by_text("8 of 10 codes left").is_visible()
    page.get_by_text("All codes", exact=True).click()
    press(page, "Delete all codes …")
    press(page, "Yes, delete them all")
    heading(page, "You have no codes now.").wait_for()
    assert "active" not in statuses(user)


@with_and_without_script
@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_can_be_taken_along_once(open_fresh, file_format, has_javascript):
    """R-76, R-140: the page stays, and says afterwards that it was done."""
    page, codes = open_fresh(has_javascript=has_javascript)
    page.get_by_label(FORMATS[file_format]).check()
    with page.expect_download() as download:
        press(page, "Download")
    assert download.value.suggested_filename == f"recovery_codes.{file_format}"
    content = download.value.path().read_bytes()
    if file_format == "pdf":
        assert content.startswith(b"%PDF")
    else:
        assert all(code.encode() in content for code in codes)

    assert shown_codes(page) == codes
    if has_javascript:
        page.get_by_text("The file was handed to your browser.").wait_for()
        assert page.get_by_role("button", name="Downloaded").is_disabled()
    mask(page)
    assert page.get_by_text("You have downloaded these codes.").is_visible()
    assert page.get_by_role("button", name="Download").count() == 0


@with_and_without_script
def test_replacing_asks_first_and_ends_the_old_codes(open_fresh, user, has_javascript):
    """R-44, R-138"""
    page, old = open_fresh(has_javascript=has_javascript)
    page.get_by_label("Days until they expire").fill("30")
    press(page, "Replace my codes …")
    page.get_by_role("link", name="No, go back").click()
    heading(page, MASKED).wait_for()
    page.get_by_label("Days until they expire").fill("30")
    new = replace(page)
    assert set(new).isdisjoint(old)
    batch = RecoveryCodeBatch.objects.active_of(user)
    assert timedelta(days=29) < batch.expires_at - timezone.now() <= timedelta(days=30)


def test_the_copied_text_is_the_codes_one_a_line(open_fresh, site):
    """R-87, R-136: also when somebody selects a line instead."""
    page, codes = open_fresh(width=320)
    grant_clipboard(page, site)
    press(page, "Copy all")
    page.get_by_role("status").filter(has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "\n".join(codes)
    page.locator("[data-codes]").evaluate("list => getSelection().selectAllChildren(list)")
    assert page.evaluate("getSelection().toString()").split() == codes


def test_a_refused_clipboard_is_said(open_fresh):
    page, _ = open_fresh()
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error()) }")
    press(page, "Copy all")
    page.get_by_role("status").filter(has_text="Copying did not work.").wait_for()


def test_a_code_breaks_between_its_groups_only(open_fresh):
    """R-136: two lines of three groups on a phone, one line on a desk."""
    page, _ = open_fresh(width=320)
    lines = """(el) => {
        const range = document.createRange();
        return [...el.textContent].map((_, at) => {
            range.setStart(el.firstChild, at);
            range.setEnd(el.firstChild, at + 1);
            return range.getBoundingClientRect().top;
        });
    }"""
    code = page.locator("[data-codes] code").first
    tops = code.evaluate(lines)
    assert len(set(tops[:21])) == len(set(tops[21:])) == 1
    assert tops[21] > tops[0]
    assert page.locator("[data-codes]").evaluate("el => el.scrollWidth - el.clientWidth") == 0
    page.set_viewport_size({"width": 1280, "height": 800})
    assert len(set(code.evaluate(lines))) == 1


def test_codes_read_left_to_right_and_are_not_translated(open_fresh):
    page, _ = open_fresh()
    code = page.locator("[data-codes] code").first
    assert (code.get_attribute("dir"), code.get_attribute("translate")) == ("ltr", "no")


def test_the_codes_leave_the_page_when_their_time_is_over(open_dashboard, settings):
    """R-71, R-87, R-137: with what can be done with them, and it is announced before and then."""
    setattr(settings, f"{PREFIX}STASH_TTL", 60)
    page = open_dashboard()
    page.clock.install()
    codes = generate(page)
    status = page.get_by_role("status").filter(has_text="codes")
    page.clock.run_for(31_000)
    assert page.get_by_text("Your codes stay available here for 30 seconds.").is_visible()
    page.get_by_role("button", name="Copy all").focus()
    page.clock.run_for(31_000)
    status.filter(has_text=OVER).wait_for()
    assert not is_any_part_there(page, codes)
    for name in ["Copy all", "Download", "Send the e-mail", "I have saved them"]:
        assert page.get_by_role("button", name=name).count() == 0
    assert page.evaluate("document.activeElement.id") == "codes"


def test_no_code_comes_back_after_signing_out(open_fresh, site):
    """R-72, R-75"""
    page, codes = open_fresh()
    press(page, "Sign out")
    page.wait_for_url(f"{site}{LOGIN}")
    page.go_back()
    page.wait_for_url(re.compile(re.escape(f"{site}/password/")))
    assert not is_any_part_there(page, codes)


def test_a_page_that_the_browser_keeps_for_later_holds_no_code(open_fresh):
    """R-75: a page in the back-forward cache, and it is loaded anew when it comes back."""
    page, codes = open_fresh()
    page.evaluate(LEAVE_FOR_LATER)
    assert not is_any_part_there(page, codes)
    with page.expect_navigation():
        page.evaluate(COME_BACK)
    heading(page, MASKED).wait_for()


def test_a_code_is_nowhere_but_in_the_list(open_fresh):
    """R-86"""
    page, codes = open_fresh()
    places = [page.evaluate(ATTRIBUTES), page.evaluate(STORED), page.title()]
    cookies = page.context.cookies()
    assert [cookie["httpOnly"] for cookie in cookies if "key" in cookie["name"]] == [True]
    places += [cookie["value"] for cookie in cookies]
    groups = {group for code in codes for group in code.split("-")}
    assert not [group for group in groups if any(group in place for place in places)]


def test_the_arrival_of_the_email_is_said_by_itself(open_fresh, settings):
    """R-101, R-133: server-sent events into a live region that is there at load."""
    page, _ = open_fresh()
    press(page, "Send the e-mail")
    status = page.get_by_role("status").filter(has_text="on its way")
    status.first.wait_for()
    send_what_is_queued()
    page.get_by_role("status").filter(has_text="was sent to owner@example.com").wait_for()
    assert page.get_by_role("link", name="Check again").count() == 0


def test_without_script_a_link_asks_again(open_fresh):
    page, _ = open_fresh(has_javascript=False)
    press(page, "Send the e-mail")
    page.get_by_text("The e-mail to owner@example.com is on its way.").wait_for()
    send_what_is_queued()
    page.get_by_role("link", name="Check again").click()
    page.get_by_text("was sent to owner@example.com").wait_for()


def test_an_email_that_failed_can_be_tried_again(open_fresh, settings):
    """The first try meets a mail server that is down; the second one a server that works."""
    page, codes = open_fresh()
    working = getattr(settings, "EMAIL_BACKEND", "django.core.mail.backends.locmem.EmailBackend")
    use_mail_backend(settings, "tests.test_emails.BrokenMail")
    press(page, "Send the e-mail")
    page.get_by_text("The e-mail to owner@example.com is on its way.").wait_for()
    send_what_is_queued()
    page.get_by_text("The e-mail could not be sent.").wait_for()
    page.get_by_role("link", name="See what you can do now").click()
    page.get_by_text("You can try again.").wait_for()

    use_mail_backend(settings, working)
    setattr(settings, f"{PREFIX}EMAIL_ASYNC", False)
    press(page, "Try the e-mail again")
    page.get_by_text("was sent to owner@example.com").wait_for()
    assert any(codes[0] in message.body for message in mail.outbox)


@with_and_without_script
@pytest.mark.parametrize(
    ("summary", "button"),
    [(None, "Test this code"), ("One code", "Invalidate it"), ("One code", "Delete it")],
)
def test_a_problem_is_said_at_its_field(open_fresh, summary, button, has_javascript):
    """R-85, R-132: tied to it, open, with the focus in it, and without what was typed."""
    page, _ = open_fresh(has_javascript=has_javascript)
    mask(page)
    if summary:
        page.get_by_text(summary, exact=True).click()
    type_code(page, button, WRONG_CODE)
    alert = page.get_by_role("alert")
    alert.wait_for()
    field = page.locator("textarea[aria-invalid=true]")
    assert field.is_visible()
    assert alert.get_attribute("id") in field.get_attribute("aria-describedby").split()
    assert field.evaluate("el => el === document.activeElement")
    assert page.title().startswith("Error: ")
    assert WRONG_CODE not in page.content()


def test_a_number_of_days_out_of_bounds_is_said_at_its_field(open_dashboard):
    """R-132"""
    page = open_dashboard()
    page.locator("form").evaluate_all("all => all.forEach((form) => { form.noValidate = true })")
    field = page.get_by_label("Days until they expire")
    field.fill("99999")
    press(page, "Generate codes")
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert alert.get_attribute("id") in field.get_attribute("aria-describedby").split()
    assert field.evaluate("el => el === document.activeElement")


def test_the_enter_key_does_not_choose_between_two_ends_of_a_code(open_fresh, user):
    page, codes = open_fresh()
    mask(page)
    page.get_by_text("One code", exact=True).click()
    page.locator("#invalidate").fill(codes[0])
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Invalidate it"
    assert statuses(user) == ["active"] * 10


def test_a_stale_tab_does_not_act_on_newer_codes(open_fresh, user):
    page, _ = open_fresh()
    mask(page)
    other = page.context.new_page()
    other.goto(DASHBOARD)
    replace(other)
    page.get_by_text("All codes", exact=True).click()
    press(page, "Delete all codes …")
    alert = page.get_by_role("alert")
    assert alert.inner_text().endswith("These codes are not your current ones any more.")
    assert statuses(user).count("active") == 10


def test_what_was_done_in_another_tab_is_said_although_its_form_is_gone(open_fresh):
    page, _ = open_fresh()
    mask(page)
    other = page.context.new_page()
    other.goto(DASHBOARD)
    with other.expect_download():
        press(other, "Download")
    press(page, "Download")
    page.get_by_role("alert").filter(has_text="That was done already").wait_for()
    assert page.get_by_text("You have downloaded these codes.").is_visible()


def test_only_the_form_that_has_to_wait_waits(open_dashboard, settings):
    """R-59, R-62, R-133: and the page opens where it is said."""
    setattr(settings, f"{PREFIX}MAX_LOGIN_ATTEMPTS", 1)
    page = open_dashboard()
    generate(page)
    press(page, "Replace my codes …")
    waiting = page.get_by_role("status").filter(has_text="Too many tries.")
    waiting.locator("time").wait_for()
    assert waiting.evaluate("el => el === document.activeElement")
    assert page.get_by_role("button", name="Replace my codes …").is_disabled()
    assert page.get_by_role("button", name="Sign out").is_enabled()
    assert page.get_by_role("button", name="I have saved them").is_enabled()


def test_the_history_has_pages(open_dashboard, user, make_codes):
    for _ in range(7):
        make_codes(user, 2)
    page = open_dashboard(has_javascript=False)
    history = page.locator("#history")
    assert history.get_by_role("listitem").count() == 5
    page.get_by_role("link", name="Older").click()
    assert page.url.endswith("?page=2#history")
    assert history.get_by_role("listitem").count() == 2
    page.get_by_role("link", name="Newer").click()
    assert history.get_by_text("Page 1 of 2").is_visible()


def test_every_fact_of_a_list_can_be_read(open_dashboard, user, make_codes):
    make_codes(user, 10, days_to_expire=30)
    batch = RecoveryCodeBatch.objects.active_of(user)
    page = open_dashboard()
    facts = dict(
        zip(
            page.locator("#history dt").all_inner_texts(),
            page.locator("#history dd").all_inner_texts(),
            strict=True,
        )
    )
    assert facts["Issued"] == facts["Left"] == "10"
    assert facts["Used"] == facts["Invalidated"] == facts["Deleted"] == "0"
    assert facts["Shown"] == facts["Downloaded"] == facts["E-mailed"] == "No"
    assert facts["Number of the list"] == str(batch.public_id)
    assert facts["Account"] == user.email
    assert {"Valid until", "Last change"} <= set(facts)


def test_a_printed_page_has_the_codes_and_nothing_to_press(open_fresh):
    page, codes = open_fresh()
    page.emulate_media(media="print")
    text = page.locator("body").inner_text()
    assert all(code in text for code in codes)
    assert "owner@example.com" in text
    assert "Lindenhof Library" in text
    assert "tick it off" in text
    for hidden in ["Sign out", "Download", "Replace", "All your lists", "Send"]:
        assert hidden not in text


def test_without_script_no_button_is_shown_that_does_nothing(open_fresh):
    page, _ = open_fresh(has_javascript=False)
    for name in ["Copy all", "Print"]:
        assert page.get_by_role("button", name=name).count() == 0


def fresh(open_fresh, **_):
    return open_fresh()[0]


def masked(open_fresh, **_):
    page = open_fresh()[0]
    mask(page)
    return page


def over(open_dashboard, **_):
    page = open_dashboard()
    page.clock.install()
    generate(page)
    page.clock.fast_forward(901_000)
    page.get_by_text(OVER).wait_for()
    return page


def downloaded(open_fresh, **_):
    page = open_fresh()[0]
    with page.expect_download():
        press(page, "Download")
    page.get_by_role("button", name="Downloaded").wait_for()
    return page


def email_queued(open_fresh, **_):
    page = open_fresh()[0]
    press(page, "Send the e-mail")
    page.get_by_role("link", name="Check again").wait_for()
    return page


def email_sent(open_fresh, settings, **_):
    setattr(settings, f"{PREFIX}EMAIL_ASYNC", False)
    page = open_fresh()[0]
    press(page, "Send the e-mail")
    page.get_by_text("was sent to").wait_for()
    return page


def email_failed(settings, **kwargs):
    use_mail_backend(settings, "tests.test_emails.BrokenMail")
    setattr(settings, f"{PREFIX}EMAIL_ASYNC", False)
    page = kwargs["open_fresh"]()[0]
    press(page, "Send the e-mail")
    page.get_by_text("You can try again.").wait_for()
    return page


def wrong_test(open_fresh, **_):
    page = open_fresh()[0]
    type_code(page, "Test this code", WRONG_CODE)
    page.get_by_role("alert").wait_for()
    return page


def wrong_code_to_delete(open_fresh, **_):
    page = open_fresh()[0]
    page.get_by_text("One code", exact=True).click()
    type_code(page, "Delete it", WRONG_CODE)
    page.get_by_role("alert").wait_for()
    page.get_by_text("All codes", exact=True).click()
    return page


def waiting(open_fresh, settings, **_):
    setattr(settings, f"{PREFIX}MAX_LOGIN_ATTEMPTS", 1)
    page = wrong_test(open_fresh)
    type_code(page, "Test this code", WRONG_CODE)
    page.locator("#verify_wait time").wait_for()
    return page


def asked_to_replace(open_fresh, **_):
    page = open_fresh()[0]
    press(page, "Replace my codes …")
    page.get_by_role("link", name="No, go back").wait_for()
    return page


def asked_to_delete(open_fresh, **_):
    page = open_fresh()[0]
    page.get_by_text("All codes", exact=True).click()
    press(page, "Delete all codes …")
    page.get_by_role("link", name="No, go back").wait_for()
    return page


def many_lists(open_dashboard, user, make_codes, **_):
    for number in range(7):
        make_codes(user, 10, days_to_expire=30 if number % 2 else None)
    return open_dashboard()


def no_address(open_dashboard, user, **_):
    user.email = ""
    user.save()
    return open_dashboard()


def long_address(open_dashboard, user, **_):
    user.email = f"{'owner' * 12}@{'a-long-name.' * 12}example.com"
    user.save()
    page = open_dashboard()
    generate(page)
    return page


STATES = [
    fresh,
    masked,
    over,
    downloaded,
    email_queued,
    email_sent,
    email_failed,
    wrong_test,
    wrong_code_to_delete,
    waiting,
    asked_to_replace,
    asked_to_delete,
    many_lists,
    no_address,
    long_address,
]


def named(state):
    return state.__name__


@pytest.fixture
def show(open_dashboard, open_fresh, user, make_codes, settings):
    """Bring the dashboard into a state: the page that shows it."""

    def show_(state):
        return state(
            open_dashboard=open_dashboard,
            open_fresh=open_fresh,
            user=user,
            make_codes=make_codes,
            settings=settings,
        )

    return show_


@pytest.mark.parametrize("state", STATES, ids=named)
def test_every_state_is_accessible_and_fits(show, inspect, state):
    """R-134, R-135, R-136, R-139: light and dark, on a narrow phone and on a desk."""
    inspect(show(state), named(state))


@pytest.mark.parametrize("language", ["ar", "de", "es", "fr"])
def test_every_language_fits(settings, open_page, open_dashboard, inspect, language):
    """R-136: words of any length, and from right to left."""
    settings.LANGUAGE_CODE = language
    inspect(open_page(LOGIN, width=320), f"{language}_sign_in")
    page = open_dashboard(width=320)
    assert page.locator("html").get_attribute("lang") == language
    assert page.locator("html").get_attribute("dir") == ("rtl" if language == "ar" else "ltr")
    page.locator("form[action$='/generate/'] button").click()
    page.locator("[data-codes]").wait_for()
    inspect(page, f"{language}_fresh")
