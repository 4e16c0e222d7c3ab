"""Kit's adapter at the fake Kit: its lists and their lag, tags by key and by token, fields that are gone, both kinds of
hooks, whatever of Kit's habits is true. What all CRMs have in common is in test_contract.py, single answers in
test_kit_answers.py.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tagwarden.core import clock
from tagwarden.core.errors import NeedsSetting, Permanent, Retryable
from tagwarden.core.hooks import Arrived, Event, Happened, Hook
from tagwarden.core.outcome import Snapshot
from tagwarden.core.ratelimit import Limit
from tagwarden.crms import base
from tagwarden.crms.kit import Crm
from tests.crms.kit_serving import KEY, Heard, Receiver, receiving
from tests.crms.places import Server, server
from tests.fakes import kit

OAUTH = {
    "client_id": kit.CLIENT_ID,
    "client_secret": kit.CLIENT_SECRET,
    "access_token": kit.ACCESS_TOKEN,
    "refresh_token": kit.REFRESH_TOKEN,
}
USUAL = asdict(kit.Settings()) | {"limits": False, "sign_by_real_clock": True}
ADDRESS = "https://members.example.com/hooks/word"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server("kit", tmp_path_factory.mktemp("kit")) as found:
        yield found


@pytest.fixture
def there(running: Server) -> Server:
    running.change(**USUAL)
    running.forget_calls()
    return running


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """A fake of one's own: nobody is in it, and nobody's tokens are renewed."""
    with server("kit", tmp_path) as found:
        found.change(**USUAL)
        yield found


@pytest.fixture
def crm(there: Server) -> Iterator[base.Crm]:
    with closing(there.adapter()) as adapter:
        yield adapter


@pytest.fixture
def app(there: Server) -> Iterator[base.Crm]:
    with closing(there.adapter(**OAUTH)) as adapter:
        yield adapter


class Kept(base.Tokens):
    """Keeps the credentials of one connection; `made`: how often they were renewed."""

    def __init__(self) -> None:
        self.credentials: Mapping[str, str] = dict(OAUTH)
        self.made = 0

    def renewed(self, stale: str, exchange: Callable[[Mapping[str, str]], Mapping[str, str]]) -> Mapping[str, str]:
        if self.credentials["access_token"] == stale:
            self.credentials = {**self.credentials, **exchange(self.credentials)}
            self.made += 1
        return self.credentials


def names(snapshot: Snapshot) -> set[str]:
    return {tag.name for tag in snapshot.tags or ()}


def asked(there: Server, call: str) -> int:
    return there.fake.counters().get(call, 0)


# --- lists ----------------------------------------------------------------------------------------------------------


def test_a_release_of_a_thousand_takes_two_calls(fresh: Server) -> None:
    """A page holds a thousand with tags and fields; once, the names of fields (List subscribers)."""
    people = fresh.people(1_000, tags=["Module 1", "Member"], fields={"Town": "Kiel"})
    with closing(fresh.adapter()) as crm:
        fresh.forget_calls()
        found = crm.contacts(people)
        assert fresh.calls() == 2
    assert set(found) == set(people)
    assert all(names(one) == {"Module 1", "Member"} and one.fields["Town"] == "Kiel" for one in found.values())


def test_a_list_goes_on_after_a_thousand_by_its_own_cursor(fresh: Server) -> None:
    """By has_next_page and end_cursor, whose = is escaped; there is no next_cursor, by which somebody stopped."""
    people = fresh.people(2_300)
    with closing(fresh.adapter()) as crm:
        pages = [[one.contact for one in page] for page in crm.everybody()]
        assert [len(page) for page in pages] == [1_000, 1_000, 300]
        assert sorted(one for page in pages for one in page) == sorted(people)
        assert crm.page("")[1].endswith("=")


def test_of_a_long_list_only_what_is_needed_is_read(fresh: Server) -> None:
    """Many from the list, until all are found; a few one by one, once the list is known to be longer than that."""
    people = fresh.people(3_500)
    with closing(fresh.adapter()) as crm:
        crm.field_names.all()
        fresh.forget_calls()
        assert len(crm.contacts(people[:40])) == 40
        assert fresh.calls() == 1
        assert len(crm.contacts(people[-40:])) == 40
        assert (fresh.calls(), crm.calls_for(40), crm.calls_for(1)) == (1 + 4, 4, 2)

        fresh.forget_calls()
        (one,) = crm.contacts(people[-1:]).values()
        assert fresh.calls() == 2
        assert one.seen_until == one.started, "read alone it is as of now"


def test_whoever_is_gone_does_not_make_a_long_list_be_read_to_its_end(fresh: Server) -> None:
    """What is left of a list whose length nobody knows is read for as many calls as the missing would take."""
    people = fresh.people(9_000)
    fresh.delete(people[0])
    with closing(fresh.adapter()) as crm:
        fresh.forget_calls()
        assert set(crm.contacts(people[:2])) == {people[1]}
        assert fresh.calls() <= 4


def test_lists_lag_and_say_so_while_a_read_by_id_is_fresh(there: Server, crm: base.Crm) -> None:
    """Eventual consistency: lists up to 5 minutes, by id never."""
    there.change(lag_seconds=300)
    ann = there.person("lag@example.com", tags=["Old"])
    there.fake.post("/admin/clock", seconds=301)
    there.tag("New", ann)

    listed, alone = crm.contacts([ann])[ann], crm.contact(ann)
    assert names(listed) == {"Old"}
    assert listed.seen_until == listed.started - timedelta(minutes=5)
    assert names(alone) == {"Old", "New"}
    assert alone.seen_until == alone.started


def test_somebody_whose_tags_are_not_to_be_seen_yet_has_unknown_tags(there: Server, crm: base.Crm) -> None:
    """Whether the list of somebody's tags lags isn't documented: if it doesn't know her, she is not without tags."""
    there.change(lag_seconds=300, tag_lists_lag=True)
    ann = there.person("new@example.com", tags=["Gold"])
    assert crm.contact(ann).tags is None


