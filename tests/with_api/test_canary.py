"""No plaintext code, and no delivery key, is left anywhere but in the answer that hands it out."""

from __future__ import annotations

import pytest

from tests.test_canary import every_cell, witness  # noqa: F401  # a fixture
from tests.with_api.conftest import ApiClient

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def told_of(witness):  # noqa: F811
    """Note an answer that must hold no code."""

    def note(answer):
        witness.note("answer", answer.content)
        witness.note("headers", dict(answer.headers))
        return answer

    return note


def test_the_life_of_codes_leaves_none_anywhere(user, make_user, witness, told_of):  # noqa: F811
    """R-10, R-70, R-83: delivered, refused, tested, used, and deleted."""
    api, stranger = ApiClient().sign_in(user), ApiClient().sign_in(make_user())
    fresh = api.generate()
    handle = {"batch": fresh["batch"]["id"], "delivery_key": fresh["delivery_key"]}
    first, second, third, *_others = fresh["codes"]
    told_of(stranger.send("download", handle))
    assert api.send("download", handle).status_code == 200
    told_of(api.send("download", handle))
    told_of(api.send("email", handle))  # waits in the queue
    for name, code in [("verify", first), ("invalidate", second), ("delete", third)]:
        told_of(api.send(name, {"recovery_code": code}))
        told_of(stranger.send(name, {"recovery_code": code}))
    told_of(api.send("verify", {"recovery_code": first, first: first}))
    told_of(api.send("delete-all", {"batch": first}))
    for email in ("nobody@example.com", user.email, user.email):
        script = ApiClient()
        script.take_csrf_token()
        told_of(script.send("sign-in", {"email": email, "recovery_code": first}))
    for name in ("status", "batches", "activity", "email"):
        told_of(api.ask(name))
    told_of(api.send("saved", {"batch": handle["batch"]}))
    for code in fresh["codes"]:
        assert witness.places_of(code) == []
    key = fresh["delivery_key"].encode()
    assert not [where for where, blob in [*witness.seen, *every_cell()] if key in blob]
