"""Which page answers which path. Webhooks never come here: rsgi.py hands them to the receiver."""

from django.urls import URLPattern, URLResolver

urlpatterns: list[URLPattern | URLResolver] = []
