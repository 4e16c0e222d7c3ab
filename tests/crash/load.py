"""What a CRM does all day: tags change, webhooks follow, none is ever sent twice, and every 200 is a promise."""

import contextlib
import random
import threading
from collections import Counter
from uuid import uuid4

import httpx

from tests.crash.place import Place

TAGS = ("Module 1", "Module 2", "Trial", "Alumni")
PATIENCE = 5.0  # seconds; then a CRM hangs up
NOBODY = 990_000  # from here on ids of contacts that are no members


class Sender(threading.Thread):
    """One automation with contacts of its own. Ends with `stop`."""

    def __init__(self, place: Place, contacts: list[int], seed: int, *, joining: bool) -> None:
        super().__init__(name=f"sender-{contacts[0]}", daemon=True)
        self._joining = joining
        self._place, self._contacts = place, contacts
        self._chance = random.Random(seed)
        self._stopping = threading.Event()
        self._admin = httpx.Client(base_url=place.crm.url)
        self._http = httpx.Client(timeout=PATIENCE, limits=httpx.Limits(max_keepalive_connections=0))
        self.answered: list[str] = []  # ids of the calls answered 200
        self.statuses: Counter[str] = Counter()
        self.stale: set[int] = set()  # whose last change no call told of
        self.joined: list[int] = []  # contacts who are new in the CRM
        self.broken: Exception | None = None

    def run(self) -> None:
        try:
            while not self._stopping.wait(self._chance.uniform(0.01, 0.08)):
                self._something_happens()
        except Exception as error:
            self.broken = error

    def stop(self) -> None:
        self._stopping.set()
        self.join(60)
        self._admin.close()
        self._http.close()
        if self.broken is not None:
            raise self.broken

    def _something_happens(self) -> None:
        kind = self._chance.random()
        if kind < 0.1 and self._joining:
            self._somebody_joins()
        elif kind < 0.85:
            contact = self._chance.choice(self._contacts)
            self._change(contact)
            self._call("updateuser", contact)
            if kind < 0.2:
                self._call("updateuser", contact)
        elif kind < 0.9:
            self._call("updateuser", NOBODY + self._chance.randrange(1000))
        else:
            self._release()

    def _somebody_joins(self) -> None:
        """A contact is made, and a call comes for it, sometimes two; or one more for somebody who joined before."""
        if self.joined and self._chance.random() < 0.3:
            self._call("genpass", self._chance.choice(self.joined))
            return
        person = {"email": f"{uuid4().hex}@example.com", "first_name": "New"}
        answer = self._admin.post("/admin/contacts", json={"contacts": [person]}, timeout=30).raise_for_status()
        (contact,) = answer.json()["ids"]
        self.joined.append(contact)
        self.stale.add(contact)
        for _ in range(self._chance.choice([1, 1, 2])):
            self._call("genpass", contact)

    def _release(self) -> None:
        """A group gets or loses a tag at once, and a call is sent for each of them."""
        group = self._chance.sample(self._contacts, k=self._chance.randint(5, 20))
        self._change(*group)
        name = f"release {self._chance.randrange(3)}"
        for contact in group:
            self._call("batchsync", contact, release=name)

    def tell_all(self) -> None:
        """A batchsync call for each of its contacts."""
        for contact in self._contacts:
            self._call("batchsync", contact, release="last")

    def welcome(self, contacts: list[int]) -> None:
        """A genpass call for each of these."""
        for contact in contacts:
            self._call("genpass", contact)

    def _change(self, *contacts: int) -> None:
        self.stale.update(contacts)
        tag, remove = self._chance.choice(TAGS), self._chance.random() < 0.5
        change = {"tag": tag, "contacts": list(contacts), "remove": remove}
        self._admin.post("/admin/tag", json=change, timeout=30).raise_for_status()

    def _call(self, command: str, contact: int, **parameters: str) -> None:
        address = self._place.address(command, **parameters)
        try:
            answer = self._http.post(address, data={"contactId": contact})
        except httpx.TransportError as error:
            self.statuses[type(error).__name__] += 1
            self._stopping.wait(0.3)  # so that not everybody's last change falls into a time when nobody hears
            return
        self.statuses[str(answer.status_code)] += 1
        if answer.status_code == 200:
            self.answered.append(answer.json()["delivery"])
            self.stale.discard(contact)


class Senders:
    """Several at once, who share the contacts out among themselves. `joining`: contacts are made, too."""

    def __init__(self, place: Place, seed: int, how_many: int = 3, *, joining: bool = True) -> None:
        contacts = list(range(1, place.members + 1))
        self.each = [Sender(place, contacts[n::how_many], seed + n, joining=joining) for n in range(how_many)]

    def start(self) -> None:
        for sender in self.each:
            sender.start()

    def tell_all(self) -> None:
        """A batchsync call for everybody, one after the other, in this thread."""
        for sender in self.each:
            sender.tell_all()

    def stop(self) -> None:
        with contextlib.ExitStack() as stack:
            for sender in self.each:
                stack.callback(sender.stop)

    @property
    def answered(self) -> list[str]:
        return [call for sender in self.each for call in sender.answered]

    @property
    def joined(self) -> list[int]:
        return [contact for sender in self.each for contact in sender.joined]

    @property
    def statuses(self) -> Counter[str]:
        return sum((sender.statuses for sender in self.each), Counter())

    @property
    def stale(self) -> set[int]:
        return set().union(*(sender.stale for sender in self.each))
