"""Errors travel: to another process, into a copy, with all that they know."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from ferrisdb import errors

OF_THEIR_OWN: dict[type[errors.Error], dict[str, Any]] = {
    errors.CommitUnknown: {"transaction_id": 7},
    errors.CorruptionError: {"file": "000007.sst", "offset": 4096},
    errors.DatabaseLocked: {"pid": 42},
}
EVERY_CLASS = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.Error)]


@pytest.mark.parametrize("kind", EVERY_CLASS)
@pytest.mark.parametrize(
    "travel",
    [copy.copy, copy.deepcopy]
    + [
        lambda e, p=protocol: pickle.loads(pickle.dumps(e, p))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ],
)
def test_an_error_arrives_as_it_left(
    kind: type[errors.Error], travel: Callable[[errors.Error], errors.Error]
) -> None:
    sent = kind("it went wrong", **OF_THEIR_OWN.get(kind, {}))
    sent.position, sent.detail, sent.hint = 17, "the detail", "the hint"
    sent.add_note("seen at noon")
    arrived = travel(sent)
    assert type(arrived) is kind
    assert arrived is not sent
    assert (str(arrived), arrived.args) == (str(sent), sent.args)
    assert vars(arrived) == vars(sent)


def test_what_an_error_is_for_can_be_read_after_the_journey() -> None:
    sent = errors.CorruptionError("bad checksum", file="000007.sst", offset=4096)
    arrived = pickle.loads(pickle.dumps(sent))
    assert (arrived.file, arrived.offset) == ("000007.sst", 4096)
    assert str(arrived) == "bad checksum (000007.sst, byte 4096)"
