"""The dashboard: the codes once, what is left of them, and what happened to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.messages import get_messages
from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables
from django.views.generic import TemplateView

from recovery_backend import emails, exports, flows, history
from recovery_backend.addresses import canonical_email, email_of
from recovery_backend.conf import conf
from recovery_backend.flows import Plaintext
from recovery_backend.history import BatchCard
from recovery_backend.models import MAX_DAYS_TO_EXPIRE
from recovery_backend.views.page import RecoveryPage, waiting_text

# A message with this prefix belongs to the form that is named after it.
PROBLEM_TAG = "recovery-problem-"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What can still be done to take the active codes along, and what was done."""

    can_download: bool
    has_downloaded: bool
    can_email: bool
    has_emailed: bool
    email_state: str
    address: str
    needs_address: bool
    """Whether an e-mail would be possible, to an address that is known to be the owner's."""
    default_format: str

    @property
    def formats(self) -> list[tuple[str, str]]:
        names = {"txt": _("Text (TXT)"), "csv": _("Spreadsheet (CSV)"), "pdf": _("Paper (PDF)")}
        return [(value, names[value]) for value in exports.FORMATS]


class PlaintextResponse(TemplateResponse):
    """A page whose template holds codes while it is rendered: an error report shows none (R-84)."""

    @sensitive_variables()
    def render(self) -> SimpleTemplateResponse:
        return super().render()


class DashboardView(RecoveryPage, LoginRequiredMixin, TemplateView):
    """Everything about the signed-in user's own codes. Fresh codes are shown to one GET only."""

    template_name = "recovery_backend/dashboard.html"
    response_class = PlaintextResponse

    # Under ATOMIC_REQUESTS a look would read before it claims the one view, which SQLite refuses
    # when another look has claimed it meanwhile.
    @method_decorator(transaction.non_atomic_requests)
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return super().dispatch(request, *args, **kwargs)

    @sensitive_variables()
    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user: Any = self.request.user
        context = self._without_plaintext(user, **kwargs)
        batch, address = context["overview"].batch, emails.delivery_address(user)
        # Last, so that a fault in anything else costs nobody the one view of their codes.
        plaintext = flows.plaintext_of(self.request, may_show=may_show(self.request))
        delivery = _delivery(batch, plaintext, address)
        return {**context, "plaintext": plaintext, "delivery": delivery}

    def _without_plaintext(self, user: Any, **kwargs: Any) -> dict[str, Any]:
        wait_seconds = kwargs.get("wait_seconds", 0)
        overview = history.overview_of(user)
        problems, notes = _messages(self.request)
        return super().get_context_data(
            **{
                "account": email_of(user) or user.get_username(),
                "has_address": bool(canonical_email(email_of(user))),
                "overview": overview,
                "can_verify": overview.can_test
                and not (overview.needs_new_codes or overview.has_passed_test),
                "replaces": overview.batch is not None,
                "days_to_expire_max": MAX_DAYS_TO_EXPIRE,
                "history": overview.page(self.request.GET.get("page")),
                "activity": overview.activity,
                "problems": problems,
                "messages": notes,
                "waiting_for": "",
                "waiting_text": waiting_text(wait_seconds),
                "wait_seconds": wait_seconds,
                **kwargs,
            }
        )


def may_show(request: HttpRequest) -> bool:
    """Whether a person has opened this page: not a HEAD, a prefetch, or another site's image.

    A browser that does not say where a request comes from is believed.
    """
    headers = request.headers
    purpose = f"{headers.get('Sec-Purpose', '')} {headers.get('Purpose', '')}"
    # "same-site" is a sibling, to whose requests SameSite cookies are sent.
    is_ours = headers.get("Sec-Fetch-Site", "none") in {"same-origin", "none"}
    is_page = headers.get("Sec-Fetch-Dest", "document") == "document"
    return request.method == "GET" and "prefetch" not in purpose and is_ours and is_page


def _delivery(
    batch: BatchCard | None, plaintext: Plaintext | None, address: str
) -> Delivery | None:
    # Not the reader of this page asked for the e-mail of an emergency code.
    if batch is None or batch.is_emergency:
        return None
    if plaintext is None and batch.shown_email_state == "none":
        return None
    is_there = plaintext is not None
    may_email = is_there and conf.EMAIL_CODES and not batch.has_emailed
    return Delivery(
        can_download=is_there and not batch.has_downloaded,
        has_downloaded=batch.has_downloaded,
        can_email=may_email and bool(address),
        has_emailed=batch.has_emailed,
        email_state=batch.shown_email_state,
        address=address,
        needs_address=may_email and not address,
        default_format=conf.DEFAULT_FORMAT,
    )


def _messages(request: HttpRequest) -> tuple[dict[str, str], list[Any]]:
    """The texts that belong to one form, by its name, and all other messages."""
    problems, others = {}, []
    for message in get_messages(request):
        tag = message.extra_tags or ""
        if tag.startswith(PROBLEM_TAG):
            problems[tag.removeprefix(PROBLEM_TAG)] = str(message)
        else:
            others.append(message)
    return problems, others
