"""Taking turns: ours, the peer, ours, the peer; the median of each."""

from __future__ import annotations

import gc
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from bench.contest import Contest, Side, Size, Work


class ContestVoid(Exception):
    """The two sides did not do the same thing, so their times must not be compared."""


@dataclass(frozen=True)
class Outcome:
    """Operations per second are medians over the rounds; seconds are sums, warm-up not counted."""

    contest: Contest
    work: Work
    rounds: int
    ours_per_s: float
    peer_per_s: float
    ours_s: float
    peer_s: float

    @property
    def ratio(self) -> float:
        return self.ours_per_s / self.peer_per_s

    @property
    def is_met(self) -> bool:
        return self.ratio >= self.contest.target


def hold(contest: Contest, size: Size) -> Outcome:
    """Run one contest in a temporary folder, which is removed whatever happens.

    Raises ContestVoid when the two sides end with different answers.
    """
    work = contest.work.scaled(size.factor)
    folder = Path(tempfile.mkdtemp(prefix="ferrisdb-bench-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        ours = stack.enter_context(closing(_seated(contest.ours, folder / "ours", work)))
        peer = stack.enter_context(closing(_seated(contest.peer, folder / "peer", work)))
        for side in (ours, peer):
            _timed_round(side)  # the warm-up: caches, statement caches, first page faults
        ours_rounds, peer_rounds = [], []
        for _ in range(size.rounds):
            ours_rounds.append(_timed_round(ours))
            peer_rounds.append(_timed_round(peer))
        _require_same_answer(contest, ours, peer)
        return Outcome(
            contest,
            work,
            size.rounds,
            ours_per_s=statistics.median(count / seconds for count, seconds in ours_rounds),
            peer_per_s=statistics.median(count / seconds for count, seconds in peer_rounds),
            ours_s=sum(seconds for _, seconds in ours_rounds),
            peer_s=sum(seconds for _, seconds in peer_rounds),
        )


def _seated(make: Callable[[Path, Work], Side], folder: Path, work: Work) -> Side:
    folder.mkdir()
    return make(folder, work)


def _timed_round(side: Side) -> tuple[int, float]:
    side.prepare_round()
    # One side's garbage must not be collected on the other side's time.
    gc.collect()
    start_s = time.perf_counter()
    count = side.run_round()
    return count, time.perf_counter() - start_s


def _require_same_answer(contest: Contest, ours: Side, peer: Side) -> None:
    our_answer, peer_answer = ours.answer(), peer.answer()
    if our_answer != peer_answer:
        raise ContestVoid(
            f"{contest.name}: FerrisDB answers {our_answer!r:.200}, {contest.peer_name} {peer_answer!r:.200}"
        )