def test_everybody_is_there_whatever_her_state(there: Server, crm: base.Crm) -> None:
    """Who unsubscribed keeps record and tags, and is in lists only by status=all."""
    ann = there.person("left@example.com", tags=["Gold"])
    assert there.fake.admin.patch(f"/admin/contacts/{ann}", json={"state": "cancelled"}).is_success
    gold = crm.tag("Gold").external_id

    assert names(crm.contact(ann)) == names(crm.contacts([ann])[ann]) == {"Gold"}
    assert [one.contact for one in crm.by_email("left@example.com")] == [ann]
    assert ann in [one for page in crm.tagged(gold) for one in page]
    assert ann in [one.contact for page in crm.changed(clock.now()) for one in page]


def test_if_kit_leaves_out_an_empty_list_of_tags_it_is_asked_for(there: Server, crm: base.Crm) -> None:
    """Its sample has an empty list; if that ever changes, nobody is stuck without."""
    there.change(empty_tags_missing=True)
    bare, ann = there.person("bare@example.com"), there.person("tagged@example.com", tags=["Gold"])
    found = crm.contacts([bare, ann])
    assert (found[bare].tags, names(found[ann])) == (frozenset(), {"Gold"})


def test_a_tag_that_is_gone_has_no_list(crm: base.Crm) -> None:
    with pytest.raises(NeedsSetting, match="crm-tag-missing"):
        list(crm.tagged("99887766"))


# --- limits and credentials ------------------------------------------------------------------------------------------


def test_a_key_may_a_fifth_of_what_a_token_may(crm: base.Crm, app: base.Crm) -> None:
    """Rate limits: 120 a minute of a key, 600 of a token; bulk calls are for tokens only."""
    assert (crm.limits, crm.tags_at_once) == ((Limit(120, seconds=60),), 1)
    assert (app.limits, app.tags_at_once) == ((Limit(600, seconds=60),), 100)


