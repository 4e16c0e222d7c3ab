"""What the sandbox CRM remembers, in one SQLite file: contacts, tags, fields, and a log of every write.

The log doubles as history: a read of an earlier moment takes the present and undoes the younger writes.
Moments are milliseconds since 1970 UTC. All calls are quick and are made from the event loop's thread.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tagwarden.core import clock
from tagwarden.sandbox import names

FRESH = 2**62  # a moment after every write: the present

_SCHEMA = """
create table if not exists contacts (
    id integer primary key autoincrement, email text not null, first_name text not null,
    last_name text not null, created integer not null, updated integer not null, deleted integer);
create index if not exists contacts_email on contacts (email collate nocase);
create table if not exists tags (id integer primary key autoincrement, name text not null unique);
create table if not exists fields (id integer primary key autoincrement, label text not null unique);
create table if not exists contact_tags (
    contact integer not null, tag integer not null, primary key (contact, tag)) without rowid;
create index if not exists contact_tags_tag on contact_tags (tag);
create table if not exists contact_fields (
    contact integer not null, field integer not null, value text not null,
    primary key (contact, field)) without rowid;
create table if not exists writes (
    id integer primary key autoincrement, at integer not null, who text not null, contact integer,
    what text not null, subject integer, detail text not null, before text, changed integer not null);
