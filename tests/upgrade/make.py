"""Writes down how a version leaves its data, so that later versions can show that they go on with it.

Run it in a checkout of that version, once on each database, and commit what it writes:

    python -m tests.upgrade.make tests/upgrade/v0.1.0
    DATABASE_URL=postgresql://… python -m tests.upgrade.make tests/upgrade/v0.1.0     (an empty database)

What it writes holds no real secret: its keys are made for it and open nothing else.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tagwarden.cli import init, loading
from tagwarden.core import clock, crypto
from tagwarden.core.env import env
from tagwarden.spool.log import SpoolWriter, spool_folder, spool_id
from tests.sandbox.conftest import running

CONTACTS = 30
KEYS = "keys-for-this-test-only"
HOUR_MS = 3_600_000


def main(version: Path) -> None:
    """`version`: the folder of the tagged version."""
    on_postgresql = bool(os.environ.get("DATABASE_URL"))
    out = version / ("postgresql" if on_postgresql else "sqlite")
    out.mkdir(parents=True)
    os.environ["TAGWARDEN_DATA"] = data = tempfile.mkdtemp(prefix="tagwarden-upgrade-")
    init.make_folder(env())
    crypto.make_keys(env().keys_file)
    loading.with_django("tagwarden.cli.migrate").migrate()
    with running(env().data / "crm.sqlite3", CONTACTS) as crm:
        live_a_little(crm)
    tell_what_to_expect(out)
    loading.late("django.db").connection.close()
    shutil.copy(env().keys_file, out / KEYS)
    folder = spool_folder(env().data)
    for segment in folder.glob("*.sqlite"):
        write(segment, out / f"spool-{segment.stem}.sql")
    write(env().data / "door.db", out / "door.sql")
    (out / "spool-id").write_text(spool_id(folder))
    if on_postgresql:
        arguments = ["--inserts", "--rows-per-insert=50", "--no-owner", "--no-acl"]
        dump = ["pg_dump", *arguments, f"--dbname={os.environ['DATABASE_URL']}"]
        (out / "database.sql").write_bytes(subprocess.run(dump, capture_output=True, check=True).stdout)
    else:
        write(env().data / "tagwarden.db", out / "database.sql")
    shutil.rmtree(data)


def write(database: Path, to: Path) -> None:
    """An SQLite file as SQL text."""
    with closing(sqlite3.connect(database)) as db:
        (version,) = db.execute("pragma user_version").fetchone()
        lines = [f"pragma user_version={version};", *db.iterdump()]
    to.write_text("\n".join(lines) + "\n")


def live_a_little(crm: object) -> None:
    """Members with tags, and calls and jobs in every state that there is."""
    road = _road(crm)
    road.call("aal_updateuser", *range(1, 8))
    road.call("aal_updateuser", 9_999)  # no member
    road.call("aal_pause", 1)  # no command
    road.call("aal_updateuser", "%CONTACTID%")
    road.carry(road.row("", "", kind="stranger", handshake=None, site=None, connection=None))
    road.work()
    road.call("aal_batchsync", 10, 11, query="&release=Old")
    road.work()
    _end_by_hand(road)
    road.call("aal_batchsync", *range(12, 16), query="&release=Module_3")
    _leave_in_hand(road)
    road.close()
    writer = SpoolWriter(spool_folder(env().data))
    writer.append([road.row("aal_updateuser", contact) for contact in (20, 21, 22)])  # not carried
    writer.append([road.row("aal_batchsync", contact, "&release=Module_3") for contact in (23, 24)])
    writer.close()


def _road(crm: object) -> object:
    filled = loading.with_django("tagwarden.cli.demo_site").fill(public_url="http://127.0.0.1", crm_url=crm.url)
    loading.with_django("tagwarden.connections.setup").change(filled.connection, {"release_delay": "1"})
    filled.connection.refresh_from_db()
    return loading.late("tests.worker.conftest").Road(filled.site, filled.connection, crm, env().data)


def _end_by_hand(road: object) -> None:
    """Outcomes and effects that commands of later versions bring."""
    leases, store = loading.late("tagwarden.journal.leases"), loading.late("tagwarden.journal.store")
    endings = loading.late("tagwarden.journal.endings")

    def end(contact: int, result: str, outcome: str = "", **more: object) -> None:
        road.call("aal_updateuser", contact)
        lane, jobs = _taken(road)
        with leases.outcome_transaction(lane, jobs) as in_hand:
            endings.finish([leases.Ended(job, result, outcome, **more) for job in in_hand])
        leases.give_back(lane)

    def effect(step: str, command: str, **params: str) -> object:
        return store.NewJob(
            key=f"effect-{step}",
            site=road.site.pk,
            connection=road.connection.pk,
            command=command,
            received=clock.now_ms(),
            contact="26",
            stream="effect",
            params=params,
            step=step,
            priority=store.EFFECT,
        )

    end(16, "refused", "refused", reason="not-a-member")
    end(17, "unknown", "unknown", reason="internal-error")
    end(18, "retry", reason="crm-overloaded", due=clock.now_ms() + HOUR_MS, spends_try=True)
    end(19, "retry", reason="crm-paused", due=clock.now_ms() + HOUR_MS)
    end(26, "done", "done")
    parent = loading.late("tagwarden.journal.models").Job.objects.get(contact="26")
    family = {"parent": parent.pk, "root": parent.pk, "delivery": parent.delivery}
    store.add(
        [
            replace(effect("tag", "tag-add", tag="999999", name="Gone"), **family),
            replace(effect("field", "field-set", field="password", value="x"), after="effect-tag", **family),
        ]
    )
    road.work(lambda: not loading.late("tagwarden.journal.models").Job.objects.filter(key="effect-tag", outcome=""))


def _leave_in_hand(road: object) -> None:
    """A worker takes a job and dies."""
    road.call("aal_updateuser", 8)
    _taken(road)


def _taken(road: object) -> tuple[object, object]:
    leases = loading.late("tagwarden.journal.leases")
    lane = leases.lease(leases.due_lanes()[0], "made-by-hand")
    return lane, leases.take(lane, "made-by-hand", size=1)


def tell_what_to_expect(out: Path) -> None:
    """How every job stands; and the secret of the webhooks."""
    models = loading.late("tagwarden.journal.models")
    jobs = models.Job.objects.order_by("pk").values_list("key", "state", "outcome", "reason", "command", "contact")
    handshake = loading.late("tagwarden.connections.models").Handshake.objects.get()
    secret = loading.late("tagwarden.connections.handshakes").reveal(handshake)
    held = loading.late("tagwarden.members.models").ContactTag.objects.filter(until=None).count()
    content = {"secret": secret, "jobs": {key: list(job) for key, *job in jobs}, "tags held": held}
    (out / "expected.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