def test_one_call_too_many_is_a_pause_though_nothing_says_how_long(there: Server, crm: base.Crm) -> None:
    """429 is the text Retry later, without any header."""
    there.change(limits=True, key_limit=1)
    there.fake.post("/admin/clock", seconds=61)
    crm.check()
    with pytest.raises(Retryable) as error:
        crm.check()
    assert (error.value.reason, error.value.after, error.value.spends_try) == ("crm-paused", crm.pause, False)


def test_an_expired_token_is_renewed_once_and_the_new_pair_is_used(fresh: Server) -> None:
    """A refresh token is good for one use: the second renewal takes the second one."""
    kept = Kept()
    with closing(Crm(base_url=fresh.fake.url, credentials=OAUTH, tokens=kept)) as crm:
        for made in (1, 2):
            fresh.fake.post("/admin/tokens/expire")
            assert crm.check() == "Kit Greetings"
            assert kept.made == made
    assert kept.credentials["refresh_token"] != kit.REFRESH_TOKEN


def test_a_token_that_somebody_else_renewed_is_taken_over(fresh: Server) -> None:
    """The one we had is invalid then, and our refresh token is used up: no renewal of ours may try it."""
    kept = Kept()
    with closing(Crm(base_url=fresh.fake.url, credentials=OAUTH, tokens=kept)) as crm:
        fresh.fake.post("/admin/tokens/expire")
        kept.credentials = {**OAUTH, **fresh.fake.post("/admin/tokens/rotate")}
        assert crm.check() == "Kit Greetings"
    assert kept.made == 0


def test_a_link_that_is_lost_says_so_and_no_token_is_told(fresh: Server) -> None:
    fresh.fake.post("/admin/tokens/revoke")
    crm = Crm(base_url=fresh.fake.url, credentials=OAUTH, tokens=Kept())
    with closing(crm), pytest.raises(NeedsSetting) as error:
        crm.check()
    assert error.value.reason == "crm-link-lost"
    told = f"{error.value!r} {error.value.detail} {error.value.__cause__!r} {error.value.__context__!r}"
    assert not [secret for secret in OAUTH.values() if secret in told]


# --- tags -----------------------------------------------------------------------------------------------------------


def test_with_a_token_a_hundred_are_tagged_in_a_call(there: Server, app: base.Crm) -> None:
    people = there.people(100)
    tag = app.tag("Together").external_id
    there.forget_calls()
    assert app.add_tag(tag, people) == set(people)
    assert all("Together" in there.truth(one)[0] for one in people[:3])
    assert app.remove_tag(tag, people) == set(people)
    assert there.calls() == 2
    assert not any("Together" in there.truth(one)[0] for one in people)


def test_who_is_gone_among_many_is_told_of_and_the_others_are_done(there: Server, app: base.Crm) -> None:
    """A bulk call is 200 whatever failed, and a failure may name nobody."""
    *here, gone = there.people(5)
    there.delete(gone)
    tag = app.tag("Partly").external_id
    assert app.add_tag(tag, [*here, gone]) == set(here)
    assert app.remove_tag(tag, [*here, gone]) == set(here)


def test_a_tag_that_is_gone_is_told_of_many(there: Server, app: base.Crm) -> None:
    with pytest.raises(NeedsSetting, match="crm-tag-missing"):
        app.add_tag("99887766", there.people(3))


def test_a_tag_that_was_not_there_is_off_whatever_kit_answers(there: Server, crm: base.Crm) -> None:
    """What it answers then isn't documented."""
    ann, gone = there.people(2)
    there.delete(gone)
    tag = crm.tag("Never on").external_id
    there.change(untag_missing_status=404)
    assert crm.remove_tag(tag, [ann, gone]) == {ann}


