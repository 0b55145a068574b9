"""`ferrisdb salvage SRC DST`: what can still be read of a damaged database, in a new one.

The report goes to standard output, as text or with --json as one object: every damaged place,
which keys and commits are lost with it, and what was saved. Exit status 0: nothing was lost;
1: something was, or may have been.

Keys are shown in SQL's words where the salvaged catalog has them (`inspect_names`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from ferrisdb.cli.backup_command import folder_given
from ferrisdb.cli.check_command import progress_bar
from ferrisdb.cli.inspect_names import KeyNames
from ferrisdb.errors import Error, InvalidParameterValue
from ferrisdb.query.catalog import tables_in
from ferrisdb.query.keyspace import names_range
from ferrisdb.storage.inspect_folder import look_at
from ferrisdb.storage.os_env import OsEnv
from ferrisdb.storage.salvage import salvage
from ferrisdb.storage.salvage_report import Damage, SalvageReport

KEY_WIDTH = 60


def run_salvage(given: list[str]) -> int:
    """Run the command: the exit status. Raises Error."""
    options = _parser().parse_args(given)
    source, target = folder_given(options.source), folder_given(options.target)
    if Path(target).resolve().is_relative_to(Path(source).resolve()):
        raise InvalidParameterValue("DST lies in SRC, which stays as it is")
    with progress_bar(source, options.progress or sys.stderr.isatty(), "salvage") as progress:
        report = salvage(OsEnv(), source, target, progress)
    names = _names(target)
    if options.json:
        print(json.dumps(_as_json(report, names), indent=2))
    else:
        for line in _as_text(report, names):
            print(line)
    sys.stdout.flush()
    return 1 if report.has_lost else 0


def _names(target: str) -> KeyNames:
    try:
        return KeyNames(tables_in(look_at(OsEnv(), target).newest_rows(*names_range())), KEY_WIDTH)
    except Error as error:
        print(f"note: the catalog cannot be read, so keys are shown as bytes: {error}", file=sys.stderr)
        return KeyNames([], KEY_WIDTH)


def _as_text(report: SalvageReport, names: KeyNames) -> Iterator[str]:
    for damage in sorted(report.damages, key=lambda damage: (damage.file, damage.offset)):
        place = (
            f"byte {damage.offset}" if damage.end <= damage.offset else f"bytes {damage.offset}-{damage.end}"
        )
        yield f"{damage.file}: {place}: {damage.problem}"
        yield "  " + (_lost(damage, names) if damage.is_loss else "nothing is lost with it")
    for note in report.notes:
        yield f"note: {note}"
    if report.suspect_keys:
        yield (
            f"{report.suspect_keys:,} of the saved keys may be old, or may have been deleted: what is lost "
            "may have been newer"
        )
    yield (
        f"saved {report.saved_keys:,} keys, from {report.tables:,} tables and {report.commits:,} commits in "
        f"the log with {report.versions:,} versions; {'something' if report.has_lost else 'nothing'} is lost"
    )


def _lost(damage: Damage, names: KeyNames) -> str:
    versions = "an unknown number of versions" if damage.versions is None else f"{damage.versions:,} versions"
    return f"lost: {versions}, {_key_range(damage, names)}{_commit_range(damage)}"


def _key_range(damage: Damage, names: KeyNames) -> str:
    if damage.smallest_key is None and damage.largest_key is None:
        return "of any keys"
    first = "the first key" if damage.smallest_key is None else names.key(damage.smallest_key)
    last = "the last key" if damage.largest_key is None else names.key(damage.largest_key)
    return f"keys {first} to {last}"


def _commit_range(damage: Damage) -> str:
    first, last = damage.first_commit, damage.last_commit
    if first is None:
        return "" if last is None else f", commits up to {last}"
    if last is None:
        return f", commits from {first} on, if there were any"
    return f", commit {first}" if first == last else f", commits {first} to {last}"


def _as_json(report: SalvageReport, names: KeyNames) -> dict[str, object]:
    return {
        "lost": report.has_lost,
        "saved_keys": report.saved_keys,
        "suspect_keys": report.suspect_keys,
        "used_manifest": report.used_manifest,
        "tables": report.tables,
        "versions": report.versions,
        "commits": report.commits,
        "notes": list(report.notes),
        "damages": [
            {
                "file": damage.file,
                "offset": damage.offset,
                "end": damage.end,
                "problem": damage.problem,
                "lost": damage.is_loss,
                "versions": damage.versions,
                "first_commit": damage.first_commit,
                "last_commit": damage.last_commit,
                "smallest_key": _json_key(damage.smallest_key, names),
                "largest_key": _json_key(damage.largest_key, names),
            }
            for damage in report.damages
        ],
    }


def _json_key(key: bytes | None, names: KeyNames) -> dict[str, str] | None:
    return None if key is None else {"hex": key.hex(), "shown": names.key(key)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ferrisdb salvage",
        description="Save what can be read of a damaged database into a new one, and report exactly what "
        "is lost. SRC is not changed. Exits with 0 when nothing was lost, with 1 when something was.",
        allow_abbrev=False,
    )
    parser.add_argument("source", metavar="SRC", help="folder of the damaged database")
    parser.add_argument("target", metavar="DST", help="folder of the new one: not there yet, or empty")
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    parser.add_argument("--progress", action="store_true", help="show a progress bar, also into a pipe")
    return parser