create index if not exists writes_contact on writes (contact, at);
create table if not exists remembered (name text primary key, value text not null);
"""
_VISIBLE = "created <= :seen and (deleted is null or deleted > :seen)"
_TAGS_OF = "contact_tags join tags on tags.id = tag"
_FIELDS_OF = "contact_fields join fields on fields.id = field"
_GIVEN = "(select value from json_each(:ids))"


class TagChange(NamedTuple):
    """What became of adding or removing a tag: the contacts it was done for, and for how many it was news."""

    done: list[int]
    changed: int


class State:
    """The sandbox CRM's one account."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))  # webhook addresses hold a secret
        self._db = sqlite3.connect(file)
        self._db.row_factory = sqlite3.Row
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._db.executescript(_SCHEMA)
        with self._db:
            for name in names.TAGS:
                self._add("tags", "name", name)
            for label in names.FIELDS:
                self._add("fields", "label", label)

    def close(self) -> None:
        self._db.close()

    # Contacts.

    def ids(self) -> list[int]:
        """The ids of all contacts there are now."""
        return [row[0] for row in self._db.execute("select id from contacts where deleted is null order by id")]

    def contacts(self, ids: Sequence[int], seen: int = FRESH) -> list[dict[str, Any]]:
        """Those of the contacts that exist, as they were at the moment `seen`, by id."""
        query = f"select * from contacts where id in {_GIVEN} and {_VISIBLE} order by id"
        given = {"ids": json.dumps(list(ids)), "seen": seen}
        return self._objects(self._db.execute(query, given).fetchall(), seen)

    def page(
        self, number: int, per_page: int, *, seen: int = FRESH, email: str = "", search: str = ""
    ) -> tuple[list[dict[str, Any]], int]:
        """A page of contacts by id, counted from 1, and how many there are in all.

        `email` must fit exactly but for case; `search` is a part of name, e-mail or tag, or an id.
        """
        where = _VISIBLE
        given = {"seen": seen, "email": email, "search": search, "part": f"%{search}%"}
        if email:
            where += " and email = :email collate nocase"
        if search:
            where += " and (id = :search or email like :part or first_name || ' ' || last_name like :part"
            where += f" or id in (select contact from {_TAGS_OF} where name like :part))"
        total = self._db.execute(f"select count(*) from contacts where {where}", given).fetchone()[0]
        slice_ = {"limit": per_page, "offset": (number - 1) * per_page}
        query = f"select * from contacts where {where} order by id limit :limit offset :offset"
        return self._objects(self._db.execute(query, given | slice_).fetchall(), seen), total

    def _objects(self, rows: list[sqlite3.Row], seen: int) -> list[dict[str, Any]]:
        given = {"ids": json.dumps([row["id"] for row in rows]), "seen": seen}
        blank = {field["label"]: "" for field in self.fields()}
        tags: dict[int, dict[int, str]] = {row["id"]: {} for row in rows}
        fields = {row["id"]: dict(blank) for row in rows}
        query = f"select contact, tag, name from {_TAGS_OF} where contact in {_GIVEN}"
        for contact, tag, name in self._db.execute(query, given):
            tags[contact][tag] = name
        query = f"select contact, label, value from {_FIELDS_OF} where contact in {_GIVEN}"
        for contact, label, value in self._db.execute(query, given):
            fields[contact][label] = value
        self._undo(given, tags, fields)
        return [_contact(row, tags[row["id"]], fields[row["id"]], seen) for row in rows]

    def _undo(self, given: dict[str, Any], tags: dict[int, dict[int, str]], fields: dict[int, dict[str, str]]) -> None:
        query = f"select * from writes where contact in {_GIVEN} and at > :seen and changed order by id desc"
        for write in self._db.execute(query, given):
            contact = write["contact"]
            if write["what"] == "tag-add":
                tags[contact].pop(write["subject"], None)
            elif write["what"] == "tag-remove":
                tags[contact][write["subject"]] = write["detail"]
            elif write["what"] == "field-set":
                fields[contact][write["detail"]] = write["before"]

    def fill(self, count: int) -> None:
        """Makes invented contacts until `count` have been made in all. They count as a day old."""
        made = (names.person(number) for number in range(self._highest() + 1, count + 1))
        self._insert(made, clock.now_ms() - 86_400_000)

    def _highest(self) -> int:
        return int(self._db.execute("select coalesce(max(id), 0) from contacts").fetchone()[0])

    def add_contacts(self, people: Iterable[Mapping[str, Any]], who: str) -> list[int]:
        """Makes contacts; their ids. Raises sqlite3.IntegrityError if a given id is taken."""
        at = clock.now_ms()
        ids = self._insert(people, at)
        with self._db:
            self._log([(at, who, contact, "contact-add", None, "", None, 1) for contact in ids])
        return ids

    def add_invented(self, count: int, who: str) -> list[int]:
        """Makes that many invented contacts; their ids."""
        have = self._highest()
        return self.add_contacts((names.person(have + n) for n in range(1, count + 1)), who)

    def _insert(self, people: Iterable[Mapping[str, Any]], at: int) -> list[int]:
        ids: list[int] = []
        query = "insert into contacts (id, email, first_name, last_name, created, updated)"
        with self._db:
            for one in people:
                values = (
                    one.get("id"),
                    one["email"],
                    one.get("first_name", ""),
                    one.get("last_name", ""),
                    at,
                    at,
                )
                contact = int(self._db.execute(f"{query} values (?, ?, ?, ?, ?, ?)", values).lastrowid or 0)
                self._equip(contact, one.get("tags", ()), one.get("fields", {}))
                ids.append(contact)
        return ids

    def _equip(self, contact: int, tags: Iterable[str], fields: Mapping[str, str]) -> None:
        for name in tags:
            self._add("tags", "name", name)
            query = "insert or ignore into contact_tags select ?, id from tags where name = ?"
            self._db.execute(query, (contact, name))
        for label, value in fields.items():
            self._add("fields", "label", label)
            query = "insert into contact_fields select ?, id, ? from fields where label = ?"
            self._db.execute(query, (contact, value, label))

    def delete_contact(self, contact: int, who: str) -> bool:
        """True if it was there. Ids are never given again."""
        at = clock.now_ms()
        with self._db:
            query = "update contacts set deleted = ? where id = ? and deleted is null"
            if not self._db.execute(query, (at, contact)).rowcount:
                return False
            self._log([(at, who, contact, "contact-delete", None, "", None, 1)])
        return True

    # Tags and fields.

    def tags(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self._db.execute("select id, name from tags order by id")]

    def fields(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self._db.execute("select id, label from fields order by id")]

    def tag(self, tag: int) -> dict[str, Any] | None:
        row = self._db.execute("select id, name from tags where id = ?", (tag,)).fetchone()
        return dict(row) if row else None

    def make_tag(self, name: str, who: str) -> tuple[dict[str, Any], bool]:
        """The tag of that name, and whether it is new."""
        return self._make("tags", "name", name, who, "tag-create")

    def make_field(self, label: str, who: str) -> tuple[dict[str, Any], bool]:
        """The field of that label, and whether it is new."""
        return self._make("fields", "label", label, who, "field-create")

    def _make(self, table: str, column: str, text: str, who: str, what: str) -> tuple[dict[str, Any], bool]:
        with self._db:
            new = self._add(table, column, text)
            query = f"select id, {column} from {table} where {column} = ?"
            row = dict(self._db.execute(query, (text,)).fetchone())
            if new:
                self._log([(clock.now_ms(), who, None, what, row["id"], text, None, 1)])
        return row, new

    def _add(self, table: str, column: str, text: str) -> bool:
        # Not "insert or ignore", which would use up an id each time.
        query = f"insert into {table} ({column}) select :text where not exists"
        query += f" (select 1 from {table} where {column} = :text)"
        return bool(self._db.execute(query, {"text": text}).rowcount)

    def set_tag(self, tag: Mapping[str, Any], ids: Sequence[int], *, remove: bool, who: str) -> TagChange:
        """Adds or removes a tag for those of the contacts that exist. All are logged, changed or not."""
        given = {
            "ids": json.dumps(list(ids)),
            "tag": tag["id"],
            "name": tag["name"],
            "who": who,
            "seen": FRESH,
        }
        given |= {"what": "tag-remove" if remove else "tag-add", "remove": int(remove), "at": clock.now_ms()}
        here = f"from contacts where id in {_GIVEN} and {_VISIBLE}"
        has = "exists (select 1 from contact_tags where contact = contacts.id and tag = :tag)"
        with self._db:
            log = "insert into writes (at, who, contact, what, subject, detail, changed)"
            log += f" select :at, :who, id, :what, :tag, :name, {has} = :remove {here} order by id"
            self._db.execute(log, given)
            stamp = f"update contacts set updated = :at where id in {_GIVEN} and {_VISIBLE}"
            self._db.execute(f"{stamp} and {has} = :remove", given)
            add = f"insert or ignore into contact_tags select id, :tag {here}"
            drop = f"delete from contact_tags where tag = :tag and contact in (select id {here})"
            changed = self._db.execute(drop if remove else add, given).rowcount
            done = [row[0] for row in self._db.execute(f"select id {here} order by id", given)]
        return TagChange(done, changed)

    def set_fields(self, contact: int, values: Mapping[str, str], who: str) -> None:
        """Writes fields of a contact that exists. Raises KeyError with the label that is unknown."""
        known = {field["label"]: field["id"] for field in self.fields()}
        wanted = [(known[label], label, value) for label, value in values.items()]
        at = clock.now_ms()
        with self._db:
            for field, label, value in wanted:
                query = "select value from contact_fields where contact = ? and field = ?"
                row = self._db.execute(query, (contact, field)).fetchone()
                before = row[0] if row else ""
                self._log([(at, who, contact, "field-set", field, label, before, int(before != value))])
                self._db.execute("insert or replace into contact_fields values (?, ?, ?)", (contact, field, value))
            self._db.execute("update contacts set updated = ? where id = ?", (at, contact))

    # The log, and what is remembered over a restart.

    def _log(self, rows: list[tuple[Any, ...]]) -> None:
        query = "insert into writes (at, who, contact, what, subject, detail, before, changed)"
        self._db.executemany(f"{query} values (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def writes(
        self,
        *,
        after: int = 0,
        before: int = FRESH,
        limit: int = 1000,
        contact: int = 0,
        newest: bool = False,
    ) -> list[dict[str, Any]]:
        """Writes with an id between `after` and `before`, oldest or newest first, without field values."""
        query = "select id, at, who, contact, what, detail, changed from writes where id > ? and id < ?"
        query += " and contact = ?" if contact else " and ? = 0"
        query += f" order by id {'desc' if newest else 'asc'} limit ?"
        rows = self._db.execute(query, (after, before, contact, limit))
        return [dict(row) | {"changed": bool(row["changed"])} for row in rows]

    def remembered(self, name: str) -> str:
        row = self._db.execute("select value from remembered where name = ?", (name,)).fetchone()
        return row[0] if row else ""

    def remember(self, name: str, value: str) -> None:
        with self._db:
            self._db.execute("insert or replace into remembered values (?, ?)", (name, value))


def _contact(row: sqlite3.Row, tags: dict[int, str], fields: dict[str, str], seen: int) -> dict[str, Any]:
    updated = clock.from_ms(min(row["updated"], seen))
    return {
        "id": row["id"],
        "email": row["email"],
        "first_name": row["first_name"],
        "last_name": row["last_name"],
        "fields": fields,
        "tags": [{"id": tag, "name": tags[tag]} for tag in sorted(tags)],
        "updated_at": updated.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
