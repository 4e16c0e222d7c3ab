"""What is written to the fake ActiveCampaign: tags, fields, contacts, values. Sections named are those of the facts."""

from collections.abc import Iterator

import pytest

from tests.crms.test_fake_activecampaign import Ac, account


@pytest.fixture(scope="module")
def shared() -> Iterator[Ac]:
    with account(20) as ac:
        yield ac


@pytest.fixture
def ac(shared: Ac) -> Ac:
    """The fake without limits, lag and faults. People and tags of other tests may be there as well."""
    shared.fake.set(**shared.defaults | {"limits": False})
    return shared


# --- tags and fields ---------------------------------------------------------------------------------------------


def test_a_tag_is_put_on_and_taken_off_by_its_link(ac: Ac) -> None:
    """Section 1.4: the link's id is neither the tag's nor the contact's, and new each time."""
    tag = ac.tag("Linked")
    answer = ac.post("/contactTags", contactTag={"contact": 7, "tag": tag})
    row = answer.json()["contactTag"]
    assert (answer.status_code, list(row)) == (201, ["cdate", "contact", "id", "links", "tag"])
    assert (row["contact"], row["tag"], row["links"]) == (
        "7",
        str(tag),
        {"contact": f"/{row['id']}/contact", "tag": f"/{row['id']}/tag"},
    )
    assert row["id"] == ac.link(7, tag)
    assert int(row["id"]) not in {7, tag}
    assert ac.api.delete(f"/contactTags/{tag}").status_code == 404
    assert "Linked" in ac.fake.truth(7)["tags"]
    gone = ac.api.delete(f"/contactTags/{row['id']}")
    assert (gone.status_code, gone.json()) == (200, {})
    assert "Linked" not in ac.fake.truth(7)["tags"]
    again = ac.api.delete(f"/contactTags/{row['id']}")
    assert again.json() == {"message": f"No Result found for SubscriberTag with id {row['id']}"}
    assert again.status_code == 404
    anew = ac.post("/contactTags", contactTag={"contact": "7", "tag": str(tag)}).json()["contactTag"]["id"]
    assert anew != row["id"]


@pytest.mark.parametrize("status", [200, 201, 422])
def test_a_tag_put_on_twice(ac: Ac, status: int) -> None:
    """Sections 1.4 and 7: unverified, so a switch."""
    tag = ac.tag(f"Twice {status}", 8)
    ac.fake.set(repeat_tag_status=status)
    answer = ac.post("/contactTags", contactTag={"contact": 8, "tag": tag})
    assert answer.status_code == status
    assert status == 422 or answer.json()["contactTag"]["id"] == ac.link(8, tag)


def test_errors_have_two_shapes(ac: Ac) -> None:
    """Section 1.6."""
    unknown = ac.post("/contactTags", contactTag={"contact": 999_999, "tag": 1})
    assert unknown.json() == {"errors": [{"status": 404, "title": "Not Found", "detail": "Contact not found"}]}
    assert unknown.status_code == 404
    lacking = ac.post("/contactTags", contactTag={"tag": 1})
    source = {"pointer": "/data/attributes/contact"}
    assert lacking.json() == {"errors": [{"status": 422, "title": "Missing attribute", "source": source}]}
    assert lacking.status_code == 422
    assert ac.api.get("/contacts/999999").json() == {"message": "No Result found for Subscriber with id 999999"}
    garbled = ac.api.post("/contactTags", content=b"{")
    assert (garbled.status_code, garbled.json()) == (400, {})
    assert ac.api.get("/nothing/here").status_code == 404


def test_tags_are_listed_and_searched(ac: Ac) -> None:
    """Section 1.4: templates' tags among them; `search` is contains, `filters[search][eq]` exact."""
    ac.tag("Course")
    ac.tag("Course 2, advanced")
    listed = ac.get("/tags", limit=100)
    assert {row["tagType"] for row in listed["tags"]} == {"contact", "template"}
    keys = ["tagType", "tag", "description", "cdate", "links", "id"]
    assert {tuple(row) for row in listed["tags"]} == {tuple(keys)}
    assert listed["meta"] == {"total": str(len(listed["tags"]))}
    assert {row["tag"] for row in ac.get("/tags", search="course")["tags"]} == {"Course", "Course 2, advanced"}
    assert [row["tag"] for row in ac.get("/tags", **{"filters[search][eq]": "Course"})["tags"]] == ["Course"]
    assert len(ac.get("/tags", limit=1, offset=1)["tags"]) == 1
    other = ac.post("/tags", tag={"tag": "Same", "tagType": "template"}).json()["tag"]["id"]
    assert str(ac.tag("Same", 1)) != other