# --- fields ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("habit", ["drop", "warn", "refuse"])
@pytest.mark.parametrize("credentials", [{}, OAUTH])
def test_a_field_that_was_deleted_is_missed_however_kit_takes_it(
    there: Server, habit: str, credentials: Mapping[str, str]
) -> None:
    """Unknown keys are dropped in silence, or with a warning, or refused with 422; the bulk call lists a failure."""
    crm = there.adapter(**credentials)
    there.change(unknown_fields=habit)
    ann = there.person("field@example.com", fields={"Going": "x"})
    assert crm.has_field("Going")
    rows = there.fake.admin.get("/v4/custom_fields", headers=KEY).json()["custom_fields"]
    (number,) = [row["id"] for row in rows if row["label"] == "Going"]
    assert there.fake.admin.delete(f"/v4/custom_fields/{number}", headers=KEY).is_success

    with closing(crm), pytest.raises(NeedsSetting) as error:
        crm.set_fields(ann, {"Going": "secret-word"})
    assert (error.value.reason, error.value.detail["field"]) == ("crm-field-missing", "Going")
    assert "secret-word" not in f"{error.value!r} {error.value.__cause__!r} {error.value.__context__!r}"


def test_more_than_ten_fields_are_written_ten_at_a_time(there: Server, crm: base.Crm) -> None:
    """More than ten in one write are stored later, and nobody could see whether they are."""
    values = {f"Note {number}": f"n{number}" for number in range(12)}
    ann = there.person("many@example.com", first_name="Ann", fields=dict.fromkeys(values, ""))
    crm.field_names.all()
    there.forget_calls()
    crm.set_fields(ann, values)
    assert asked(there, "PUT /v4/subscribers/{id}") == 2
    assert values.items() <= there.truth(ann)[1].items()
    assert crm.contact(ann).first_name == "Ann"


def test_with_a_token_a_field_is_written_in_one_call_that_touches_nothing_else(there: Server, app: base.Crm) -> None:
    ann = there.person("ann@app.example", first_name="Ann", fields={"Losung": "old", "Town": "Kiel"})
    app.field_names.all()
    there.forget_calls()
    app.set_fields(ann, {"Losung": "new", "Town": ""})
    assert there.calls() == 1
    assert there.truth(ann)[1] == {"Losung": "new", "Town": ""}
    there.delete(ann)
    with pytest.raises(Permanent, match="contact-not-found"):
        app.set_fields(ann, {"Losung": "newer"})


def test_a_field_can_be_emptied_which_reads_as_null(there: Server, crm: base.Crm) -> None:
    ann = there.person("empty@example.com", fields={"Losung": "old"})
    crm.set_fields(ann, {"Losung": ""})
    assert crm.contact(ann).fields["Losung"] == ""


# --- hooks ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def ours() -> Iterator[Receiver]:
    """Our end of Kit's hooks."""
    with receiving() as found:
        yield found


def arrived(heard: Heard) -> Arrived:
    headers = {name.lower(): value for name, value in heard.headers.items()}
    return Arrived(urlsplit(heard.path).query, headers, heard.body)


def told(there: Server, ours: Receiver, hook: Hook) -> list[Event]:
    there.fake.post("/admin/hooks/flush")
    return [
        event for heard in ours.take() for event in Crm.events(arrived(heard), [hook.secret] if hook.secret else [])
    ]


def test_an_endpoint_is_signed_and_names_event_tag_and_time(fresh: Server, ours: Receiver) -> None:
    """Made with its secret, which is never shown again; it tells of every tag."""
    ann = fresh.person("ann@example.com")
    with closing(fresh.adapter()) as crm:
        made = crm.make_hook(f"{ours.url}/hooks/word", Happened.TAG_ADDED, crm.tag("Gold").external_id)
        assert made.secret.startswith("whsec_")
        assert [(hook.id, hook.secret) for hook in crm.hooks()] == [(made.id, "")]
        fresh.tag("Gold", ann)
        (event,) = told(fresh, ours, made)
        assert (event.happened, event.contact, event.email) == (Happened.TAG_ADDED, ann, "ann@example.com")
        assert (event.tag, event.tag_name) == (crm.tag("Gold").external_id, "Gold")
        assert event.at is not None
        assert abs(event.at - clock.now()) < timedelta(minutes=1)
        assert event.ref


