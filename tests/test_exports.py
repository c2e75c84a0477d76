"""R-77 to R-80, R-140: the files that people take along, whatever their names contain."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import logging
import os
import re
import struct
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pprint import pformat

import pytest
import reportlab
from django.utils import timezone, translation
from django.views.debug import SafeExceptionReporterFilter
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recovery_backend.codes import canonicalise, generate
from recovery_backend.exports import FORMATS, CodeSheet, is_font, paper, render
from recovery_backend.exports.sheet import ADVICE, one_line
from recovery_backend.exports.typefaces import Typefaces, pdfmetrics, wrapped

# Comes with reportlab; knows Ł, which the standard fonts do not, and no Cyrillic or Greek.
LATIN_FONT = str(Path(reportlab.__file__).parent / "fonts" / "Vera.ttf")
WIDE_FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"

needs_wide_font = pytest.mark.skipif(not os.path.exists(WIDE_FONT), reason="no DejaVu here")
any_text = hypothesis_settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

ISSUED_AT = datetime(2026, 1, 5, 23, 30, tzinfo=UTC)
FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠﹦﹢﹣﹫−")
HOSTILE = st.text(max_size=40) | st.text(alphabet="=+-@;,|\"' \t\r\n＝−a", max_size=12)
NOTE = "Some letters of a name could not be printed here."

SHEET = CodeSheet(
    codes=tuple(generate() for _ in range(10)),
    site_name="Example Shop",
    account="owner@example.com",
    issued_at=ISSUED_AT,
    expires_at=ISSUED_AT + timedelta(days=90),
)


@pytest.fixture
def pdf_font(settings):
    def pdf_font(path):
        settings.DJANGO_AUTH_RECOVERY_CODES_PDF_FONT = str(path)

    return pdf_font


@pytest.fixture
def translated(settings, tmp_path):
    """Our sentences in another language, as a project's own catalogue has them."""

    def translated(language, sentences):
        folder = tmp_path / language / "LC_MESSAGES"
        folder.mkdir(parents=True)
        (folder / "django.mo").write_bytes(catalogue(sentences))
        settings.LOCALE_PATHS = [tmp_path]
        return translation.override(language)

    return translated


def catalogue(sentences):
    """A compiled gettext catalogue."""
    head = "Content-Type: text/plain; charset=UTF-8\n"
    rows = sorted((k.encode(), v.encode()) for k, v in {"": head, **sentences}.items())
    start = 28 + 16 * len(rows)
    tables, data = [], b""
    for column in (0, 1):
        for row in rows:
            tables.append(struct.pack("<II", len(row[column]), start + len(data)))
            data += row[column] + b"\0"
    header = struct.pack("<7I", 0x950412DE, 0, len(rows), 28, 28 + 8 * len(rows), 0, 0)
    return header + b"".join(tables) + data


def text_of(file_format="txt", **changes):
    return render(file_format, replace(SHEET, **changes)).content.decode("utf-8-sig")


def pdf(**changes):
    return render("pdf", replace(SHEET, **changes)).content


def page_streams(content):
    """The drawing commands of each page of a PDF, unpacked."""
    pattern = rb"/ASCII85Decode /FlateDecode \].*?stream\r?\n(.*?)endstream"
    for packed in re.findall(pattern, content, re.DOTALL):
        yield zlib.decompress(base64.a85decode(packed.strip().removesuffix(b"~>")))


def embedded_letters(content):
    """Which byte stands for which letter in an embedded font."""
    letters = {}
    for packed in re.findall(
        rb"/FlateDecode \] /Length \d+\s*>>\s*stream\r?\n(.*?)endstream", content, re.DOTALL
    ):
        with contextlib.suppress(zlib.error):
            for byte, letter in re.findall(rb"<(..)> <(....)>", zlib.decompress(packed)):
                letters[int(byte, 16)] = chr(int(letter, 16))
    return letters


FONT = rb"/(\S+) (\S+) Tf \S+ TL "
TEXT = re.compile(
    FONT + rb"ET|1 0 0 1 (\S+) (\S+) Tm (?:" + FONT + rb")?\(((?:\\.|[^\\])*?)\) Tj", re.DOTALL
)


def drawn(content):
    """Each text of a PDF as (font size, x, y, text), page by page in drawing order."""
    letters = embedded_letters(content)
    return [list(_texts(stream, letters)) for stream in page_streams(content)]