@pytest.mark.parametrize(("how", "status"), [("422", 422), ("existing", 201), ("new", 201)])
def test_a_tag_is_made_and_made_again(ac: Ac, how: str, status: int) -> None:
    """Sections 1.4 and 7: what a name that is there gets is unverified, so a switch."""
    ac.fake.set(duplicate_tag=how)
    wanted = {"tag": f"Made {how}", "tagType": "contact", "description": "d"}
    made, again = ac.post("/tags", tag=wanted), ac.post("/tags", tag=wanted)
    assert (made.status_code, again.status_code) == (201, status)
    assert list(made.json()["tag"]) == ["tag", "description", "tagType", "cdate", "links", "id"]
    assert len(ac.get("/tags", search=f"Made {how}")["tags"]) == (2 if how == "new" else 1)
    if how == "422":
        assert again.json()["errors"][0]["code"] == "duplicate"


def test_a_tag_is_renamed_and_deleted(ac: Ac) -> None:
    """Section 1.4 (and the vendor's description): the id stays, the links go with the tag."""
    tag = ac.tag("Old name", 9)
    assert ac.api.put(f"/tags/{tag}", json={"tag": {"tag": "New name"}}).json()["tag"]["tag"] == "New name"
    assert "New name" in ac.fake.truth(9)["tags"]
    assert ac.get(f"/tags/{tag}")["tag"]["subscriber_count"] == "1"
    assert ac.api.delete(f"/tags/{tag}").json() == {}
    assert "New name" not in ac.fake.truth(9)["tags"]
    assert ac.api.get(f"/tags/{tag}").json() == {"message": f"No Result found for Tag with id {tag}"}


def test_a_field_is_made_and_related_to_lists(ac: Ac) -> None:
    """Section 1.4: on no list until fieldRels says so; the same title twice is refused."""
    made = ac.post("/fields", field={"title": "Pass word", "type": "text", "perstag": "PASSWORD"})
    assert made.status_code == 201
    field = made.json()["field"]
    assert (field["title"], field["type"], field["perstag"], field["relations"]) == (
        "Pass word",
        "text",
        "PASSWORD",
        [],
    )
    assert isinstance(field["id"], str)
    again = ac.post("/fields", field={"title": "Pass word", "type": "text"})
    assert (again.status_code, again.json()["errors"][0]["code"]) == (422, "duplicate")
    related = ac.post("/fieldRels", fieldRel={"field": int(field["id"]), "relid": 0})
    assert (related.status_code, related.json()["fieldRel"]["relid"]) == (201, 0)
    listed = ac.get("/fields", **{"filters[perstag]": "PASSWORD"})
    assert list(listed) == ["fieldOptions", "fieldRels", "fields", "meta"]
    assert [row["id"] for row in listed["fields"]] == [field["id"]]
    assert listed["fields"][0]["relations"] == [related.json()["fieldRel"]["id"]]
    assert listed["meta"] == {"total": "1"}
    assert ac.get(f"/fields/{field['id']}")["field"]["perstag"] == "PASSWORD"
    ac.fake.set(created_field_as="fields")
    assert ac.post("/fields", field={"title": "Odd", "type": "text"}).json()["fields"][0]["title"] == "Odd"


# --- writing -----------------------------------------------------------------------------------------------------


def test_sync_makes_or_updates_by_address(ac: Ac) -> None:
    """Section 1.5: 201, and 200 or 201 for a known address; what isn't said stays; tags are not taken."""
    field = ac.field("Synced")
    values = [{"field": str(field), "value": "one"}]
    given = {"email": "Sync@example.com", "firstName": "A", "phone": "1", "fieldValues": values, "tags": ["No"]}
    made = ac.post("/contact/sync", contact=given)
    contact = made.json()["contact"]
    assert (made.status_code, list(made.json())) == (201, ["fieldValues", "contact"])
    assert made.json()["fieldValues"][0]["id"] in contact["fieldValues"]
    known = ac.post("/contact/sync", contact={"email": "sync@EXAMPLE.com", "lastName": "B"})
    assert (known.status_code, known.json()["contact"]["id"]) == (200, contact["id"])
    truth = ac.fake.truth(contact["id"])
    assert (truth["first_name"], truth["last_name"], truth["fields"], truth["tags"]) == (
        "A",
        "B",
        {"Synced": "one"},
        [],
    )
    ac.fake.set(sync_known_status=201)
    assert ac.post("/contact/sync", contact={"email": "sync@example.com"}).status_code == 201
    assert ac.post("/contact/sync", contact={"firstName": "A"}).status_code == 400


