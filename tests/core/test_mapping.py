"""Fields of the CRM are found by their label; the one mapped as password is taken out."""

from tagwarden.core import clock, options
from tagwarden.core.mapping import labels, mapped
from tagwarden.core.names import Names
from tagwarden.core.options import ConnectionOptions
from tagwarden.core.outcome import CrmTag, Snapshot


def snapshot(**fields: str) -> Snapshot:
    now = clock.now()
    return Snapshot("1", now, now, email="own@example.com", first_name="Own", fields=fields)


def test_the_password_is_taken_out_of_the_fields_and_shows_nowhere() -> None:
    read = mapped(snapshot(PASSWORD="blue-boat-7", Points="3"), ConnectionOptions())  # a field
    assert (read.password, dict(read.fields)) == ("blue-boat-7", {"Points": "3"})
    assert "blue-boat-7" not in repr(read)


def test_without_a_mapped_password_all_fields_stay() -> None:
    read = mapped(snapshot(Password="x"), ConnectionOptions(password_field=""))  # a field
    assert (read.password, dict(read.fields)) == ("", {"Password": "x"})


def test_mapped_names_and_address_come_before_the_crms_own_unless_empty() -> None:
    chosen = ConnectionOptions(email_field="Work e-mail", first_name_field="Called")
    read = mapped(snapshot(**{"work E-MAIL": " work@example.com ", "Called": "  "}), chosen)
    assert (read.email, read.first_name) == ("work@example.com", "Own")


def test_what_is_mapped_and_what_is_there() -> None:
    assert labels(ConnectionOptions(username_field=""))["password_field"] == "Password"
    assert "username_field" not in labels(ConnectionOptions(username_field=""))
    assert Names(lambda: {"1": "Pass", "2": " password "}).id_of("Password") == "2"


def test_a_tag_option_is_kept_with_its_id_and_can_be_taken_back() -> None:
    tag = CrmTag("17", "Password sent")
    stored = options.change(ConnectionOptions, "{}", {"genpass_done_tag": tag, "password_field": " Code "})
    loaded = options.load(ConnectionOptions, stored)
    assert (loaded.genpass_done_tag, loaded.password_field) == (tag, "Code")
    assert options.load(ConnectionOptions, options.change(ConnectionOptions, stored, {"genpass_done_tag": None})) == (
        ConnectionOptions(password_field="Code")  # a label
    )
