"""Views of every kind behind `@mfa_required`. Each answers with the name of whom it serves."""

from __future__ import annotations

from datetime import timedelta

from allauth.headless.contrib.rest_framework.authentication import (
    JWTTokenAuthentication,
    XSessionTokenAuthentication,
)
from django.http import HttpResponse
from django.urls import path
from django.views import View
from recovery_backend_allauth.decorators import mfa_required
from rest_framework.authentication import BasicAuthentication, SessionAuthentication
from rest_framework.decorators import action, api_view, authentication_classes
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

AUTHENTICATION = [
    XSessionTokenAuthentication,
    JWTTokenAuthentication,
    SessionAuthentication,
    BasicAuthentication,
]


def page(request):
    return HttpResponse(request.user.get_username())


async def later_page(request):
    user = await request.auser()
    return HttpResponse(user.get_username())


@mfa_required
def function(request):
    return page(request)


@mfa_required()
def called(request):
    return page(request)


@mfa_required(max_age=timedelta(hours=1))
def fresh(request):
    return page(request)


@mfa_required
async def later_function(request):
    return await later_page(request)


@mfa_required
class Page(View):
    def get(self, request):
        return page(request)

    def post(self, request):
        return page(request)


class Child(Page):
    def get(self, request):
        return page(request)


class PlainPage(View):
    def get(self, request):
        return page(request)


class Method(View):
    @mfa_required
    def get(self, request):
        return page(request)

    def head(self, request):
        return HttpResponse("for everybody")


@mfa_required
class LaterPage(View):
    async def get(self, request):
        return await later_page(request)


class LaterMethod(View):
    @mfa_required
    async def get(self, request):
        return await later_page(request)


@mfa_required(max_age=timedelta(hours=1))
class FreshPage(View):
    def get(self, request):
        return page(request)


class API:
    authentication_classes = AUTHENTICATION


def answer(request):
    return Response({"name": request.user.get_username()})


@api_view(["GET", "POST"])
@authentication_classes(AUTHENTICATION)
@mfa_required
def api_function(request):
    return answer(request)


@api_view(["GET"])
@mfa_required(max_age=timedelta(hours=1))
@authentication_classes(AUTHENTICATION)
def api_fresh(request):
    return answer(request)


@mfa_required
class APIPage(API, APIView):
    def get(self, request):
        return answer(request)


class APIChild(APIPage):
    def get(self, request):
        return answer(request)


class APIMethod(API, APIView):
    @mfa_required
    def get(self, request):
        return answer(request)


@mfa_required
class Set(API, ViewSet):
    def list(self, request):
        return answer(request)


class OpenSet(API, ViewSet):
    def list(self, request):
        return Response("for everybody")

    @action(detail=False)
    @mfa_required
    def secret(self, request):
        return answer(request)

    @mfa_required
    @action(detail=False)
    def other_secret(self, request):
        return answer(request)


VIEWS = {
    "function": function,
    "called": called,
    "fresh": fresh,
    "later-function": later_function,
    "class": Page.as_view(),
    "class-in-urls": mfa_required(PlainPage.as_view()),
    "child": Child.as_view(),
    "method": Method.as_view(),
    "later-class": LaterPage.as_view(),
    "later-method": LaterMethod.as_view(),
    "fresh-class": FreshPage.as_view(),
}
API_VIEWS = {
    "api-function": api_function,
    "api-fresh": api_fresh,
    "api-class": APIPage.as_view(),
    "api-child": APIChild.as_view(),
    "api-method": APIMethod.as_view(),
    "api-set": Set.as_view({"get": "list"}),
    "api-action": OpenSet.as_view({"get": "secret"}),
    "api-other-action": OpenSet.as_view({"get": "other_secret"}),
}
OPEN_VIEWS = {"api-open": OpenSet.as_view({"get": "list"})}

urlpatterns = [
    path(f"{name}/", view) for name, view in {**VIEWS, **API_VIEWS, **OPEN_VIEWS}.items()
]
