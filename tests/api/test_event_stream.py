"""`db.events()`: a program sees what its database does, while it does it and afterwards."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

import ferrisdb
from ferrisdb.events import Event, FlushFinished, RecoveryFinished, TableAdded


def test_a_program_waits_for_what_happens_next() -> None:
    with ferrisdb.open() as db:
        db.execute("CREATE TABLE t (a INTEGER)")
        with db.events() as events:
            flusher = threading.Thread(target=db.flush)
            flusher.start()
            for event in events:
                match event:
                    case FlushFinished(table=table, entries=entries):
                        break
            flusher.join()
        assert table.level == 0
        assert entries > 0
        assert db.statistics().levels[0].tables == 1


def test_what_happened_before_anybody_listened_is_still_known(tmp_path: Path) -> None:
    with ferrisdb.open(tmp_path / "shop.ferris") as db:
        db.execute("CREATE TABLE t (a INTEGER)")
    with ferrisdb.open(tmp_path / "shop.ferris") as db:
        (recovered,) = db.event_history()
        assert isinstance(recovered, RecoveryFinished)
        assert recovered.commits == 1
        assert str(recovered).startswith("recovered 1 commit from 1 log segment, found 0 tables in ")


def test_an_iteration_with_a_timeout_ends_when_nothing_comes() -> None:
    with ferrisdb.open() as db:
        db.execute("CREATE TABLE t (a INTEGER)")
        events = db.events(timeout_s=0, with_history=True)
        assert [type(event) for event in events] == [RecoveryFinished]
        assert events.next_event(timeout_s=0.001) is None
        db.flush()
        assert TableAdded in map(type, events)


def test_closing_the_database_ends_the_stream() -> None:
    db = ferrisdb.open()
    events = db.events(with_history=True)
    db.close()
    assert len(list(events)) == 1
    for use in (db.events, db.event_history):
        with pytest.raises(ferrisdb.InterfaceError, match="closed"):
            use()


def test_every_kind_of_event_is_public() -> None:
    made = {kind.__name__ for kind in Event.__subclasses__()}
    assert made <= set(ferrisdb.events.__all__)
    assert len(made) == 17
    for name in ferrisdb.events.__all__:
        assert getattr(ferrisdb.events, name).__doc__


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_in_a_forked_child_the_stream_is_over() -> None:
    with ferrisdb.open() as db, db.events() as events:
        child = os.fork()
        if child == 0:
            os._exit(0 if list(events) == [] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        db.flush()
        assert not events.is_closed
