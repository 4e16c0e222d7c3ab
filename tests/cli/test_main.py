"""The command as a stranger meets it: exit codes, sentences, first steps."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

ROOT = Path(__file__).parents[2]


def test_help_lists_the_commands_and_imports_no_django(tagwarden):
    ran = tagwarden("--help")
    assert (ran.code, ran.error) == (0, "")
    assert "webhook-url" in ran.out
    assert "part" not in ran.out.split("Commands")[1]

    check = "import sys; import tagwarden.cli.main; sys.exit('django.db' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def test_wrong_usage_leaves_with_2(tagwarden):
    tagwarden("init")
    for arguments in (
        ["conection"],
        ["site", "add"],
        ["site", "list", "--jsn"],
        ["serve", "--port", "x"],
        [],
    ):
        assert tagwarden(*arguments).code == 2, arguments


def test_without_keys_it_says_what_to_do_first(tagwarden):
    for arguments in (["site", "list"], ["serve"], ["worker"]):
        ran = tagwarden(*arguments)
        assert (ran.code, ran.out) == (1, ""), arguments
        assert ran.error.endswith("Run `tagwarden init` first.\n")


def test_help_needs_no_keys(tagwarden, tmp_path):
    ran = tagwarden("connection", "add", "--help")
    assert ran.code == 0
    assert "--credentials-file" in ran.out
    assert not (tmp_path / "data").exists()


def test_an_unknown_setting_stops_it_with_a_sentence(tagwarden):
    ran = tagwarden("site", "list", TAGWARDEN_DATABASE="x")
    assert (ran.code, ran.out) == (1, "")
    assert ran.error.startswith("TAGWARDEN_DATABASE is not a setting of Tagwarden.")
    assert "Traceback" not in ran.error


def test_init_makes_what_is_needed_and_is_safe_to_repeat(tagwarden, tmp_path):
    password = tmp_path / "password"
    password.write_text("a-long-enough-one\n")
    first = tagwarden("init", "--email", "mara@example.com", "--password-file", str(password))
    keys = tmp_path / "data" / "keys"
    content = keys.read_text()
    again = tagwarden("init", "--email", "mara@example.com", "--password-file", str(password))

    assert (first.code, again.code) == (0, 0), first.error + again.error
    assert keys.read_text() == content
    assert stat.S_IMODE(keys.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    assert "a-long-enough-one" not in first.out + first.error
    assert tagwarden("site", "list").out.startswith("No sites yet.")


def test_without_a_password_a_one_time_link_comes_with_the_first_site(tagwarden):
    tagwarden("init")
    ran = tagwarden("site", "add", "Northlight Studio", "--host", "northlight.example")
    assert "https://northlight.example/sign-in/" in ran.out
    assert "https://northlight.example/sign-in/" in tagwarden("init").out


def test_a_database_that_was_never_set_up_is_named(tagwarden, tmp_path):
    tagwarden("init")
    (tmp_path / "data" / "tagwarden.db").unlink()
    ran = tagwarden("site", "list")
    assert (ran.code, ran.out) == (1, "")
    assert ran.error == "The database isn't set up, or is older than this version. Run `tagwarden init`.\n"


def test_a_database_that_can_not_be_reached_is_named_without_its_password(tagwarden):
    tagwarden("init")
    ran = tagwarden("site", "list", DATABASE_URL="postgresql://mara:a-secret-word@127.0.0.1:9/tagwarden")
    assert (ran.code, ran.out) == (1, "")
    assert ran.error.startswith("The database can't be reached or is busy: ")
    assert "a-secret-word" not in ran.error
    assert "Traceback" not in ran.error


@pytest.mark.django_db
def test_models_and_migrations_agree():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
