"""Django app."""

from django.apps import AppConfig


class Config(AppConfig):
    name = "tagwarden.members"
    label = "members"
