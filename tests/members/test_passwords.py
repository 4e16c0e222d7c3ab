"""What was kept readable by earlier versions is taken out."""

import importlib

from django.apps import apps

from tagwarden.members.models import Contact, Member


def test_passwords_kept_by_an_earlier_version_are_taken_out_and_nothing_else(bob: Member) -> None:
    Contact.objects.update(fields={"Password": "blue-boat-7", "Points": "3"})
    migration = importlib.import_module("tagwarden.members.migrations.0002_passwords")

    for _ in range(2):
        migration.take_out(apps, None)

    assert Contact.objects.get().fields == {"Points": "3"}
