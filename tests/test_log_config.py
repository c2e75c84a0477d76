"""The logging set-up: merged without loss, lazy, and masked."""

from __future__ import annotations

import copy
import logging
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recovery_backend.codes import ALPHABET, display, generate
from recovery_backend.log_config import (
    DJANGO_AUTH_RECOVERY_CODES_LOGGING,
    LOG_DIR_VARIABLE,
    MASK,
    LazyRotatingFileHandler,
    RedactionFilter,
    merge_logging,
)

THEIRS = {
    "version": 1,
    "disable_existing_loggers": True,
    "filters": {"own": {"()": "logging.Filter"}},
    "formatters": {"own": {"format": "own %(message)s"}},
    "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own"}},
    "loggers": {"django": {"handlers": ["own"], "level": "ERROR"}},
    "root": {"handlers": ["own"], "level": "WARNING"},
}


@pytest.fixture
def run(tmp_path):
    """Run a script in an empty folder, in a process whose logging is its own."""

    def run(script, **environment):
        lines = [
            "import logging, logging.config, os, sys",
            "from recovery_backend import log_config",
            "from recovery_backend.log_config import *",
            "OURS = log_config.DJANGO_AUTH_RECOVERY_CODES_LOGGING",
            "logger = logging.getLogger('recovery_backend')",
            script,
        ]
        return subprocess.run(
            [sys.executable, "-c", "\n".join(lines)],
            cwd=tmp_path,
            env={"PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": "", **environment},
            capture_output=True,
            text=True,
            check=True,
        )

    return run


class TestMerge:
    def test_everything_of_the_project_stays(self):
        merged = merge_logging(THEIRS)
        for section in ("filters", "formatters", "handlers", "loggers"):
            assert THEIRS[section].items() <= merged[section].items()
            assert (
                DJANGO_AUTH_RECOVERY_CODES_LOGGING[section].items() <= (merged[section].items())
                or section not in DJANGO_AUTH_RECOVERY_CODES_LOGGING
            )
        assert merged["root"] == THEIRS["root"]
        assert merged["disable_existing_loggers"] is True

    def test_where_both_name_a_thing_the_projects_stays(self):
        own = {"handlers": ["own"], "level": "DEBUG"}
        merged = merge_logging({"version": 1, "loggers": {"recovery_backend": own}})
        assert merged["loggers"] == {"recovery_backend": own}

    def test_neither_argument_is_changed(self):
        theirs, ours = copy.deepcopy(THEIRS), copy.deepcopy(DJANGO_AUTH_RECOVERY_CODES_LOGGING)
        merged = merge_logging(theirs)
        merged["handlers"]["own"]["class"] = "changed"
        merged["loggers"]["recovery_backend"]["handlers"].clear()
        assert theirs == THEIRS
        assert ours == DJANGO_AUTH_RECOVERY_CODES_LOGGING

    @pytest.mark.parametrize(
        "settings", [{}, {"version": 1}, {"version": 1, "loggers": {}}, {"version": 1, "root": {}}]
    )
    def test_little_or_nothing_can_be_merged(self, settings, run, tmp_path):
        run(f"logging.config.dictConfig(merge_logging({settings!r})); logger.warning('hello')")
        assert "hello" in (tmp_path / "logs" / "recovery_backend.log").read_text()

    def test_the_merged_set_up_works(self, run, tmp_path):
        done = run(
            f"logging.config.dictConfig(merge_logging({THEIRS!r}))\n"
            "logger.info('of ours'); logging.getLogger('django').error('of theirs')\n"
            "logging.getLogger('else').warning('of root')"
        )
        assert "INFO recovery_backend of ours" in done.stderr
        assert "own of theirs" in done.stderr and "own of root" in done.stderr
        assert "own of ours" not in done.stderr


