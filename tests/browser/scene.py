"""Northlight Studio on a busy morning: what the pictures in docs/img show."""

from dataclasses import dataclass
from datetime import timedelta

from tagwarden.accounts.models import Account, Site
from tagwarden.connections.models import Connection, Handshake
from tagwarden.core import crypto
from tagwarden.core.env import env
from tagwarden.journal.models import Job, Release
from tagwarden.members.models import Member, Source, Sweep, Tag
from tests.staff import story
from tests.staff.story import Journal, Try, crm_call

HOST = "localhost"
SECRET = "tw_9fK2exampleOnlyNotARealSecret000"
PASSWORD = "light and shadow"


@dataclass
class Scene:
    site: Site
    ana: Account
    journal: Journal
    active: Connection
    done: Job
    failed: Job
    misspelled: Job
    release: Release
    priya: Member
    drifted: Sweep
    stopped: Sweep


def empty() -> tuple[Site, Account, Connection]:
    """The site with one connection that was never called."""
    site = Site.objects.create(
        name="Northlight Studio",
        host=HOST,
        public_url="https://members.northlight.example",
        timezone="America/Chicago",
    )
    ana = Account.objects.create(
        site=site, email="ana@northlight.example", first_name="Ana", last_name="Ruiz", role=Account.Role.OWNER
    )
    ana.set_password(PASSWORD)
    ana.save()
    return site, ana, connect(site, "ActiveCampaign", SECRET)


def connect(site: Site, name: str, secret: str) -> Connection:
    keys = crypto.read_keys(env().keys_file)
    connection = Connection.objects.create(site=site, crm="sandbox", name=name)
    Handshake.objects.create(
        connection=connection, name="Welcome automation", digest=keys.digest(secret), sealed=keys.encrypt(secret)
    )
    return connection


def busy() -> Scene:
    """Everything at once, as on the pictures."""
    site, ana, active = empty()
    keap, kit = connect(site, "Keap", SECRET + "k"), connect(site, "Kit", SECRET + "t")
    journal = Journal(site)
    release = _release(journal, active)
    priya = _priya(journal, active, kit)
    _members(active, keap, kit)
    done, failed, misspelled = _calls(journal, active, keap, kit)
    drifted, stopped = _sweeps(active, keap, kit)
    return Scene(site, ana, journal, active, done, failed, misspelled, release, priya, drifted, stopped)


def _release(journal: Journal, active: Connection) -> Release:
    for number, name in (("30730", "Ines Castelo"), ("30731", "Bo Lindqvist"), ("30732", "Dana Whitfield")):
        story.contact(active, number, name)
    of_them = {"done": 709, "not-a-member": 21, "failed": 3, "waiting": 267}
    journal.release(active, "Module 2", {"done": 640, "not-a-member": 12}, ago=8 * 86_400, closed=True, first_contact=5)
    return journal.release(active, "Module 3", of_them, ago=430)


def _sweeps(active: Connection, keap: Connection, kit: Connection) -> tuple[Sweep, Sweep]:
    """One that mended a little, one that must be decided, one under way, and those of the day before."""
    for connection in (kit, active):
        story.sweep(connection, ago=86_400 + 4000, calls=11)
    story.sweep(keap, "replaced", standing="failed", reason="crm-overloaded", ago=86_400 + 4000, read=400)
    stopped = story.sweep(
        *(keap, "stopped"), standing="refused", reason="sweep-stopped", ago=5200, would_lose=212, gained=1, feed="ids"
    )
    drifted = story.sweep(active, ago=4000, gained=2, lost=1, suspects=4, gone=1)
    story.sweep(kit, "running", standing="waiting", ago=40, members=1840, read=1000, gained=1, calls=1)
    found = {
        drifted: ((active, "27802", "gained"), (active, "27418", "gained"), (active, "27760", "lost")),
        stopped: ((keap, "10482", "missing"), (keap, "5526", "missing"), (keap, "9917", "missing")),
    }
    for sweep, lines in found.items():
        for n, (connection, number, what) in enumerate(lines):
            contact = connection.contacts.get(external_id=number)
            name = ("Watercolour base", "Critique club", "Trial")[n] if sweep == drifted else "Gold membership 2026"
            tag, _ = Tag.objects.get_or_create(connection=connection, external_id=name.lower(), defaults={"name": name})
            sweep.findings.create(contact=contact, tag=tag, what=what)
    return drifted, stopped


def _priya(journal: Journal, active: Connection, kit: Connection) -> Member:
    priya = story.member(active, "27760", "Priya Natarajan")
    story.contact(kit, "2209110042", "Priya Natarajan", member=priya)
    held = priya.contacts.get(connection=active)
    of_release = Job.objects.filter(standing="done").order_by("-pk").first()
    earlier = journal.call(
        active, "updateuser", "27760", ago=9 * 86_400, detail={"gained": ["Critique club"], "lost": []}
    )
    journal.call(active, "updateuser", "27760", ago=86_400, outcome="no-op", detail={"gained": [], "lost": []})
    tags = [
        ("Module 3 access", Source.RELEASE, of_release.key, 120),
        ("Critique club", Source.CALL, earlier.key, 9 * 86_400),
        ("Watercolour base", Source.SWEEP, "", 22 * 86_400),
        ("Login ready", Source.OURS, "", 196 * 86_400),
        ("Newsletter", Source.FIRST_READ, "", 196 * 86_400),
    ]
    for name, source, ref, ago in tags:
        story.tag(held, name, since=journal.at(ago), source=source, ref=ref)
    story.tag(held, "Trial", since=journal.at(196 * 86_400), until=journal.at(22 * 86_400), until_ref=earlier.key)
    return priya


