"""An integration that talks to the fake of Ontraport, for the tests of that fake."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import count
from typing import Any

import httpx

from tests.crms.conftest import FakeServer, running_fake
from tests.fakes.ontraport import API_KEY, APP_ID, Settings

HEADERS = {"Api-Appid": APP_ID, "Api-Key": API_KEY}
NUMBERS = count(1)


class Api:
    """An integration that talks to the fake, and the admin behind it."""

    def __init__(self, fake: FakeServer) -> None:
        self.fake = fake
        self.client = httpx.Client(base_url=f"{fake.url}/1/", headers=HEADERS, timeout=20)

    def get(self, path: str, **asked: object) -> Any:
        """The `data` of a good answer."""
        answer = self.client.get(path, params={key: str(value) for key, value in asked.items()} or None)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def send(self, method: str, path: str, **content: object) -> Any:
        answer = self.client.request(method, path, json=content)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def refused(self, method: str, path: str, **more: Any) -> tuple[int, str]:
        answer = self.client.request(method, path, **more)
        return answer.status_code, answer.text

    def someone(self, **values: Any) -> int:
        """A new contact, made by hand."""
        person = {"email": f"someone.{next(NUMBERS)}@example.com", **values}
        made: int = self.fake.post("/admin/contacts", contacts=[person])["ids"][0]
        return made

    def cell(self, contact: int, name: str) -> str | None:
        found: str | None = self.get("Contact", id=contact)[name]
        return found

    def new_tag(self) -> tuple[int, str]:
        name = f"Tag {next(NUMBERS)}"
        return int(self.send("POST", "Tags", tag_name=name)["tag_id"]), name

    def wait(self, seconds: float) -> None:
        """Lets the fake's clock go on."""
        self.fake.post("/admin/clock", seconds=seconds)

    def as_usual(self) -> None:
        """The usual habits, without limits, and with nothing left to be done."""
        self.fake.set(**asdict(Settings()) | {"limits": False})
        self.wait(61)
        self.fake.post("/admin/hooks/flush")


@contextlib.contextmanager
def serving(contacts: int = 0) -> Iterator[Api]:
    with running_fake("ontraport", contacts) as fake:
        api = Api(fake)
        yield api
        api.client.close()


def condition(*terms: object) -> str:
    """(field, op, value) or "AND"/"OR", as the `condition` parameter."""
    return json.dumps([term(*one) if isinstance(one, tuple) else one for one in terms])


def term(name: str, op: str, value: object) -> dict[str, object]:
    given = {"list": [{"value": one} for one in value]} if isinstance(value, list) else {"value": value}
    return {"field": {"field": name}, "op": op, "value": given}
