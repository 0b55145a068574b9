"""The choices of `ferrisdb.open` about compaction: what is refused, and what they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ferrisdb
from ferrisdb.errors import InvalidParameterValue, ProgrammingError


def test_a_database_may_be_opened_in_either_style_and_shows_the_same(tmp_path: Path) -> None:
    for turn, style in enumerate(["tiered", "leveled", "tiered"]):
        with ferrisdb.open(tmp_path / "db", compaction=style) as db:
            with db.transaction() as tx:
                for number in range(100):
                    tx.put(b"%03d" % number, b"%d" % turn)
            db.flush()
            db.wait_until_compacted()
            with db.transaction() as tx:
                assert tx.get(b"050") == b"%d" % turn


def test_a_style_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidParameterValue, match="no compaction style 'lazy'") as error:
        ferrisdb.open(compaction="lazy")
    assert error.value.hint == 'it is "leveled" or "tiered"'


@pytest.mark.parametrize(
    ("expire", "why"),
    [
        ({b"": 5}, "covers keys of SQL's tables"),
        ({b"\xfft": 5}, "covers keys of SQL's tables"),
        ({b"s": 0}, "ttl_s is 0"),
        ({"s": 5}, "prefix of keys that expire is bytes, not str"),
        ([b"s"], "a mapping of prefixes to seconds, not list"),
    ],
)
def test_an_expiry_that_makes_no_sense_is_refused(expire: Any, why: str) -> None:
    with pytest.raises(InvalidParameterValue, match=why):
        ferrisdb.open(expire=expire)


def test_opens_of_one_path_agree_on_what_expires(tmp_path: Path) -> None:
    with ferrisdb.open(tmp_path / "db", expire={b"session/": 3600}):
        ferrisdb.open(tmp_path / "db").close()
        with pytest.raises(ProgrammingError, match="already open in this process with expiries"):
            ferrisdb.open(tmp_path / "db", expire={b"session/": 60})


def test_what_has_expired_is_gone_after_compaction_and_all_else_is_there() -> None:
    with ferrisdb.open(expire={b"session/": 3600}) as db:
        clock = db._lease.engine.store._engine._clock
        with db.transaction() as tx:
            tx.put(b"session/1", b"x")
            tx.put(b"user/1", b"Ada")
        db.execute("CREATE TABLE t (a INTEGER)")
        db.flush()
        clock._latest_s += 3700
        db.wait_until_compacted()
        with db.transaction() as tx:
            assert list(tx.scan(b"", None)) == [(b"user/1", b"Ada")]
        assert db.query("SELECT a FROM t").all() == []
        assert db.statistics().filtered_versions == 1
