"""The help desk: find a user, see how it stands with their codes, and help. No code is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.contrib.admin.widgets import AdminTextInputWidget, AutocompleteSelect
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from recovery_backend import cooldown, flows, history
from recovery_backend.admin.lists import ReadOnlyAdmin, users_named
from recovery_backend.admin.names import address_of, name_of
from recovery_backend.admin.remedies import REMEDIES, Case, Remedy, refusal_text
from recovery_backend.exceptions import RecoveryCodeError
from recovery_backend.models import RecoveryCodeBatch, RecoveryCodeDesk
from recovery_backend.views.page import waiting_text

VIEW_NAME = "recovery_backend_recoverycodedesk"
MAX_TERM_LENGTH = 254


class FindForm(forms.Form):
    """Who is looked for, by a name or an address that they tell."""

    q = forms.CharField(
        label=_("User name or whole e-mail address"),
        max_length=MAX_TERM_LENGTH,
        widget=AdminTextInputWidget(
            attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )


class Picker(AutocompleteSelect):
    """Django's autocomplete, with words in its empty field: select2 takes no label for its name."""

    def build_attrs(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {**super().build_attrs(*args, **kwargs), "data-placeholder": _("Choose a user")}


class PickForm(forms.Form):
    """Who is looked for, chosen from what Django's autocomplete finds."""

    def __init__(self, site: admin.AdminSite) -> None:
        super().__init__()
        field: Any = RecoveryCodeBatch._meta.get_field("user")
        users = get_user_model()._default_manager.none()
        picker = Picker(field, site)
        self.fields["user"] = forms.ModelChoiceField(users, label=_("User"), widget=picker)


class Found(NamedTuple):
    url: str
    name: str
    address: str
    is_active: bool


class Offer(NamedTuple):
    remedy: Remedy
    url: str
    why_not: str


@admin.register(RecoveryCodeDesk)
class RecoveryCodeDeskAdmin(ReadOnlyAdmin):
    """One page to find a user, one for the user, and one that asks before each change."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("", view(self.changelist_view), name=f"{VIEW_NAME}_changelist"),
            path("<slug:name>/", view(self.remedy_view), name=f"{VIEW_NAME}_remedy"),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """To find a user; with `?user=` the page of one."""
        self._require_permission(request)
        if pk := request.GET.get("user"):
            user = user_of(pk)
            return self._user_page(request, user) if user else self._find_page(request, 404)
        form = FindForm(request.GET if "q" in request.GET else None)
        found = self._found(request, form)
        if len(found) == 1:
            return HttpResponseRedirect(found[0].url)
        return self._find_page(request, form=form, found=found)

    def remedy_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """What a remedy will do, and on POST, doing it."""
        self._require_permission(request)
        remedy, user = REMEDIES.get(name), user_of(request.GET.get("user"))
        if remedy is None or user is None:
            return self._find_page(request, 404)
        if not remedy.is_permitted(request):
            raise PermissionDenied
        if request.method == "POST":
            return self._apply(request, remedy, user)
        case = self._case(request, user)
        return self._answer(
            request,
            "desk_confirm",
            title=remedy.title,
            remedy=remedy,
            subtitle=name_of(request, user),
            consequences=list(remedy.consequences(case)),
            why_not=remedy.why_not(request, case),
            back=self._home_of(user),
        )

    def _apply(self, request: HttpRequest, remedy: Remedy, user: Any) -> HttpResponse:
        try:
            flows.require_recent_sign_in(request)
            remedy.apply(request, user)
        except RecoveryCodeError as refusal:
            self.message_user(request, refusal_text(refusal), messages.ERROR)
        else:
            self._log(request, remedy, user)
            self.message_user(request, str(remedy.done), messages.SUCCESS)
        return HttpResponseRedirect(self._home_of(user))

    def _log(self, request: HttpRequest, remedy: Remedy, user: Any) -> None:
        """In the history of the user, which the admin shows; under the name that is shown here."""
        LogEntry.objects.create(
            user=cast(Any, request.user),
            content_type=get_content_type_for_model(user),
            object_id=str(user.pk),
            object_repr=name_of(request, user)[:200],
            action_flag=CHANGE,
            change_message=str(remedy.title),
        )

    def _home_of(self, user: Any) -> str:
        return self._url_of(RecoveryCodeDesk, user)

    def _require_permission(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _find_page(
        self,
        request: HttpRequest,
        status: int = 200,
        *,
        form: FindForm | None = None,
        found: Sequence[Found] = (),
    ) -> HttpResponse:
        form, picker = form or FindForm(), self._picker(request)
        return self._answer(
            request,
            "desk",
            status,
            form=form,
            found=found,
            is_missing=status == 404,
            picker=picker,
            media=cast(Any, self.media) + picker.media if picker else self.media,
        )

    def _user_page(self, request: HttpRequest, user: Any) -> HttpResponse:
        case = self._case(request, user)
        standing = cooldown.standing_of(user)
        batch = case.overview.batch
        return self._answer(
            request,
            "desk_user",
            subtitle=name_of(request, user),
            case=case,
            standing=standing,
            wait=waiting_text(standing.wait_seconds) if standing.wait_seconds else "",
            email_state=RecoveryCodeBatch.EmailState(batch.shown_email_state) if batch else None,
            offers=list(self._offers(request, case)),
            find_url=reverse(f"{self.admin_site.name}:{VIEW_NAME}_changelist"),
            links=[link for link in self.links(request, case) if link.url != self._home_of(user)],
        )

    def _answer(
        self, request: HttpRequest, template: str, status: int = 200, **context: Any
    ) -> HttpResponse:
        common = {
            **self.admin_site.each_context(request),
            "title": capfirst(str(self.opts.verbose_name)),
            "opts": self.opts,
            "media": self.media,
        }
        name = f"admin/recovery_backend/{template}.html"
        return TemplateResponse(request, name, {**common, **context}, status=status)

    def _offers(self, request: HttpRequest, case: Case) -> Iterator[Offer]:
        for remedy in REMEDIES.values():
            if remedy.is_permitted(request):
                url = reverse(f"{self.admin_site.name}:{VIEW_NAME}_remedy", args=[remedy.name])
                why_not = remedy.why_not(request, case)
                yield Offer(remedy, f"{url}?user={case.user.pk}", why_not)

    def _found(self, request: HttpRequest, form: FindForm) -> list[Found]:
        if not form.is_valid():
            return []
        pks = users_named(form.cleaned_data["q"])
        users = get_user_model()._default_manager.filter(pk__in=pks).order_by("pk")
        return [
            Found(
                self._home_of(user),
                name_of(request, user),
                address_of(request, user),
                getattr(user, "is_active", True),
            )
            for user in users
        ]

    def _case(self, request: HttpRequest, user: Any) -> Case:
        return Case(user, history.overview_of(user), address_of(request, user))

    def _picker(self, request: HttpRequest) -> PickForm | None:
        """A list of users to choose from, where the site's own admin lets one search them."""
        users = get_user_model()
        if not self.may_view(request, users):
            return None
        if not self.admin_site.get_model_admin(users).get_search_fields(request):
            return None
        return PickForm(self.admin_site)


def user_of(pk: object) -> Any:
    """The user with this primary key, whatever was typed into the address; else None."""
    try:
        return forms.ModelChoiceField(get_user_model()._default_manager.all()).clean(pk)
    except ValidationError:
        return None