def _texts(stream, letters):
    size = 0.0
    for _font, set_size, x, y, embedded, own_size, text in TEXT.findall(stream):
        if set_size:
            size = float(set_size)
        else:
            characters = _unescaped(text)
            yield (
                float(own_size or size),
                float(x),
                float(y),
                "".join(letters[byte] for byte in characters)
                if embedded
                else characters.decode("cp1252", "replace"),
            )


def _unescaped(text):
    def one(match):
        return bytes([int(match[1], 8)]) if match[1].isdigit() else match[1]

    return re.sub(rb"\\([0-7]{3}|.)", one, text, flags=re.DOTALL)


def words(content):
    return "\n".join(text for page in drawn(content) for *_place, text in page)


# Every format


@pytest.mark.parametrize(
    ("file_format", "content_type"),
    [
        ("txt", "text/plain; charset=utf-8"),
        ("csv", "text/csv; charset=utf-8"),
        ("pdf", "application/pdf"),
    ],
)
def test_a_file_has_the_configured_name_and_its_type(settings, file_format, content_type):
    """R-76, R-77"""
    settings.DJANGO_AUTH_RECOVERY_CODES_DEFAULT_FILE_NAME = "my-codes"
    file = render(file_format, SHEET)
    assert (file.name, file.content_type) == (f"my-codes.{file_format}", content_type)


@pytest.mark.parametrize("file_format", ["", "PDF", "exe", "../txt"])
def test_another_format_is_refused(file_format):
    with pytest.raises(ValueError, match="txt, csv or pdf") as refusal:
        render(file_format, SHEET)
    assert not any(code in str(refusal.value) for code in SHEET.codes)


@pytest.mark.parametrize("file_format", FORMATS)
def test_neither_sheet_nor_file_shows_codes_when_it_is_printed(file_format):
    file = render(file_format, SHEET)
    shown = f"{SHEET!r}{pformat(SHEET)}{file!r}{pformat(file)}"
    assert not any(code[:6] in shown for code in SHEET.codes)
    assert "content" not in repr(file).replace("content_type", "")


@pytest.mark.parametrize(
    ("file_format", "step"),
    [
        ("txt", "text.facts_of"),
        ("csv", "text.facts_of"),
        ("csv", "text._cell"),
        ("pdf", "paper.facts_of"),
        ("pdf", "paper._draw_cut_line"),
        ("pdf", "paper._draw_row"),
        ("pdf", "paper._draw_edges"),
    ],
)
def test_an_error_report_shows_no_code(rf, monkeypatch, file_format, step):
    """What an error page or an e-mail to the admins shows of the frames that hold plaintext."""
    monkeypatch.setattr(f"recovery_backend.exports.{step}", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError) as error:
        render(file_format, SHEET)
    reporter = SafeExceptionReporterFilter()
    frame = error.value.__traceback__.tb_next
    while frame:
        shown = reporter.get_traceback_frame_variables(rf.get("/"), frame.tb_frame)
        assert not any(code in repr(shown) for code in SHEET.codes)
        frame = frame.tb_next


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_same_sheet_gives_the_same_bytes(file_format):
    assert render(file_format, SHEET) == render(file_format, SHEET)


@pytest.mark.parametrize("read", [text_of, lambda: words(pdf())])
def test_dates_are_in_the_active_time_zone_and_name_it(read):
    with timezone.override("Europe/Berlin"):
        assert "Jan. 6, 2026, 12:30 a.m. (Europe/Berlin)" in read()
    assert "Jan. 5, 2026, 11:30 p.m. (UTC)" in read()


@pytest.mark.parametrize("read", [text_of, lambda: words(pdf())])
def test_dates_and_sentences_are_in_the_active_language(translated, read):
    with translated("de", {"Recovery codes": "Wiederherstellungscodes für Sie"}):
        text = read()
    assert "5. Januar 2026 23:30 (UTC)" in text
    assert "Wiederherstellungscodes für Sie" in text


@pytest.mark.parametrize(
    "read",
    [
        text_of,
        lambda **changes: text_of("csv", **changes),
        lambda **changes: words(pdf(**changes)),
    ],
)
def test_codes_without_an_end_date_say_so(read):
    assert "no end date" in read(expires_at=None)
    assert "no end date" not in read()