class TestFiles:
    def test_the_dict_alone_is_valid(self, run, tmp_path):
        done = run("logging.config.dictConfig(OURS); logger.info('hello %s', 'there')")
        assert "INFO recovery_backend hello there" in done.stderr
        text = (tmp_path / "logs" / "recovery_backend.log").read_text()
        assert text.endswith("INFO recovery_backend hello there\n")

    def test_nothing_is_made_before_the_first_record(self, run, tmp_path):
        run("logging.config.dictConfig(OURS); logger.debug('below the level')")
        assert list(tmp_path.iterdir()) == []

    def test_the_folder_is_a_variable_of_the_environment(self, run, tmp_path):
        folder = tmp_path / "some" / "where"
        script = "logging.config.dictConfig(OURS); logger.info('hello')"
        run(script, **{LOG_DIR_VARIABLE: str(folder)})
        assert [path.name for path in folder.iterdir()] == ["recovery_backend.log"]
        assert not (tmp_path / "logs").exists()

    def test_a_folder_that_cannot_be_written_is_a_warning(self, run, tmp_path):
        (tmp_path / "file").write_text("")
        done = run(
            "logging.config.dictConfig(OURS); logger.info('first'); logger.info('second')",
            **{LOG_DIR_VARIABLE: str(tmp_path / "file" / "logs")},
        )
        assert done.stderr.count("WARNING") == 1
        assert "cannot be written" in done.stderr
        assert "INFO recovery_backend first" in done.stderr
        assert "INFO recovery_backend second" in done.stderr
        assert "Traceback" not in done.stderr

    def test_files_rotate(self, run, tmp_path):
        run(
            "log_config.MAX_BYTES = 200; logging.config.dictConfig(OURS)\n"
            "for number in range(20): logger.info('record %s', number)"
        )
        names = {path.name for path in (tmp_path / "logs").iterdir()}
        assert {"recovery_backend.log", "recovery_backend.log.1"} <= names
        assert len(names) == 6

    def test_both_handlers_mask(self, run, tmp_path):
        code = generate()
        done = run(f"logging.config.dictConfig(OURS); logger.info('code %s', {code!r})")
        text = (tmp_path / "logs" / "recovery_backend.log").read_text()
        for shown in (done.stderr, text):
            assert code not in shown and MASK in shown


class TestHandler:
    @pytest.fixture
    def handler(self):
        handler = LazyRotatingFileHandler("own.log")
        yield handler
        handler.close()

    @pytest.fixture
    def write(self, handler):
        def write(text):
            handler.emit(logging.LogRecord("x", logging.INFO, "", 0, text, (), None))
            handler.flush()

        return write

    def test_it_opens_its_file_at_the_first_record(self, write, tmp_path, monkeypatch):
        monkeypatch.setenv(LOG_DIR_VARIABLE, str(tmp_path / "made" / "late"))
        assert list(tmp_path.iterdir()) == []
        write("hello")
        assert (tmp_path / "made" / "late" / "own.log").read_text() == "hello\n"

    def test_it_falls_back_to_standard_error(self, write, tmp_path, monkeypatch, capfd):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv(LOG_DIR_VARIABLE, str(tmp_path / "file"))
        write("hello")
        shown = capfd.readouterr().err
        assert "cannot be written" in shown and "hello" in shown
        assert (tmp_path / "file").read_text() == ""


class TestRedaction:
    """R-119: a second line of defence."""

    def shown(self, message, *args):
        record = logging.LogRecord("x", logging.INFO, "", 0, message, args, None)
        assert RedactionFilter().filter(record) is True
        return record.getMessage()

    @given(
        st.text(ALPHABET, min_size=36, max_size=36),
        st.sampled_from(["", "-", " ", "\u2013", " - ", "\u00ad", "\u200b"]),
    )
    def test_a_code_is_masked_in_any_spelling(self, canonical, separator):
        code = display(canonical).replace("-", separator)
        assert self.shown(f"before {code} after") == f"before {MASK} after"
        assert self.shown("before %s after", code) == f"before {MASK} after"
        assert self.shown("%s and %s", code, code) == f"{MASK} and {MASK}"
        assert self.shown("code=%r.", code.replace("\u200b", "").replace("\u00ad", "")) == (
            f"code='{MASK}'."
        )

    @pytest.mark.parametrize(
        "text",
        [
            "recovery.login.fail reason=unknown user=- batch=- code=- audit=7",
            "recovery.login.success user=5 batch=0b6f0c3e-4b1d-4c57-9a43-5a3b1f6b8c11 code=9",
            "GET /auth/recovery-codes/login/ 200",
            "4b7d1f0c9a6e83520d1c2b3a495867f6e5d4c3b2a19087f6e5d4c3b2a1908776",
        ],
    )
    def test_other_text_stays(self, text):
        assert self.shown(text) == text

    def test_a_record_that_cannot_be_formatted_is_left_to_logging(self):
        record = logging.LogRecord("x", logging.INFO, "", 0, "%d %d", ("one",), None)
        assert RedactionFilter().filter(record) is True
        assert record.args == ("one",)
