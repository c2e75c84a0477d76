"""Views of a project, which ask for a second factor."""

from __future__ import annotations

from datetime import timedelta

from django.urls import path
from recovery_backend_api.permissions import MFARequired
from rest_framework.response import Response
from rest_framework.views import APIView


class Protected(APIView):
    permission_classes = (MFARequired,)

    def get(self, request):
        self.check_object_permissions(request, request.user)
        return Response({"secret": request.user.pk})


class JustProven(Protected):
    permission_classes = (MFARequired(max_age=timedelta(minutes=5)),)


urlpatterns = [path("", Protected.as_view()), path("just-proven/", JustProven.as_view())]
