"""The OpenAPI document: without a warning, in step with its file, and true of a live site."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import hypothesis
import pytest
import schemathesis
import yaml
from django.core.management import call_command
from recovery_backend_api import schema
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.with_api.conftest import session_token

OPERATIONS = schemathesis.openapi.from_dict(schema.document())
FILE = Path(__file__).parents[2] / "docs" / "openapi.yaml"


def test_it_is_made_without_a_warning():
    out = StringIO()
    urls = "recovery_backend_api.urls"
    call_command("spectacular", urlconf=urls, validate=True, fail_on_warn=True, stdout=out)
    assert "/status/" in yaml.safe_load(out.getvalue())["paths"]


@pytest.mark.skipif(not FILE.exists(), reason="this is about a checkout, and this is none")
def test_the_file_is_in_step():
    assert FILE.read_text() == schema.text(), "run `make docs`"


@pytest.fixture
def unbounded(settings):
    """A site that never asks for patience."""
    settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "100000/m"
    settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 100
    settings.DJANGO_AUTH_RECOVERY_CODES_COOLDOWN_CUTOFF_POINT = 1


@pytest.fixture
def headers(user):
    csrf = "a" * 32
    return {
        "X-Session-Token": session_token(user),
        "X-CSRFToken": csrf,
        "Cookie": f"csrftoken={csrf}",
    }


@pytest.mark.django_db(transaction=True)
@OPERATIONS.parametrize()
@hypothesis.settings(
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[  # one site and one user for all cases
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)
def test_the_site_does_what_the_document_says(case, headers, codes, live_server, unbounded):
    case.call_and_validate(
        base_url=live_server.url, headers=headers, excluded_checks=[positive_data_acceptance]
    )
