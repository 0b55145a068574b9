"""The anomalies that the matrix looks for: a scenario, a judge, and what is written about it.

All of it is data, in the folder `anomalies`: a spec for each scenario, which `ferrisdb isolation
run` shows step by step, and anomalies.toml with the rest. The judge looks at what was really
observed, never at what a level is supposed to do:

    seen = [{ committed = ["s1", "s2"], s1y = [[22]], s2x = [[11]] }]

    The anomaly has happened when s1 and s2 have committed, step s1y has given the row 22 and
    step s2x the row 11. Several sightings are alternatives.

What an aborted transaction has seen does not count (Adya 1999, 4.2): nobody may act on it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ferrisdb.errors import InvalidParameterValue, invariant
from ferrisdb.immutable import immutable
from ferrisdb.isolation.runs import EventKind, PermutationRun
from ferrisdb.isolation.spec import Spec
from ferrisdb.isolation.spec_parser import read_spec

FOLDER = Path(__file__).parent / "anomalies"
_COMMIT = re.compile(r"\s*(?:COMMIT|END)\b", re.IGNORECASE)


@immutable
class Sighting:
    """`committed` are names of sessions; `rows` what steps have given, by their names."""

    committed: tuple[str, ...]
    rows: dict[str, list[list[Any]]]


@immutable
class Anomaly:
    key: str
    title: str
    note: str
    spec_path: Path
    spec: Spec
    sightings: tuple[Sighting, ...]
    standard: dict[str, str]
    """By FerrisDB's name of the level: prevented, allowed, or silent."""
    literature: dict[str, str]
    sources: tuple[str, ...]

    def is_seen_in(self, run: PermutationRun) -> bool:
        """Whether it has happened."""
        committed = {self.spec.sessions[index].name for index in committed_sessions(run)}
        outcomes = run.outcomes()
        return any(
            committed.issuperset(sighting.committed)
            and all(_rows_of(run, step) == rows for step, rows in sighting.rows.items() if step in outcomes)
            and outcomes.keys() >= sighting.rows.keys()
            for sighting in self.sightings
        )


@immutable
class Catalogue:
    anomalies: tuple[Anomaly, ...]
    sources: dict[str, str]

    def chosen(self, keys: Sequence[str]) -> tuple[Anomaly, ...]:
        """Those with the keys, in any case; all where none is given. Raises InvalidParameterValue."""
        wanted = {key.lower() for key in keys}
        unknown = wanted - {each.key.lower() for each in self.anomalies}
        if unknown:
            raise InvalidParameterValue(
                f"there is no anomaly {', '.join(sorted(unknown))}",
                hint=f"there are {', '.join(each.key for each in self.anomalies)}",
            )
        return tuple(each for each in self.anomalies if not wanted or each.key.lower() in wanted)


@cache
def catalogue() -> Catalogue:
    """All that the package knows."""
    with (FOLDER / "anomalies.toml").open("rb") as file:
        data = tomllib.load(file)
    levels: list[str] = data["levels"]
    return Catalogue(tuple(_anomaly(levels, each) for each in data["anomaly"]), data["sources"])


def committed_sessions(run: PermutationRun) -> frozenset[int]:
    """Those whose COMMIT went well in a transaction without an error, as indexes into the spec's."""
    ended_well = {
        event.step.session
        for event in run.events
        if event.kind in (EventKind.DONE, EventKind.COMPLETED) and _COMMIT.match(event.sql)
    }
    return frozenset(ended_well - run.failed_sessions)


def _rows_of(run: PermutationRun, step: str) -> list[list[Any]] | None:
    event = run.outcomes()[step]
    return [list(row) for row in event.answers[-1].rows] if event.answers else None


def _anomaly(levels: list[str], data: dict[str, Any]) -> Anomaly:
    path = FOLDER / data["spec"]
    spec = read_spec(str(path))
    sightings = tuple(
        Sighting(tuple(each["committed"]), {key: rows for key, rows in each.items() if key != "committed"})
        for each in data["seen"]
    )
    steps = {step.name for session in spec.sessions for step in session.steps}
    for sighting in sightings:
        invariant(steps >= sighting.rows.keys(), f"the judge of {data['key']} knows its scenario")
    return Anomaly(
        data["key"],
        data["title"],
        data["note"],
        path,
        spec,
        sightings,
        dict(zip(levels, data["standard"], strict=True)),
        dict(zip(levels, data["literature"], strict=True)),
        tuple(data["sources"]),
    )
