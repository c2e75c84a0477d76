"""The session that a sign-in begins."""

from __future__ import annotations

from tests.conftest import LOGIN, WRONG_CODE


class TestSession:
    """R-32: a new session key in every case."""

    def begin(self, client, user=None):
        if user:
            client.force_login(user)
        session = client.session
        session["cart"] = "kept"
        session.save()
        client.cookies["sessionid"] = session.session_key
        return session.session_key

    def test_an_anonymous_session_gets_a_new_key(self, user, codes, client, post_code):
        before = self.begin(client)
        post_code(user.email, codes[0])
        assert client.session.session_key != before
        assert client.session["cart"] == "kept"
        assert not client.session.exists(before)

    def test_the_same_users_session_gets_a_new_key(self, user, codes, client, post_code):
        before = self.begin(client, user)
        assert post_code(user.email, codes[0]).status_code == 302
        assert client.session.session_key != before
        assert (
            client.session["_auth_user_backend"] == "recovery_backend.backends.RecoveryCodeBackend"
        )
        assert not client.session.exists(before)

    def test_another_users_session_is_emptied(self, user, codes, client, post_code, make_user):
        before = self.begin(client, make_user())
        post_code(user.email, codes[0])
        assert client.session.session_key != before
        assert client.session["_auth_user_id"] == str(user.pk)
        assert "cart" not in client.session

    def test_the_csrf_token_is_new_too(self, user, codes, client, post_code):
        client.get(LOGIN)
        before = client.cookies["csrftoken"].value
        post_code(user.email, codes[0])
        assert client.cookies["csrftoken"].value != before

    def test_a_refusal_leaves_the_session_alone(self, user, client, post_code, make_user):
        other = make_user()
        before = self.begin(client, other)
        post_code(user.email, WRONG_CODE)
        assert client.session.session_key == before
        assert client.session["_auth_user_id"] == str(other.pk)