@pytest.mark.parametrize("read", [text_of, lambda **changes: words(pdf(**changes))])
def test_a_sheet_says_what_to_do_with_it(read):
    text = read()
    for sentence in (
        "Sign in with a recovery code",
        "Each code works once. Cross it off",
        "away from the device",
        "make new ones",
        "Nobody who helps you needs a code.",
    ):
        assert sentence in text


# Plain text


def test_a_text_file_has_one_numbered_code_to_tick_off_on_each_line():
    """R-140: it is the accessible form of the PDF."""
    lines = text_of().split("\r\n")
    assert [line for line in lines if line.startswith("[ ]")] == [
        f"[ ] {number:>2}. {code}" for number, code in enumerate(SHEET.codes, 1)
    ]


@pytest.mark.parametrize("count", [1, 10, 100])
def test_a_line_of_the_text_file_is_read_as_its_code(count):
    """People copy the whole line into the sign-in page."""
    codes = tuple(generate() for _ in range(count))
    lines = [line for line in text_of(codes=codes).split("\r\n") if line.startswith("[ ]")]
    assert [canonicalise(line) for line in lines] == [canonicalise(code) for code in codes]


def test_a_text_file_names_site_account_and_dates():
    assert text_of().split("\r\n")[2:6] == [
        "Site: Example Shop",
        "Account: owner@example.com",
        "Generated: Jan. 5, 2026, 11:30 p.m. (UTC)",
        "Valid until: April 5, 2026, 11:30 p.m. (UTC)",
    ]


def test_a_site_without_a_name_has_no_line():
    assert "Site:" not in text_of(site_name="")
    assert "Site" not in text_of("csv", site_name="").splitlines()[0]


def test_a_text_file_is_utf_8_with_windows_line_ends():
    """R-80"""
    content = render("txt", replace(SHEET, account="Иван")).content
    assert "Account: Иван\r\n".encode() in content
    assert not content.startswith(b"\xef\xbb\xbf")
    assert content.count(b"\n") == content.count(b"\r\n") == content.count(b"\r")
    assert content.endswith(b"\r\n")


@pytest.mark.parametrize(
    "name",
    [
        "x\r\nValid until: never",
        "x\nValid until: never",
        "x\u2028Valid until: never",
        "x\x85Valid until: never",
        "x\u202eValid until: never\u2066",
        "x\x00\x1b[2J\ud800",
    ],
)
@pytest.mark.parametrize("where", ["site_name", "account"])
def test_a_name_cannot_forge_a_line_of_a_text_file(where, name):
    """R-80"""
    text = text_of(**{where: name})
    assert len(text.splitlines()) == len(text_of().splitlines())
    assert "\r\nValid until: never" not in text
    assert not set(text) & set("\x00\x1b\x85\u2028\u202e\u2066")


@given(site=HOSTILE, account=HOSTILE)
@any_text
def test_no_name_adds_a_line_to_a_text_file(site, account):
    """R-80"""
    text = text_of(site_name=f"s{site}", account=f"a{account}")
    assert len(text.splitlines()) == len(text_of().splitlines())


def test_a_very_long_name_is_cut_visibly():
    line = next(x for x in text_of(account="w" * 100_000).split("\r\n") if x[:8] == "Account:")
    assert line == f"Account: {'w' * 254}…"
    assert f"Account: {'w' * 254}\r\n" in text_of(account="w" * 254)


# Table


def rows(content, **options):
    return list(csv.reader(io.StringIO(content, newline=""), **options))


def test_a_table_has_a_heading_and_a_row_for_each_code():
    heading, *body = rows(text_of("csv"))
    assert heading[:5] == ["Number", "Recovery code", "Used", "Site", "Account"]
    assert [row[:5] for row in body] == [
        [str(number), code, "", "Example Shop", "owner@example.com"]
        for number, code in enumerate(SHEET.codes, 1)
    ]
    assert {tuple(row[5:]) for row in body} == {
        ("Jan. 5, 2026, 11:30 p.m. (UTC)", "April 5, 2026, 11:30 p.m. (UTC)")
    }


def test_a_table_opens_in_a_spreadsheet():
    """R-78: UTF-8 with a mark that it is, every cell quoted, lines as RFC 4180 has them."""
    content = render("csv", replace(SHEET, account='Иван "I", P.')).content
    assert content.startswith(b"\xef\xbb\xbf")
    assert '"Иван ""I"", P."'.encode() in content
    assert content.count(b"\n") == content.count(b"\r\n") == len(SHEET.codes) + 1
    assert all(line[:1] == line[-1:] == b'"' for line in content[3:].split(b"\r\n")[:-1])


