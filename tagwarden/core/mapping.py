"""Which field of the CRM is what here: by its label, whatever its case, as the owner mapped it."""

from dataclasses import replace

from tagwarden.core.names import plain
from tagwarden.core.options import ConnectionOptions
from tagwarden.core.outcome import Snapshot


def mapped(snapshot: Snapshot, options: ConnectionOptions) -> Snapshot:
    """The snapshot with e-mail and names from the mapped fields, and the password taken out of the fields."""
    values = {plain(label): value for label, value in snapshot.fields.items()}
    own = {label: values.get(plain(label), "").strip() for label in labels(options).values()}
    secret = plain(options.password_field)
    return replace(
        snapshot,
        email=own.get(options.email_field) or snapshot.email,
        first_name=own.get(options.first_name_field) or snapshot.first_name,
        last_name=own.get(options.last_name_field) or snapshot.last_name,
        fields={label: value for label, value in snapshot.fields.items() if plain(label) != secret},
        password=values.get(secret, "") if secret else "",
    )


def labels(options: ConnectionOptions) -> dict[str, str]:
    """What is mapped: option → label of the field in the CRM."""
    return {name: label for name, label in vars(options).items() if name.endswith("_field") and label}
