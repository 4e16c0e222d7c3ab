"""Four hundred lanes: one with ten thousand waiting jobs does not hold up one with ten."""

import pytest
from django.db import transaction

from tagwarden.accounts.models import Site
from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.core.uuid7 import uuid7
from tagwarden.journal import sql, store
from tagwarden.worker.engine_embedded import Engine

LANES = {10: 300, 100: 80, 1_000: 15, 10_000: 5}  # waiting jobs → how many lanes have so many


def fill(site: Site) -> dict[int, list[int]]:
    """Makes the lanes, the great ones first. Size → connections."""
    made: dict[int, list[int]] = {}
    for size, lanes in sorted(LANES.items(), reverse=True):
        for number in range(lanes):
            connection = Connection.objects.create(site=site, crm="sandbox", name=f"{size} {number}")
            made.setdefault(size, []).append(connection.pk)
            received = clock.now_ms() - 60_000
            jobs = [
                store.NewJob(
                    key=str(uuid7()),
                    site=site.pk,
                    connection=connection.pk,
                    command="updateuser",
                    contact=str(n),
                    stream="refresh",
                    received=received,
                )
                for n in range(size)
            ]
            with transaction.atomic():
                store.add(jobs)
    return made


def waiting(connections: list[int]) -> int:
    d = sql.dialect()
    query = f"select count(*) from journal_job where state = 'waiting' and {d.among('connection')}"
    ((n,),) = sql.rows(query, (d.values(connections),))
    return int(n)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_the_small_lanes_are_done_within_a_few_turns(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    lanes = fill(site)
    engine = Engine()
    done_after: dict[int, int] = {}
    turns = 0
    while {10, 100} - set(done_after):
        turns += 1
        assert turns < 50, done_after
        engine.turn()
        for size in (10, 100, 1_000):
            if size not in done_after and not waiting(lanes[size]):
                done_after[size] = turns
    left = waiting(lanes[10_000])
    engine.leave()

    with capsys.disabled():
        print(
            f"\n400 lanes, turns until all of a size were done: {done_after}; left of 50,000 in the great ones: {left}"
        )
    # A turn takes at most 64 new lanes in, so 400 lanes have all had one after seven.
    assert done_after[10] <= 8
    assert done_after[100] <= 9
    assert left > 25_000