@pytest.mark.parametrize("start", FORMULA_STARTS)
@pytest.mark.parametrize("before", ["", " ", "\t ", "\u00a0", "\u3000", "\u200b"])
@pytest.mark.parametrize("where", ["site_name", "account"])
def test_a_name_is_no_formula(where, before, start):
    """R-78"""
    content = text_of("csv", **{where: f"{before}{start}HYPERLINK(1)"})
    cells = [cell for row in rows(content) for cell in row]
    assert "HYPERLINK(1)" in content
    assert not any(cell.strip().startswith(FORMULA_STARTS) for cell in cells)


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
@given(site=HOSTILE, account=HOSTILE)
@any_text
def test_no_name_is_a_formula_however_the_table_is_split(delimiter, site, account):
    """R-78: spreadsheets in many languages expect ";" between cells."""
    content = text_of("csv", site_name=site, account=account)
    for row in rows(content, delimiter=delimiter):
        for cell in row:
            assert not cell.strip(' "').startswith(FORMULA_STARTS)


@given(site=HOSTILE, account=HOSTILE)
@any_text
def test_no_name_adds_a_row_or_a_cell(site, account):
    """R-78"""
    table = rows(text_of("csv", site_name=f"s{site}", account=f"a{account}"))
    assert {len(row) for row in table} == {7}
    assert [row[1] for row in table[1:]] == list(SHEET.codes)


def test_codes_stand_in_a_table_as_they_are():
    """R-78: no character of a code's alphabet is ever taken for a formula."""
    codes = tuple(character * 6 for character in "AZaz29")
    assert [row[1] for row in rows(text_of("csv", codes=codes))[1:]] == list(codes)


# Page to print

FORBIDDEN = re.compile(
    rb"/(URI|JavaScript|JS|OpenAction|AA|Annots|Launch|EmbeddedFile|XObject\s*<<|Image\b|GoToR)\b"
)

# A literal in brackets, such as the title: text, whatever it says.
STRING = re.compile(rb"\((?:\\.|[^\\()])*\)", re.DOTALL)


def test_a_page_shows_site_account_dates_and_numbered_codes():
    text = words(pdf()).split("\n")
    assert text[:2] == ["\u0022", "Recovery codes"]  # the scissors, in the font of signs
    for line in ("Example Shop", "owner@example.com", "Page 1 of 1"):
        assert line in text
    assert "April 5, 2026, 11:30 p.m. (UTC)" in text
    for number, code in enumerate(SHEET.codes, 1):
        assert text[text.index(f"{number}.") + 1] == code


def test_ten_codes_are_one_page_with_the_codes_above_the_fold():
    (page,) = drawn(pdf())
    middle = paper.PAGE_HEIGHT / 2
    assert all(y > middle for _size, _x, y, text in page if text in SHEET.codes)


def test_codes_are_in_a_standard_monospace_font_that_people_can_read():
    content = pdf()
    assert b"/BaseFont /Courier-Bold" in content
    assert {size for size, *_place, text in drawn(content)[0] if text in SHEET.codes} == {14.0}


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (1, 1), (10, 1), (25, 2), (100, 4)])
def test_more_codes_take_more_pages_and_each_is_complete(count, pages):
    codes = tuple(generate() for _ in range(count))
    found = drawn(pdf(codes=codes))
    assert len(found) == pages
    assert [text for page in found for *_place, text in page if text in codes] == list(codes)
    for number, page in enumerate(found, 1):
        texts = [text for *_place, text in page]
        assert f"Page {number} of {pages}" in texts
        assert "owner@example.com" in texts
        assert ("How to use these codes" in texts) == (number == 1)


@pytest.mark.parametrize("count", [10, 100])
def test_a_pdf_is_small(count):
    """R-79"""
    assert len(pdf(codes=tuple(generate() for _ in range(count)))) < 60_000


@pytest.mark.parametrize("count", [1, 10])
def test_a_box_to_tick_stands_before_each_code(count):
    (stream,) = page_streams(pdf(codes=SHEET.codes[:count]))
    # A box with round corners is a path that is closed; one more is the line to cut along.
    assert stream.count(b"\nh\nS\n") == count + 1