def _members(active: Connection, keap: Connection, kit: Connection) -> None:
    people = [
        (keap, "10482", "Jonas Weber"),
        (active, "27802", "Aisha Bello"),
        (active, "27418", "Marta Oliveira"),
        (kit, "2209114803", "Mai Thị Hồng Nhung"),
        (keap, "5526", "Tomás Herrera-Villalobos"),
        (keap, "9917", "Grace Okafor"),
    ]
    for connection, number, name in people:
        held = story.member(connection, number, name).contacts.get()
        story.tag(held, "Module 3 access", since=held.read_started_at - timedelta(days=int(number[-1]) + 1))
    story.contact(kit, "2209117460", email="peter.van.den.berg@example.net")


def _calls(journal: Journal, active: Connection, keap: Connection, kit: Connection) -> tuple[Job, Job, Job]:
    broken = {"crm": "ActiveCampaign", "status": 503}
    for n in range(4):
        _overloaded(journal, active, str(27100 + n), 4000 + 60 * n, broken)
    journal.call(kit, "updateuser", "2209117460", ago=330, outcome="no-op", reason="not-a-member")
    misspelled = _misspelled(journal, active)
    journal.call(kit, "updateuser", "2209114803", ago=36, detail={"gained": ["Coupon club"], "lost": ["Trial"]})
    story.contact(active, "27444", "Luc Tremblay")
    failed = _field_gone(journal, active)
    journal.call(keap, "updateuser", "10482", ago=86_400 + 7200, outcome="done", detail={"gained": [], "lost": []})
    done = _after_a_pause(journal, keap)
    journal.call(active, "updateuser", "27802", ago=6, detail={"gained": [], "lost": []})
    paused = Try(0.4, result="retry", reason="crm-paused", detail={"crm": "Keap"})
    journal.call(
        *(keap, "updateuser", "9917"),
        ago=3,
        outcome="waiting",
        reason="crm-paused",
        detail={"crm": "Keap"},
        tries=[paused],
        due_in=12,
    )
    return done, failed, misspelled


def _overloaded(journal: Journal, active: Connection, number: str, ago: float, detail: dict[str, object]) -> None:
    refused = crm_call("Read the contact", "ActiveCampaign was overloaded", status=503, ms=1200)
    tries = [Try(0.4, result="failed", reason="crm-overloaded", detail=detail, calls=[refused])]
    journal.call(
        active, "updateuser", number, ago=ago, outcome="failed", reason="crm-overloaded", detail=detail, tries=tries
    )


def _misspelled(journal: Journal, active: Connection) -> Job:
    detail = {"spelled": "all_batchsync", "nearest": "aal_batchsync"}
    return journal.call(
        *(active, "", "27101"),
        ago=54,
        outcome="failed",
        reason="operation-misspelled",
        detail=detail,
        query="all_batchsync=***",
        stream="command",
    )


def _field_gone(journal: Journal, active: Connection) -> Job:
    """Refreshed, then a field could not be written and a tag waits for it."""
    overloaded = crm_call("Write the field Member level", "ActiveCampaign was overloaded", status=503, ms=1200)
    gone = crm_call("Write the field Member level", "There is no such field any more", status=404, ms=188)
    reason = {"reason": "crm-field-missing", "detail": {"field": "Member level", "crm": "ActiveCampaign"}}
    read = Try(0.7, calls=[crm_call("Read the contact", "Found, with 6 tags")])
    job = journal.call(
        *(active, "updateuser", "27418"),
        ago=22,
        tries=[read],
        detail={"gained": ["Level 2"], "lost": []},
        body="contact[id]=27418&contact[email]=marta.oliveira%40example.com&seriesid=92",
    )
    tries = [
        Try(
            0.9,
            1.2,
            result="retry",
            reason="crm-overloaded",
            detail={"crm": "ActiveCampaign", "status": 503},
            calls=[overloaded],
        ),
        Try(6.6, 0.2, result="failed", calls=[gone], **reason),
    ]
    field = journal.effect(
        job, "field-set", "level", outcome="failed", tries=tries, params={"field": "Member level"}, **reason
    )
    journal.effect(
        job,
        "tag-add",
        "ready",
        outcome="held",
        params={"tag": "9", "name": "Level ready"},
        after=field.key,
        reason="sibling-not-done",
    )
    job.refresh_from_db()
    return job


def _after_a_pause(journal: Journal, keap: Connection) -> Job:
    asked = crm_call("Read the contact", "Keap asked for a pause", status=429, ms=96)
    read = crm_call("Read 42 contacts together", "Found, with 9 tags", ms=340)
    tries = [
        Try(0.3, 0.1, result="retry", reason="crm-paused", detail={"crm": "Keap"}, calls=[asked]),
        Try(12.1, 0.4, calls=[read]),
    ]
    return journal.call(
        *(keap, "updateuser", "10482"),
        ago=18,
        tries=tries,
        detail={"gained": ["Module 3 access"], "lost": []},
        body="contactId=10482\r\n",
    )
