"""A site with views of every kind, none of which repairs an account."""

from __future__ import annotations

from allauth.headless.contrib.rest_framework.authentication import (
    JWTTokenAuthentication,
    XSessionTokenAuthentication,
)
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpResponse
from django.urls import include, path, re_path
from django.views.static import serve
from rest_framework.authentication import SessionAuthentication
from rest_framework.decorators import api_view, authentication_classes
from rest_framework.response import Response


def ordinary(request, *args, **kwargs):
    return HttpResponse("opened")


async def asynchronous(request):
    return HttpResponse("opened")


@api_view(["GET", "POST", "PUT"])
@authentication_classes(
    [SessionAuthentication, XSessionTokenAuthentication, JWTTokenAuthentication]
)
def api(request):
    return Response({"user": request.user.pk})


class Leave(LogoutView):
    """A site's own way out, which takes the account along."""

    def post(self, request):
        request.user.delete()
        return HttpResponse("gone")


urlpatterns = [
    path("", include("tests.with_allauth.urls")),
    path("ordinary/", ordinary, name="ordinary"),
    path("unnamed/", ordinary),
    path("called/logout/", ordinary, name="account_logout"),
    path("static/app.css", ordinary),
    path("accounts/2fa/looks-open/", ordinary, name="mfa_look"),
    path("accounts//2fa/", ordinary),
    re_path(r"^ordinary%2F$", ordinary),
    path("asynchronous/", asynchronous),
    path("api/", api, name="api"),
    path("password/", LoginView.as_view()),
    path("leave/", Leave.as_view(), name="leave"),
    path("media/<path:path>", serve, {"document_root": "/srv/media"}),
]
