"""The endpoint in OpenAPI, alone or within allauth's own specification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from allauth.headless import app_settings
from allauth.headless.spec.internal.schema import get_schema
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.generic import View

Spec = dict[str, Any]
FRAGMENT = Path(__file__).parent / "openapi.yaml"


def fragment() -> Spec:
    """What this package adds to allauth's specification. Its references are to allauth's parts."""
    import yaml  # comes with allauth's extra "headless-spec"

    spec: Spec = yaml.safe_load(FRAGMENT.read_text())
    return spec


def merged(spec: Spec) -> Spec:
    """allauth's own specification as it lies in its package, with this endpoint in it."""
    added = fragment()
    spec["paths"].update(added["paths"])
    for kind, parts in added["components"].items():
        spec["components"][kind].update(parts)
    return spec


def served() -> Spec:
    """The specification of this site's headless clients: allauth's, with this endpoint in it."""
    spec = merged(get_schema())
    [path] = fragment()["paths"]
    endpoint = spec["paths"].pop(path)
    root = reverse("headless:openapi_yaml").rpartition("/")[0]
    url = path.replace("/_allauth", root)
    if len(app_settings.CLIENTS) == 1:  # allauth names the one client, and drops the parameter
        del endpoint["post"]["parameters"]
        url = url.replace("{client}", app_settings.CLIENTS[0])
    spec["paths"][url] = endpoint
    return spec


@method_decorator(login_not_required, name="dispatch")
class OpenAPIYAMLView(View):
    """The specification as YAML."""

    def get(self, request: HttpRequest) -> HttpResponse:
        import yaml

        return _file(yaml.dump(served()), "yaml", "application/vnd.oai.openapi")


@method_decorator(login_not_required, name="dispatch")
class OpenAPIJSONView(View):
    """The specification as JSON."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return _file(json.dumps(served()), "json", "application/vnd.oai.openapi+json")


def _file(content: str, ending: str, content_type: str) -> HttpResponse:
    name = f"inline; filename=allauth-openapi.{ending}"
    return HttpResponse(content, content_type=content_type, headers={"Content-Disposition": name})
