"""Django as an ordinary WSGI application: all pages, without the receiver.

The server itself runs tagwarden/rsgi.py, which hands the pages to this. Another WSGI server may run it, too,
for pages only.
"""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tagwarden.settings")

application = get_wsgi_application()
