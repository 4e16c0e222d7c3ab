"""What a call asks for, whatever form it comes in."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagwarden.core import reasons, wire
from tagwarden.core.wire import Param

WORDS: wire.Words = {
    "updateuser": {},
    "batchsync": {"release": Param(kind="text", required=False)},
    "updateteam": {
        "teamId": Param(minimum=1),
        "change": Param(minimum=-10_000, maximum=10_000, nonzero=True),
    },
}
PLAIN = "aal_updateuser=***"
MULTIPART = (
    b'--sep\r\nContent-Disposition: form-data; name="email"\r\n\r\na@example.com\r\n'
    b'--sep\r\nContent-Disposition: form-data; name="contactId"\r\n\r\n526\r\n--sep--\r\n'
)


def read(body: bytes = b"contactId=526", query: str = PLAIN, **headers: str) -> wire.Call:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return wire.understand(query=query, headers=names, body=body, words=WORDS)


def reason(call: wire.Call) -> str:
    return call.finding.reason if call.finding else ""


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"contactId=526", "the form as `contactId`"),
        (b"contact_id=526&email=a%40example.com", "the form as `contact_id`"),
        (b"contactID=526", "the form as `contactID`"),
        (b"ContactId=526", "the form as `ContactId`"),
        (b"Id=526", "the form as `Id`"),
        (b"id=526", "the form as `id`"),
        (b"Contact0Id=526", "the form as `Contact0Id`"),
        (b"contact%5Bid%5D=526&contact%5Bemail%5D=a", "the form as `contact[id]`"),
        (b"contact[id]=526", "the form as `contact[id]`"),
        (b"subscriber[id]=526", "the form as `subscriber[id]`"),
        (b"data[subscriber][id]=526", "the form as `data[subscriber][id]`"),
        (b"526", "the body"),
        (b"526=", "the body"),
        (b'"526"', "the body"),
        (b'{"contactId":526}', "the JSON as `contactId`"),
        (b'{"CONTACT_ID":"526"}', "the JSON as `contact_id`"),
        (b'{"contact":{"id":526.0}}', "the JSON as `contact.id`"),
        (b'{"subscriber":{"id":526,"fields":{"id":"9"}}}', "the JSON as `subscriber.id`"),
        (b'{"data":{"subscriber":{"id":526}},"id":"evt"}', "the JSON as `data.subscriber.id`"),
        (b'\xef\xbb\xbf{"contactId":"526"}', "the JSON as `contactId`"),
        ('{"contactId":"526"}'.encode("utf-16"), "the JSON as `contactId`"),
        (b"name=caf\xe9&contactId=526", "the form as `contactId`"),
    ],
)
def test_a_contact_id_is_found_wherever_a_crm_puts_it(body: bytes, where: str) -> None:
    call = read(body)
    assert (call.contacts, call.where, call.finding) == (("526",), where, None)


@pytest.mark.parametrize(
    "kind", ["", "application/json", "application/x-www-form-urlencoded", "text/plain", "application/xml"]
)
def test_the_content_type_may_be_wrong(kind: str) -> None:
    for body in (b"contactId=526", b'{"contactId":526}', b"526"):
        assert read(body, content_type=kind).contacts == ("526",)


def test_multipart_forms_are_read() -> None:
    call = read(MULTIPART, content_type='multipart/form-data; boundary="sep"')
    assert (call.contacts, call.where) == (("526",), "the form as `contactId`")


@pytest.mark.parametrize(
    ("body", "dropped"),
    [
        (b"526", ""),
        (b"526\n", "a line break"),
        (b"\r\n526\r\n", "a line break"),
        (b"\xef\xbb\xbf526", "a byte order mark"),
        (b"\xef\xbb\xbf526\n", "a byte order mark and a line break"),
        (b" 526\xc2\xa0", "white space"),
        (b"contactId=+526%0D%0A", "a line break and white space"),
    ],
)
def test_what_stands_around_an_id_is_dropped_and_told(body: bytes, dropped: str) -> None:
    call = read(body)
    assert (call.contacts, call.dropped, call.finding) == (("526",), dropped, None)


def test_the_body_wins_over_the_query_and_the_first_filled_value_over_later_ones() -> None:
    assert read(b"contactId=1", f"{PLAIN}&contactId=2").contacts == ("1",)
    assert read(b"", f"{PLAIN}&contactId=2").where == "the query as `contactId`"
    assert read(b"contactId=", f"{PLAIN}&contact_id=2").contacts == ("2",)
    assert read(b"contactId=&contactId=3&contactId=4").contacts == ("3",)
    assert read(b'{"contactId":"","contactId":3,"contactId":4}').contacts == ("3",)
    assert read(b"contactId=&id=7").contacts == ("7",)
    assert read(b"", f"{PLAIN}&id=2").contacts == ()  # too common a name for a query


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "contact-id-missing"),
        (b"email=a%40example.com", "contact-id-missing"),
        (b"{}", "contact-id-missing"),
        (b"contactId=", "contact-id-empty"),
        (b'{"subscriber":{"id":null}}', "contact-id-empty"),
        (b"[Contact ID]", "contact-id-unresolved"),
        (b"contactId=[Contact+ID]", "contact-id-unresolved"),
        (b"contactId=~Contact.Id~", "contact-id-unresolved"),
        (b"contactId=%25CONTACTID%25", "contact-id-unresolved"),
        (b"contactId=%CONTACTID%", "contact-id-unresolved"),
        (b"{{ subscriber.id }}", "contact-id-unresolved"),
        (b"{{contact.id}}", "contact-id-unresolved"),
        (b"contactId=ada%40example.com", "contact-id-malformed"),
        ("contactId=५२६".encode(), "contact-id-malformed"),
        (b"contactId=1%2C2", "contact-id-malformed"),
        (b'{"contactId":true}', "contact-id-malformed"),
        (b'{"contactId":{"a":1}}', "contact-id-malformed"),
        (b'{"contactId":5', "body-unreadable"),
        (b'{"contactId":' + b"9" * 5000 + b"}", "body-unreadable"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "body-unreadable"),
        (b"[" * 60_000, "body-unreadable"),
        (b"a&" * 6_000, "body-unreadable"),
        (json.dumps([{"contactId": n} for n in range(1_001)]).encode(), "too-many-contacts"),
    ],
)
def test_what_is_wrong_with_the_id_is_named(body: bytes, expected: str) -> None:
    call = read(body)
    assert call.finding is not None
    assert (call.finding.reason, call.finding.status) == (expected, 400)
    assert "…" not in reasons.title(expected, call.finding.detail)


def test_a_finding_shows_the_value_short_and_on_one_line() -> None:
    call = read(b"contactId=" + b"x%0A%00%F0%9F%98%80" * 500)
    assert call.finding is not None
    value = str(call.finding.detail["value"])
    assert len(value) <= 80
    assert "\n" not in value
    assert "\0" not in value


def test_several_contacts_in_one_body_are_one_call() -> None:
    keap = {"event_key": "contact.edit", "object_type": "contact", "object_keys": [{"id": 1}, {"id": 2}]}
    applied = {"object_type": "contactGroup", "object_keys": [{"tag_id": 9, "contact_details": [{"id": 3}]}]}
    kit = {"events": [{"id": "e", "data": {"subscriber": {"id": 4}}}, {"data": {"subscriber": {"id": 5}}}]}
    assert read(json.dumps(keap).encode()).contacts == ("1", "2")
    assert read(json.dumps(applied).encode()).contacts == ("3",)
    assert read(json.dumps(kit).encode()).contacts == ("4", "5")
    assert read(b'[{"contactId":1},{"contactId":"2"},{"contactId":1}]').contacts == ("1", "2")
    assert read(b"[526, 527]").contacts == ("526", "527")
    assert len(read(json.dumps(list(range(1_000))).encode()).contacts) == 1_000


def test_one_bad_contact_among_many_is_named_and_the_good_ones_are_kept() -> None:
    call = read(b'[{"contactId":1},{"contactId":"x"},{"contactId":3}]')
    assert (call.contacts, reason(call)) == (("1", "3"), "contact-id-malformed")


def test_the_id_of_an_order_is_not_taken_for_a_contacts() -> None:
    assert read(b'{"object_type":"order","object_keys":[{"id":77}]}').contacts == ()
    assert read(b'{"object_type_id":"5","data":{"id":"77"}}').contacts == ()
    assert read(b'{"object_type_id":"0","data":{"id":"526"}}').contacts == ("526",)


def test_gzip_is_unpacked_within_bounds() -> None:
    assert read(gzip.compress(b"contactId=526"), content_encoding="gzip").contacts == ("526",)
    for body in (gzip.compress(b"x" * 10_000_000), gzip.compress(b"contactId=526")[:-9], b"contactId=526"):
        assert reason(read(body, content_encoding="GZIP")) == "body-unreadable"
    call = read(b"contactId=526", content_encoding="br")
    assert call.finding is not None
    assert (call.finding.reason, call.finding.status) == ("encoding-not-supported", 415)


@pytest.mark.parametrize(
    ("query", "word", "expected", "status"),
    [
        ("AAL_UpdateUser=***", "updateuser", "", 0),
        ("x=1&aal_updateuser=***", "updateuser", "", 0),
        ("aal_updateuser=***&AAL_UPDATEUSER=***", "updateuser", "", 0),
        ("all_batchsync=***", "", "operation-misspelled", 404),
        ("aal_updateusr=***", "", "operation-unknown", 404),
        ("aal_=***", "", "operation-unknown", 404),
        ("aal_updateuser=***&aal_batchsync=***", "", "operation-ambiguous", 400),
        ("key=***", "", "operation-missing", 400),
        ("", "", "operation-missing", 400),
    ],
)
def test_the_command_is_named_in_the_query(query: str, word: str, expected: str, status: int) -> None:
    call = read(query=query)
    assert (call.word, reason(call)) == (word, expected)
    assert (call.finding.status if call.finding else 0) == status
    assert call.contacts == ("526",)  # whatever is wrong with the word, the contact can be shown


def test_the_nearest_command_is_named() -> None:
    assert wire.nearest("updateusr", WORDS) == "aal_updateuser"
    assert wire.nearest("zzz", WORDS) == "aal_batchsync or aal_updateteam or aal_updateuser"
    finding = read(query="all_batchsync=***").finding
    assert finding is not None
    assert reasons.title(finding.reason, finding.detail) == (
        "The command is spelled all_batchsync. It should be aal_batchsync."
    )


def test_staff_can_correct_the_command() -> None:
    call = wire.understand(query="all_batchsync=***", headers={}, body=b"526", words=WORDS, word="batchsync")
    assert (call.word, call.contacts, call.finding) == ("batchsync", ("526",), None)


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("teamId=3&change=5", {"teamId": 3, "change": 5}),
        ("TEAMID=+003+&Change=-2", {"teamId": 3, "change": -2}),
        ("teamid=3&change=%2B5", {"teamId": 3, "change": 5}),
        ("teamId=&teamId=3&change=5", {"teamId": 3, "change": 5}),
    ],
)
def test_parameters_are_read_as_people_type_them(query: str, params: dict[str, int]) -> None:
    call = read(query=f"aal_updateteam=***&{query}")
    assert (call.params, call.finding) == (params, None)


def test_parameters_come_from_the_body_if_the_query_has_none() -> None:
    call = read(b"contactId=526&TeamID=4&change=7", "aal_updateteam=***&change=1")
    assert (call.params, call.finding) == ({"teamId": 4, "change": 1}, None)
    assert read(b'{"contactId":526,"release":"May"}', "aal_batchsync=***").params == {"release": "May"}


@pytest.mark.parametrize(
    ("query", "expected", "sentence"),
    [
        ("change=5", "parameter-missing", "The parameter teamId is missing."),
        ("teamId=&change=5", "parameter-missing", "The parameter teamId is missing."),
        ("teamId=x&change=5", "parameter-not-a-number", ""),
        ("teamId=1.0&change=5", "parameter-not-a-number", ""),
        ("teamId=1_0&change=5", "parameter-not-a-number", ""),
        ("teamId=0&change=5", "parameter-out-of-range", ""),
        (
            "teamId=1&change=0",
            "parameter-out-of-range",
            "The parameter change is 0, which lies outside −10,000 to 10,000 without 0.",
        ),
        ("teamId=1&change=10001", "parameter-out-of-range", ""),
    ],
)
def test_a_bad_parameter_is_named(query: str, expected: str, sentence: str) -> None:
    finding = read(query=f"aal_updateteam=***&{query}").finding
    assert finding is not None
    assert (finding.reason, finding.status) == (expected, 400)
    assert sentence in reasons.title(expected, finding.detail)


def test_a_text_parameter_is_bounded() -> None:
    assert reason(read(query=f"aal_batchsync=***&release={'x' * 201}")) == "parameter-too-long"


def test_a_sender_may_name_its_call() -> None:
    assert read(query=f"{PLAIN}&requestId=a1").request_id == "a1"
    assert read(idempotency_key="k1").request_id == "k1"
    assert read(query=f"{PLAIN}&REQUESTID=a1", idempotency_key="k1").request_id == "a1"
    long = [read(idempotency_key="x" * 300 + end).request_id for end in "ab"]
    assert len(set(long)) == 2
    assert len(long[0]) == 64


def test_another_kind_of_crm_may_have_other_ids() -> None:
    call = wire.understand(query=PLAIN, headers={}, body=b"contactId=ab-1", words=WORDS, id_pattern=r"[a-z0-9-]+")
    assert (call.contacts, call.finding) == (("ab-1",), None)


_bodies = st.one_of(
    st.binary(max_size=300),
    st.text(alphabet='{}[]":,=&%contacidId 0\n\\u', max_size=80).map(str.encode),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["id", "contact", "data", "subscriber", "events", "object_keys", "contactId"]),
                inner,
            )
        ),
    ).map(lambda tree: json.dumps(tree).encode()),
)
_queries = st.text(alphabet="aal_updteusrconI=&%0123[]", max_size=60)


@settings(max_examples=300, deadline=None)
@given(
    body=_bodies,
    query=_queries,
    encoding=st.sampled_from(["", "gzip", "br"]),
    kind=st.sampled_from(["", "application/json", "multipart/form-data; boundary=x", "multipart/form-data"]),
)
def test_no_bytes_whatever_make_it_raise(body: bytes, query: str, encoding: str, kind: str) -> None:
    call = read(body, query, content_encoding=encoding, content_type=kind)
    texts = [call.spelled, call.where, call.request_id, *call.contacts, *map(str, call.params.values())]
    for text in [*texts, *(str(value) for value in (call.finding.detail if call.finding else {}).values())]:
        text.encode()  # no halves of surrogate pairs: every database takes it
        assert "\0" not in text
    if call.finding:
        assert reasons.advice(call.finding.reason, call.finding.detail)
        assert call.finding.status in (400, 404, 415)
