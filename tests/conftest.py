"""What holds for all tests: hypothesis asserts no time, and no engine outlives its test.

A test that crashes an engine on purpose does not close it, as nobody does in a power cut. But
its threads are there, asleep, and some wake up each second. After thousands of crashes they
would take the processor from all tests that follow.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from ferrisdb.storage import forks
from ferrisdb.storage.engine import Engine

settings.register_profile(
    "ferrisdb", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("ferrisdb")


def open_engines() -> set[Engine]:
    return {each for each in forks._opened if isinstance(each, Engine) and each._unusable is None}


@pytest.fixture(autouse=True)
def no_engine_outlives_its_test() -> Iterator[None]:
    # Those of fixtures that several tests share are open already.
    before = open_engines()
    yield
    for engine in open_engines() - before:
        _stop_threads(engine)


def _stop_threads(engine: Engine) -> None:
    """Without waiting: a test may have left one in the middle of a call that never returns."""
    with engine._sources.changed:
        engine._flusher._is_stopping = True
        engine._sources.changed.notify_all()
    with engine._background_sync._changed:
        engine._background_sync._is_stopping = True
        engine._background_sync._changed.notify_all()
    engine._compactor.begin_to_stop()
