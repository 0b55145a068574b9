"""The matrix: what FerrisDB and SQLite let through, and that the judge can tell."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from ferrisdb.cli.main import main
from ferrisdb.isolation.anomalies import Anomaly, catalogue
from ferrisdb.isolation.dbapi_target import opener
from ferrisdb.isolation.dialects import FERRISDB, Level
from ferrisdb.isolation.ferris_target import FerrisTarget
from ferrisdb.isolation.matrix import Verdict, judge, measure
from ferrisdb.isolation.runner import RunOptions, run_permutation
from ferrisdb.isolation.runs import EventKind, PermutationRun, StepEvent
from ferrisdb.isolation.spec import Step
from ferrisdb.isolation.target import Answer, ErrorReport, OpenTarget

ALL = catalogue().anomalies
PROMISED = {
    "G0", "G1a", "G1b", "G1c", "OTV", "PMP", "P4", "G-single", "G2-item", "G2", "read-only", "long fork",
}  # fmt: skip

FERRIS = """
            read committed  snapshot   serializable
G0          prevented       errored    errored
G1a         prevented       prevented  prevented
G1b         prevented       prevented  prevented
G1c         prevented       prevented  errored
OTV         prevented       errored    errored
PMP         allowed         prevented  prevented
P4          allowed         errored    errored
G-single    allowed         prevented  prevented
G2-item     allowed         allowed    errored
G2          allowed         allowed    errored
read-only   allowed         allowed    errored
long fork   allowed         prevented  prevented
"""

SQLITE = {
    # A writer waits for the other writer, and nobody reads what is not committed.
    "G0": "prevented",
    "G1a": "prevented",
    "G1b": "prevented",
    # The second writer's turn to read comes while it waits to write: its patience ends.
    "G1c": "errored",
    # The reader waits until both writers are through.
    "OTV": "prevented",
    # The insert cannot be committed before the reader is through.
    "PMP": "prevented",
    # Who has read and wants to write while another does is refused: it would be a deadlock.
    "P4": "errored",
    "G-single": "prevented",
    "G2-item": "errored",
    "G2": "errored",
    "read-only": "errored",
    "long fork": "errored",
}


def verdicts(open_target: OpenTarget, levels: tuple[Level, ...]) -> dict[tuple[str, str], str]:
    cells = measure(ALL, levels, open_target, wait_s=0.05)
    return {(cell.anomaly.key, cell.level.name): cell.verdict.value for cell in cells}


def of_ferrisdb() -> dict[tuple[str, str], str]:
    (_, *levels), *rows = [re.split(r"\s{2,}", line) for line in FERRIS.strip("\n").splitlines()]
    return {(key, level): word for key, *words in rows for level, word in zip(levels, words, strict=True)}


def test_ferrisdb_keeps_what_each_level_promises() -> None:
    assert verdicts(FerrisTarget, FERRISDB.levels) == of_ferrisdb()


@pytest.mark.skipif(
    "FERRISDB_POSTGRESQL_URL" not in os.environ,
    reason="needs a PostgreSQL and its URL in FERRISDB_POSTGRESQL_URL (postgresql+psycopg://...)",
)
def test_postgresql_does_what_ferrisdb_does_at_the_levels_of_the_same_name() -> None:
    """Its repeatable read is snapshot isolation. Recorded with PostgreSQL 15."""
    dialect, open_target = opener(os.environ["FERRISDB_POSTGRESQL_URL"])
    same_name = {"snapshot": "repeatable read"}
    expected = {(key, same_name.get(level, level)): word for (key, level), word in of_ferrisdb().items()}
    assert verdicts(open_target, dialect.levels) == expected


def test_no_level_of_ferrisdb_is_weaker_than_the_literature_has_it() -> None:
    assert not [cell for cell in measure(ALL, FERRISDB.levels, FerrisTarget) if cell.breaks_promise]


def test_sqlite_lets_nothing_through(tmp_path: Path) -> None:
    dialect, open_target = opener(f'sqlite3:connect("{tmp_path / "lab.db"}", timeout=1.0)')
    (level,) = dialect.levels
    assert verdicts(open_target, (level,)) == {(key, "serializable"): word for key, word in SQLITE.items()}


# --- the judge can tell ---------------------------------------------------------------------


def told(anomaly: Anomaly, rows: dict[str, list[list[int]]], failing: str | None = None) -> PermutationRun:
    """A run in which each step gave the rows said, and one step failed."""
    (permutation,) = anomaly.spec.permutations()

    def event(step: Step) -> StepEvent:
        answers = (Answer(("v",), tuple(map(tuple, rows[step.name]))),) if step.name in rows else ()
        error = ErrorReport("refused", "40001") if step.name == failing else None
        return StepEvent(step, step.sql, EventKind.DONE, answers, error)

    return PermutationRun(permutation, events=[event(planned.step) for planned in permutation])


@pytest.mark.parametrize("anomaly", ALL, ids=lambda each: each.key)
def test_each_sighting_is_an_anomaly_only_if_all_of_it_was_seen(anomaly: Anomaly) -> None:
    level = FERRISDB.levels[0]
    for sighting in anomaly.sightings:
        assert judge(anomaly, level, told(anomaly, sighting.rows)).verdict is Verdict.ALLOWED
        for step in sighting.rows:
            others = {**sighting.rows, step: [[999]]}
            assert judge(anomaly, level, told(anomaly, others)).verdict is Verdict.PREVENTED
        for session in anomaly.spec.sessions:
            if session.name not in sighting.committed:
                continue
            # Nobody acts on what an aborted transaction has seen.
            run = told(anomaly, sighting.rows, failing=session.steps[-1].name)
            cell = judge(anomaly, level, run)
            assert (cell.verdict, cell.reason) == (Verdict.ERRORED, "refused")


@pytest.mark.parametrize("anomaly", ALL, ids=lambda each: each.key)
def test_in_any_serial_order_nothing_is_seen(anomaly: Anomaly) -> None:
    # Given the sessions one after the other, in both directions
    (permutation,) = anomaly.spec.permutations()
    last = len(anomaly.spec.sessions)
    for direction in (1, -1):

        def turn(session: int) -> int:
            name = anomaly.spec.sessions[session].name
            return last if name == "after" else direction * session  # noqa: B023

        serial = tuple(sorted(permutation, key=lambda planned: turn(planned.step.session)))
        options = RunOptions("READ COMMITTED", abort_on_error=True)
        run = run_permutation(anomaly.spec, serial, FerrisTarget, options)
        # Then the judge sees nothing, since there is nothing to see
        assert judge(anomaly, FERRISDB.levels[0], run).verdict is Verdict.PREVENTED


def test_a_level_that_the_database_refuses_is_untested_and_not_errored() -> None:
    level = Level("chaos", "read committed")
    cells = list(measure(ALL, [level], FerrisTarget))
    assert {cell.verdict for cell in cells} == {Verdict.UNTESTED}
    assert all("chaos" in (cell.reason or "").lower() for cell in cells)


# --- the data, and the command --------------------------------------------------------------


def test_every_anomaly_has_its_scenario_its_sources_and_a_word_for_each_level() -> None:
    assert {anomaly.key for anomaly in ALL} == PROMISED
    words = {"prevented", "allowed", "silent"}
    for anomaly in ALL:
        assert set(anomaly.standard.values()) | set(anomaly.literature.values()) <= words
        assert anomaly.standard.keys() == anomaly.literature.keys()
        assert anomaly.sources
        assert set(anomaly.sources) <= catalogue().sources.keys()
        # What serializable means, whoever says it.
        assert anomaly.standard["serializable"] == anomaly.literature["serializable"] == "prevented"


MATRIX = """\
FerrisDB               snapshot
--------  -----------  -------------------------------
P4        lost update  errored (prevented / prevented)
G2-item   write skew   allowed (allowed / prevented)

observed (what the literature says of the level / what the SQL standard says)
"""


def test_the_command_draws_the_matrix(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["isolation", "matrix", "--level", "snapshot", "--anomaly", "g2-item", "--anomaly", "P4"]
    assert main(given) == 0
    assert capsys.readouterr().out == MATRIX
    assert main([*given, "--format", "json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["observed"], second["observed"]) == ("errored", "allowed")
    assert second["sources"][1].startswith("Berenson")
    assert main([*given, "--steps"]) == 0
    assert "G2-item (write skew) at snapshot: allowed\nstarting permutation: s1r" in capsys.readouterr().out


def test_a_broken_promise_is_an_exit_status(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    # Given a store whose snapshots are called serializable
    url = f'ferrisdb:connect("{tmp_path / "lab.ferris"}")'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "ferrisdb.isolation.dialects.FERRISDB.begin", ("BEGIN ISOLATION LEVEL SNAPSHOT",), raising=True
        )
        status = main(
            ["isolation", "matrix", "--url", url, "--level", "serializable", "--anomaly", "G2-item"]
        )
    assert status == 1
    told = capsys.readouterr()
    assert "allowed! (prevented / prevented)" in told.out
    assert "FerrisDB at serializable lets G2-item (write skew) happen" in told.err
