"""The curl session of the docs, run as it stands against a live site."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PASSWORD, is_missing

PAGE = Path(__file__).parents[2] / "docs" / "headless.md"


@pytest.fixture
def run_docs(live_server, tmp_path):
    """The answers of the page's commands, in their order, by a shell."""
    if not shutil.which("curl") or not PAGE.exists():
        is_missing("curl")

    def run(**values):
        first, *blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
        assert set(re.findall(r"^(\w+)=", first, re.M)) == values.keys() | {"SITE"}
        script = "\necho\necho END\n".join(["set -eu", *blocks, ""])
        done = subprocess.run(
            ["bash", "-c", script],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "SITE": live_server.url, **values},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return [part.strip() for part in done.stdout.split("END\n")]

    return run


@pytest.mark.django_db(transaction=True)
def test_the_curl_session_works_as_it_is_written(totp_user, run_docs):
    user, codes = totp_user
    answers = run_docs(
        NAME=user.username, EMAIL=user.email, PASSWORD=PASSWORD, CODE=codes[0], OTHER_CODE=codes[1]
    )
    _start, _token, step, signed_out, by_code, _end = answers
    methods = [(it["method"], it.get("type")) for it in json.loads(step)["data"]["methods"]]
    assert methods == [("password", None), ("mfa", "recovery_codes")]
    assert json.loads(signed_out)["status"] == 401
    answer = json.loads(by_code)
    assert answer["data"]["user"]["email"] == user.email
    assert answer["meta"]["session_token"]
