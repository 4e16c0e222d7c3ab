"""A job that comes in while its lane is given back is found at once, not by the minute's sweep."""

import threading

from django.db import connection as database
from django.db import transaction

from tagwarden.connections.models import Connection
from tagwarden.journal import endings, leases, store
from tagwarden.journal.leases import Lane
from tests.journal.test_leases import new_job

A_WHILE = 1.0  # seconds in which the lane is given back, where the other transaction doesn't hold that up


def give_back(lane: Lane) -> None:
    leases.give_back(lane)
    database.close()  # this thread's own


def test_a_job_added_while_its_lane_is_given_back(transactional_db: None, connection: Connection) -> None:
    with transaction.atomic():
        store.add([new_job(connection)])
    (lane_id,) = leases.due_lanes()
    lane = leases.lease(lane_id, "worker")
    assert lane is not None
    with leases.outcome_transaction(lane, leases.take(lane, "worker", size=1)) as in_hand:
        endings.finish([leases.Ended(job, "done", "done") for job in in_hand])

    other = threading.Thread(target=give_back, args=(lane,))
    with transaction.atomic():
        store.add([new_job(connection)])
        other.start()
        other.join(A_WHILE)
    other.join()

    assert leases.due_lanes() == [lane_id]
