"""Passwords that wait for the CRM; and none stands readable in a contact's fields any more."""

from typing import ClassVar

from django.db import migrations, models

FIELD = "Password"  # the only one that could be mapped so far


def take_out(apps, schema_editor):  # type: ignore[no-untyped-def]  # Django's own signature
    contacts = apps.get_model("members", "Contact").objects
    for contact in contacts.filter(fields__has_key=FIELD).iterator(chunk_size=500):
        del contact.fields[FIELD]
        contact.save(update_fields=["fields"])


class Migration(migrations.Migration):
    dependencies: ClassVar = [("members", "0001_initial")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="MadePassword",
            fields=[
                (
                    "member",
                    models.OneToOneField(
                        on_delete=models.deletion.CASCADE,
                        primary_key=True,
                        related_name="made_password",
                        serialize=False,
                        to="members.member",
                    ),
                ),
                ("made", models.DateTimeField()),
                ("sealed", models.TextField(blank=True)),
                ("reached", models.DateTimeField(null=True)),
            ],
        ),
        migrations.RunPython(take_out, migrations.RunPython.noop),
    ]