def test_values_are_written_with_the_contact(ac: Ac) -> None:
    """Sections 1.4 and 1.5: PUT is partial and writes all values in one call."""
    one, first, second = ac.person("valued@example.com", first_name="V"), ac.field("First"), ac.field("Second")
    values = [{"field": str(first), "value": "1"}, {"field": second, "value": "||a||b||"}]
    answer = ac.api.put(f"/contacts/{one}", json={"contact": {"fieldValues": values}})
    assert (answer.status_code, [row["value"] for row in answer.json()["fieldValues"]]) == (200, ["1", "||a||b||"])
    assert ac.fake.truth(one)["fields"] == {"First": "1", "Second": "||a||b||"}
    assert ac.fake.truth(one)["first_name"] == "V"
    assert [row["value"] for row in ac.get(f"/contacts/{one}/fieldValues")["fieldValues"]] == ["1", "||a||b||"]
    assert ac.api.put("/contacts/999999", json={"contact": {}}).status_code == 404


def test_an_address_belongs_to_one_contact(ac: Ac) -> None:
    """Section 1.5."""
    one = ac.person("first@example.com")
    ac.person("second@example.com")
    source = {"pointer": "/data/attributes/email"}
    title = "Email address already exists in the system"
    error = {"errors": [{"title": title, "detail": "", "code": "duplicate", "source": source}]}
    for answer in (
        ac.post("/contacts", contact={"email": "Second@example.com"}),
        ac.api.put(f"/contacts/{one}", json={"contact": {"email": "second@example.com"}}),
    ):
        assert (answer.status_code, answer.json()) == (422, error)
    assert ac.api.put(f"/contacts/{one}", json={"contact": {"email": "third@example.com"}}).status_code == 200
    assert ac.post("/contacts", contact={"email": "fourth@example.com"}).status_code == 201


def test_a_value_for_no_field_is_dropped_or_refused(ac: Ac) -> None:
    """Nothing is published, so a switch."""
    wanted = {"contact": {"firstName": "Kept", "fieldValues": [{"field": "99999", "value": "x"}]}}
    assert ac.api.put("/contacts/10", json=wanted).status_code == 200
    assert (ac.fake.truth(10)["first_name"], ac.fake.truth(10)["fields"]) == ("Kept", {})
    ac.fake.set(unknown_field="422")
    assert ac.api.put("/contacts/10", json=wanted).status_code == 422


def test_a_date_cannot_be_emptied(ac: Ac) -> None:
    """Section 1.4."""
    field = int(ac.post("/fields", field={"title": "Born", "type": "date"}).json()["field"]["id"])
    for value in ("2001-02-03", ""):
        ac.api.put("/contacts/11", json={"contact": {"fieldValues": [{"field": field, "value": value}]}})
    assert ac.fake.truth(11)["fields"]["Born"] == "2001-02-03"
    ac.fake.set(empty_dates=True)
    ac.api.put("/contacts/11", json={"contact": {"fieldValues": [{"field": field, "value": ""}]}})
    assert ac.fake.truth(11)["fields"]["Born"] == ""


def test_a_single_value_is_written_by_itself(ac: Ac) -> None:
    """Section 1.4. Contact and field come back as they were given."""
    field = ac.field("Single")
    made = ac.post("/fieldValues", fieldValue={"contact": 12, "field": field, "value": "a"}).json()["fieldValue"]
    assert (made["contact"], made["field"], made["value"]) == (12, field, "a")
    assert int(made["id"]) not in {12, field}
    changed = {"fieldValue": {"contact": 12, "field": field, "value": "b"}}
    assert ac.api.put(f"/fieldValues/{made['id']}", json=changed).status_code == 200
    assert ac.fake.truth(12)["fields"]["Single"] == "b"
    assert ac.get(f"/fieldValues/{made['id']}")["fieldValue"]["value"] == "b"
    rows = ac.get("/fieldValues", **{"filters[fieldid]": field, "filters[val]": "b"})["fieldValues"]
    assert [row["contact"] for row in rows] == ["12"]
    assert ac.api.put("/fieldValues/1", json=changed).status_code == 403