def test_an_event_told_twice_has_the_same_ref(fresh: Server, ours: Receiver) -> None:
    """A retry sends the whole delivery again, newly signed; the id of the event stays."""
    ann = fresh.person("ann@example.com")
    fresh.change(hook_copies=2)
    with closing(fresh.adapter()) as crm:
        made = crm.make_hook(f"{ours.url}/hooks/word", Happened.TAG_ADDED, crm.tag("Gold").external_id)
        fresh.tag("Gold", ann)
        first, second = told(fresh, ours, made)
    assert first == second


def test_an_endpoint_that_was_switched_off_works_again_and_keeps_its_secret(fresh: Server, ours: Receiver) -> None:
    ann = fresh.person("ann@example.com")
    with closing(fresh.adapter()) as crm:
        made = crm.make_hook(f"{ours.url}/hooks/word", Happened.TAG_ADDED, "")
        crm.call("PATCH", f"/{made.id}", "Switch it off", json={"status": "disabled"})  # type: ignore[attr-defined]
        (dead,) = crm.hooks()
        assert not dead.alive
        assert crm.revive_hook(dead).id == made.id
        fresh.tag("Gold", ann)
        assert [event.contact for event in told(fresh, ours, made)] == [ann]


@pytest.mark.parametrize("why", [{"endpoints_need_oauth": True}, {"planned_events": ["subscriber.tag_added"]}])
def test_where_there_are_no_endpoints_the_older_webhook_does(
    fresh: Server, ours: Receiver, why: dict[str, object]
) -> None:
    """401 to a key, or 422 of an event that isn't told yet. Its body names neither event nor tag: the address does."""
    fresh.change(**why)
    ann = fresh.person("ann@example.com")
    with closing(fresh.adapter()) as crm:
        gold = crm.tag("Gold").external_id
        made = crm.make_hook(f"{ours.url}/hooks/word", Happened.TAG_ADDED, gold)
        assert (made.url, made.tag, made.secret) == (f"{ours.url}/hooks/word", gold, "")
        assert crm.make_hook(f"{ours.url}/hooks/word", Happened.TAG_ADDED, gold) == made
        assert crm.hooks() == [made]
        fresh.tag("Silver", ann)
        fresh.tag("Gold", ann)
        (event,) = told(fresh, ours, made)
        assert event == Event(Happened.TAG_ADDED, ann, "ann@example.com", tag=gold)

        revived = crm.revive_hook(made)
        assert revived.url == made.url
        assert crm.hooks() == [revived]


def test_what_older_webhooks_do_not_tell_is_refused_in_words(fresh: Server) -> None:
    fresh.change(endpoints_need_oauth=True)
    with closing(fresh.adapter()) as crm:
        for happened, tag in ((Happened.CHANGED, ""), (Happened.TAG_ADDED, "")):
            with pytest.raises(Permanent, match="crm-cannot"):
                crm.make_hook(ADDRESS, happened, tag)
        assert crm.make_hook(ADDRESS, Happened.CREATED).happened == Happened.CREATED


def test_an_endpoint_of_an_app_is_not_a_keys_to_take(fresh: Server) -> None:
    """It is invisible to a key, and 404."""
    with closing(fresh.adapter(**OAUTH)) as app, closing(fresh.adapter()) as crm:
        made = app.make_hook(ADDRESS, Happened.TAG_ADDED, "1")
        assert crm.hooks() == []
        crm.remove_hook(made)
        assert [hook.id for hook in app.hooks()] == [made.id]
