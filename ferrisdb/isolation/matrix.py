"""Anomalies x levels: each scenario is run at each level, and judged by what it has shown.

    PREVENTED   it did not happen, and every transaction committed (perhaps after waiting)
    ERRORED     it did not happen, because a transaction was refused
    ALLOWED     it happened
    UNTESTED    the scenario could not be run to its end; `reason` says why

One schedule is run for each anomaly. That it shows an anomaly is a proof; that it does not is
none, for another schedule might: `ferrisdb isolation fuzz` is for that.

A level that lets through what the literature says it prevents makes a promise it does not keep:
`Cell.breaks_promise`. Letting through less than allowed is nobody's fault.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence

from ferrisdb.immutable import immutable
from ferrisdb.isolation.anomalies import Anomaly
from ferrisdb.isolation.dialects import Level
from ferrisdb.isolation.runner import RunOptions, run_permutation
from ferrisdb.isolation.runs import PermutationRun
from ferrisdb.isolation.target import OpenTarget


class Verdict(enum.Enum):
    PREVENTED = "prevented"
    ERRORED = "errored"
    ALLOWED = "allowed"
    UNTESTED = "untested"


@immutable
class Cell:
    """One anomaly at one level. `reason` is the first error where there was one."""

    anomaly: Anomaly
    level: Level
    verdict: Verdict
    reason: str | None
    run: PermutationRun

    @property
    def literature(self) -> str:
        return self.anomaly.literature[self.level.reference]

    @property
    def standard(self) -> str:
        return self.anomaly.standard[self.level.reference]

    @property
    def breaks_promise(self) -> bool:
        return self.verdict is Verdict.ALLOWED and self.literature == "prevented"


def measure(
    anomalies: Sequence[Anomaly],
    levels: Sequence[Level],
    open_target: OpenTarget,
    *,
    wait_s: float = 0.1,
    step_timeout_s: float = 20.0,
) -> Iterator[Cell]:
    """The cells, anomaly by anomaly. Raises what `open_target` raises."""
    for anomaly in anomalies:
        for level in levels:
            options = RunOptions(level.name.upper(), wait_s, step_timeout_s, abort_on_error=True)
            (permutation,) = anomaly.spec.permutations()
            yield judge(anomaly, level, run_permutation(anomaly.spec, permutation, open_target, options))


def judge(anomaly: Anomaly, level: Level, run: PermutationRun) -> Cell:
    """The verdict on a run of the anomaly's scenario."""
    first = next((event for event in run.events if event.error is not None), None)
    reason = None if first is None or first.error is None else first.error.message
    if run.failure is not None:
        return Cell(anomaly, level, Verdict.UNTESTED, run.failure, run)
    if first is not None and first.sql.startswith("BEGIN"):
        return Cell(anomaly, level, Verdict.UNTESTED, reason, run)  # there is no such level
    if anomaly.is_seen_in(run):
        return Cell(anomaly, level, Verdict.ALLOWED, reason, run)
    return Cell(anomaly, level, Verdict.ERRORED if run.has_error else Verdict.PREVENTED, reason, run)
