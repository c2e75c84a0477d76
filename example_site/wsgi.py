from __future__ import annotations

import os

from django.conf import settings
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_site.settings")
application = get_wsgi_application()
if settings.DEBUG:  # a real site leaves static files to its web server
    application = StaticFilesHandler(application)
