"""Whatever states codes are in, none goes that could be spent."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from recovery_backend.purge import Purged, purge_codes
from tests.purge.conftest import CLOCK_SKEW, SECOND, add_batch, counters

STATES = st.one_of(
    st.tuples(st.just("active"), st.none() | st.integers(-90_000, 5_000_000)),
    st.tuples(
        st.sampled_from(["used", "invalidated", "deleted"]), st.integers(-90_000, 5_000_000)
    ),
)


@pytest.mark.django_db
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(STATES, min_size=1, max_size=4), min_size=1, max_size=4),
    retention=st.integers(0, 40),
    batch_size=st.integers(1, 5),
    max_rows=st.integers(-1, 9),
    deletes=st.booleans(),
)
def test_whatever_the_states_no_code_that_could_be_spent_goes(
    batches, retention, batch_size, max_rows, deletes
):
    """R-109, R-110: also on a server whose clock is behind; every code stays counted."""
    with transaction.atomic():
        user = get_user_model().objects.create_user("owner", "owner@example.com")
        for states in batches:
            ages = [(state, None if ago is None else ago * SECOND) for state, ago in states]
            add_batch(user, *ages)
        now = timezone.now() - CLOCK_SKEW
        live = RecoveryCode.objects.filter(status="active").exclude(expires_at__lte=now)
        live = set(live.values_list("pk", flat=True))
        policy = {"retention_days": retention, "delete_empty_batches": deletes}
        limits = {"batch_size": batch_size, "max_rows": max_rows}
        foreseen = purge_codes(**policy, **limits, is_dry_run=True)
        number = RecoveryCode.objects.count()
        done = purge_codes(**policy, **limits)
        assert done == foreseen
        assert number - done.codes == RecoveryCode.objects.count()
        assert max_rows == -1 or done.rows <= max_rows
        assert live <= set(RecoveryCode.objects.values_list("pk", flat=True))
        for batch in RecoveryCodeBatch.objects.all():
            assert sum(counters(batch)) + batch.codes.count() == batch.number_issued
        rest = purge_codes(**policy)
        assert bool(rest.rows) == done.has_more
        assert not deletes or not RecoveryCodeBatch.objects.filter(codes=None).exists()
        assert purge_codes(**policy) == Purged()
        transaction.set_rollback(True)