@pytest.mark.parametrize(
    "name",
    [
        "<b>unclosed",
        '<a href="javascript:alert(1)">x</a>',
        '<img src="/etc/hostname"/>',
        "https://evil.example/",
        "\\) Tj ET /Annots (",
        "(((",
        "%s %(x)s {page} {0}",
    ],
)
def test_markup_in_a_name_is_drawn_as_it_is(name):
    """R-79"""
    content = pdf(site_name=name, account=name)
    assert words(content).split("\n").count(name) == 2
    assert not FORBIDDEN.search(STRING.sub(b"()", content))


@given(site=HOSTILE, account=HOSTILE)
@any_text
def test_no_name_disturbs_the_page(site, account):
    """R-79"""
    (page,) = drawn(pdf(site_name=site, account=account))
    assert [text for *_place, text in page if text in SHEET.codes] == list(SHEET.codes)


def test_the_document_names_its_title_and_language_and_no_secret():
    """R-79: nothing of the account and no code stands outside the page itself."""
    with translation.override("en-gb"):
        content = pdf(site_name="Example Shop", account="someone@example.org")
    assert b"/Title (Recovery codes" in content
    assert b"/Author (Example Shop)" in content
    assert b"/Lang (en-gb)" in content
    assert b"someone" not in content
    assert not any(code.encode() in content for code in SHEET.codes)


def test_a_document_without_a_site_name_has_a_title_all_the_same():
    content = pdf(site_name="")
    assert b"/Title (Recovery codes)" in content
    assert b"/Author ()" in content


@pytest.mark.parametrize(
    "name",
    ["w" * 254, "W" * 2000, "many words " * 40, "i" * 254, "a " + "W" * 90 + " b", "Ł" * 254],
)
def test_a_long_name_is_wrapped_or_cut_visibly_and_never_overlaps(pdf_font, name):
    pdf_font(LATIN_FONT)
    (page,) = drawn(pdf(site_name=name, account=name))
    assert [text for *_place, text in page if text in SHEET.codes] == list(SHEET.codes)
    baselines = sorted({y for _size, _x, y, _text in page}, reverse=True)
    assert all(a - b >= 9 for a, b in zip(baselines, baselines[1:], strict=False) if a != b)
    if len(name) > 254:
        assert "..." in words(pdf(account=name))


@given(text=st.text(alphabet="aiW Ж", min_size=1, max_size=200), most=st.integers(1, 3))
@any_text
def test_no_line_is_wider_than_its_place_and_what_is_missing_shows(text, most):
    run = Typefaces(None).run(one_line(text))
    lines = list(wrapped(run, 10, 120, most))
    assert 1 <= len(lines) <= most
    for line in lines:
        assert pdfmetrics.stringWidth(line, run.font, 10) <= 120
    whole = "".join(lines).replace(" ", "") == run.text.replace(" ", "")
    assert whole or lines[-1].endswith("...")


def test_the_longest_texts_leave_room_for_ten_codes(translated):
    """R-79: one page for a usual batch, in a language with long words too."""
    sentences = {str(text): "Sehr langer Satz mit Wörtern " * 40 for text in ADVICE[1:]}
    sentences["Account"] = "Benutzerkontobezeichnungsangabe" * 3
    with translated("de", sentences):
        (page,) = drawn(pdf(site_name="W" * 254, account="Ж" * 254))
    assert min(y for _size, _x, y, _text in page if y > paper.FOOTER) > paper.FOOTER + 10
    assert any(text.startswith("Benutzerkonto") and text[-3:] == "..." for *_place, text in page)


# Fonts


def test_latin_names_need_no_font_file(pdf_font):
    pdf_font(LATIN_FONT)
    content = pdf(account="Zoë Müller – 5 €")
    assert b"FontFile" not in content
    assert "Zoë Müller – 5 €" in words(content)


def test_an_accent_of_its_own_is_joined_to_its_letter():
    assert "José" in words(pdf(account="Jose\u0301"))


def test_without_a_font_file_foreign_letters_are_marked_and_a_note_says_where_they_are():
    text = words(pdf(account="Иван P."))
    assert "???? P." in text
    assert f"{NOTE} The text file (.txt) shows names in full." in text
    assert NOTE not in words(pdf())


def test_a_font_file_is_used_for_names_that_need_it(pdf_font):
    pdf_font(LATIN_FONT)
    content = pdf(account="Łucja")
    assert b"/FontFile2" in content
    assert b"/BaseFont /Courier-Bold" in content
    assert "Łucja" in words(content)
    assert NOTE not in words(content)
    assert all(code in words(content) for code in SHEET.codes)
    assert len(content) < 60_000


def test_letters_that_the_font_file_lacks_are_marked(pdf_font):
    pdf_font(LATIN_FONT)
    text = words(pdf(account="Łucja Иван"))
    assert "Łucja ????" in text
    assert NOTE in text


@needs_wide_font
def test_a_wide_font_writes_a_cyrillic_name(pdf_font):
    pdf_font(WIDE_FONT)
    content = pdf(site_name="Пример", account="Иван Петров")
    assert b"/FontFile2" in content
    assert {"Пример", "Иван Петров"} <= set(words(content).split("\n"))
    assert NOTE not in words(content)
    assert len(content) < 60_000


@needs_wide_font
def test_a_name_written_from_the_right_carries_the_note(pdf_font):
    """It is drawn letter by letter, which is not how its reader knows it."""
    pdf_font(WIDE_FONT)
    assert NOTE in words(pdf(account="דוגמה"))


@pytest.mark.parametrize("damage", ["missing", "a folder", "text", "cut short", "no letters"])
def test_a_font_that_cannot_be_read_never_costs_the_codes(pdf_font, tmp_path, caplog, damage):
    path = tmp_path / "font.ttf"
    # Another name than the good one's: reportlab reuses a face that it has read before.
    whole = Path(LATIN_FONT).read_bytes()
    for encoding in ("ascii", "utf-16-be"):
        whole = whole.replace("BitstreamVera".encode(encoding), "BitstreamBent".encode(encoding))
    if damage == "a folder":
        path.mkdir()
    elif damage != "missing":
        # Without its table of letters a font is opened, and fails when it is embedded.
        contents = {"text": b"no font" * 99, "cut short": whole[:3000]}
        path.write_bytes(contents.get(damage, whole.replace(b"glyf", b"xxxx", 1)))
    pdf_font(path)
    with caplog.at_level(logging.ERROR, logger="recovery_backend"):
        text = words(pdf(account="Łucja"))
    assert all(code in text for code in SHEET.codes)
    assert "?ucja" in text
    (record,) = (record for record in caplog.records if record.name == "recovery_backend")
    assert "DJANGO_AUTH_RECOVERY_CODES_PDF_FONT" in record.getMessage()
    assert record.exc_info is None
    assert "ucja" not in record.getMessage()


def test_a_font_file_can_be_asked_for_beforehand(tmp_path):
    """For the check at start-up."""
    (tmp_path / "damaged.ttf").write_bytes(Path(LATIN_FONT).read_bytes()[:3000])
    assert is_font(LATIN_FONT)
    for path in (tmp_path / "damaged.ttf", tmp_path / "missing.ttf", tmp_path):
        assert not is_font(str(path))


GREEK = {"Recovery codes": "Κωδικοί ανάκτησης", "Account": "Compte"}


def test_our_sentences_are_in_english_where_no_font_can_write_them(translated):
    with translated("el", GREEK):
        content = pdf()
    text = words(content)
    assert "Recovery codes" in text
    assert "?" not in text
    assert NOTE not in text
    assert b"/Lang (en)" in content
    # Line by line: what can be written stays in the reader's language.
    assert "Compte" in text


def test_a_date_is_in_english_where_no_font_can_write_it():
    with translation.override("el"):
        assert "Jan. 5, 2026, 11:30 p.m. (UTC)" in words(pdf())


@needs_wide_font
def test_our_sentences_stay_as_they_are_where_a_font_can_write_them(translated, pdf_font):
    pdf_font(WIDE_FONT)
    with translated("el", GREEK):
        content = pdf()
    assert "Κωδικοί ανάκτησης" in words(content).split("\n")
    assert b"/Lang (el)" in content


@needs_wide_font
def test_sentences_written_from_the_right_are_in_english(translated, pdf_font):
    pdf_font(WIDE_FONT)
    with translated("he", {"Recovery codes": "קודי שחזור"}):
        assert "Recovery codes" in words(pdf())


def test_the_text_file_keeps_the_readers_language_whatever_the_fonts(translated):
    """R-140"""
    with translated("el", GREEK):
        assert text_of().startswith("Κωδικοί ανάκτησης\r\n")
