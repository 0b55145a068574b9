"""The guided tour of FerrisDB: `make demo`, or `.venv/bin/python examples/demo.py`.

It makes a database in the folder `demo.ferris` of the current directory (anew on each run),
loads the planets and 78 of their moons, asks questions, lets two transactions collide, and
pulls the plug on a process in the middle of its writing. Everything it does goes through the
public interface: the command `ferrisdb` and `import ferrisdb`.

The tour is also its own victim: started as `demo.py --write-until-killed FOLDER` it is the
process that the last chapter kills.

Data: `examples/data`. Radii, orbits and discoveries as published by NASA and the
International Astronomical Union, rounded.
"""

from __future__ import annotations

import contextlib
import itertools
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from tabulate import tabulate

import ferrisdb

DATA = Path(__file__).resolve().parent / "data"
FOLDER = "demo.ferris"
COMMAND = Path(sys.executable).with_name("ferrisdb")
KILL_AFTER_COMMITS = 300

TABLES = """
CREATE TABLE planet (
    name TEXT PRIMARY KEY, kind TEXT NOT NULL, radius_km DOUBLE, mass_earths DOUBLE,
    orbit_au DOUBLE, orbit_years DOUBLE, discovered INTEGER, discoverer TEXT);
CREATE TABLE moon (
    name TEXT PRIMARY KEY, planet TEXT NOT NULL, radius_km DOUBLE, orbit_km INTEGER,
    orbit_days DOUBLE, discovered INTEGER, discoverer TEXT);
"""

LARGEST_MOONS = """
SELECT moon.name AS moon, planet.name AS planet, moon.radius_km, moon.discovered, moon.discoverer
FROM moon JOIN planet ON planet.name = moon.planet
WHERE moon.radius_km > 1000
ORDER BY moon.radius_km DESC
"""

DISCOVERERS = """
SELECT discoverer, count(*) AS moons, min(discovered) AS first, max(discovered) AS last
FROM moon
WHERE discoverer IS NOT NULL
GROUP BY discoverer
HAVING count(*) >= 4
ORDER BY moons DESC, discoverer
"""

WEIGH_THE_PLANETS = """
SELECT planet.name AS planet, count(*) AS moons,
       CAST(avg(1.32677e-14 * moon.orbit_km * moon.orbit_km * moon.orbit_km
                / (moon.orbit_days * moon.orbit_days)) AS NUMERIC(10, 4)) AS weighed,
       CAST(planet.mass_earths AS NUMERIC(10, 4)) AS in_the_books
FROM planet JOIN moon ON moon.planet = planet.name
GROUP BY planet.name, planet.mass_earths
ORDER BY weighed DESC
"""

ONE_MOON = "SELECT name, radius_km FROM moon WHERE name = 'Titan'"


class CommandFailed(Exception):
    """A `ferrisdb` command of the tour failed, and has said why."""


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["--write-until-killed"]:
        return write_until_killed(arguments[1])
    try:
        tour()
    except ferrisdb.DatabaseLocked as error:
        print(f"The tour needs the folder {FOLDER} for itself: {error}", file=sys.stderr)
        return 1
    except ferrisdb.Error as error:
        print(f"The tour ends here: {error}", file=sys.stderr)
        return 1
    except CommandFailed:
        return 1
    return 0


def tour() -> None:
    start_s = time.perf_counter()
    make_room()
    make_tables()
    import_csv()
    with ferrisdb.open(FOLDER) as db:
        ask_questions(db)
        look_behind_the_query(db)
        let_two_transactions_collide(db)
        db.execute("CREATE TABLE observation (id INTEGER PRIMARY KEY, note TEXT NOT NULL)")
        db.execute("CREATE TABLE tally (id INTEGER PRIMARY KEY, observations INTEGER NOT NULL)")
        db.execute("INSERT INTO tally VALUES (1, 0)")
    acknowledged = pull_the_plug()
    look_at_the_damage(acknowledged)
    say_goodbye(time.perf_counter() - start_s)


def make_room() -> None:
    """Remove the database of an earlier tour, and nothing that is not one."""
    if not Path(FOLDER).exists():
        return
    # A broken database is one too. What is none, or is in use, ends the tour instead.
    with contextlib.suppress(ferrisdb.CorruptionError):
        ferrisdb.open(FOLDER).close()
    shutil.rmtree(FOLDER)


def make_tables() -> None:
    chapter("A database is a folder")
    say("It is made when it is first opened. No server is started, nothing is configured.")
    show_python(
        f'db = ferrisdb.open("{FOLDER}")', 'db.execute("CREATE TABLE planet (name TEXT PRIMARY KEY, ...)")'
    )
    with ferrisdb.open(FOLDER) as db, db.transaction() as tx:
        for statement in TABLES.split(";")[:-1]:
            tx.execute(statement)
    say("Two tables are in it now. On the disk, that is this:")
    files = sorted(Path(FOLDER).iterdir())
    show_table(("file", "bytes", "what it is"), [(f.name, f.stat().st_size, role_of(f)) for f in files])


def role_of(file: Path) -> str:
    if file.suffix == ".wal":
        return "the log: a commit is written here before anybody hears of it"
    if file.suffix == ".sst":
        return "a table file: rows in order, never changed again"
    roles = {"CURRENT": "names the manifest", "LOCK": "held by the process that has the folder open"}
    return roles.get(file.name, "the manifest: which files count")


def import_csv() -> None:
    chapter("Load real data")
    say("The planets of the sun with the five dwarf planets, and 78 of their moons, from CSV files.")
    for table, file in (("planet", "planets.csv"), ("moon", "moons.csv")):
        command = [nearby(COMMAND), "import", FOLDER, table, nearby(DATA / file)]
        show_command(command)
        report = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
        show_output(report.stderr.strip())
        if report.returncode != 0:
            raise CommandFailed


def ask_questions(db: ferrisdb.Database) -> None:
    chapter("Ask questions in SQL")
    say("Which moons are more than 1000 km in radius? (a join)")
    show_query(db, LARGEST_MOONS)
    say("Who found the most? The old masters against the space probes. (groups)")
    show_query(db, DISCOVERERS)
    say(
        "How heavy is a planet? Nobody has put one on a scale, but Kepler and Newton say that its "
        "moons tell: its mass is proportional to orbit\u00b3 / period\u00b2. The number in the query "
        "turns kilometres and days into Earths."
    )
    show_query(db, WEIGH_THE_PLANETS)
    say(
        "Pluto comes out too heavy, and rightly so: what its moons go round is Pluto and Charon together, "
        "and Charon has an eighth of Pluto's mass."
    )


def look_behind_the_query(db: ferrisdb.Database) -> None:
    chapter("See how a query is answered")
    say("EXPLAIN shows the plan. One moon by its name is one look at the key:")
    show_query(db, f"EXPLAIN {ONE_MOON}")
    say("All moons with their planets are a join:")
    show_query(db, f"EXPLAIN {LARGEST_MOONS.strip()}")


def let_two_transactions_collide(db: ferrisdb.Database) -> None:
    chapter("Let two transactions collide")
    say("A telescope has 10 hours left tonight. Ada and Ben both look, and both want 6 of them.")
    db.execute("CREATE TABLE telescope (id INTEGER PRIMARY KEY, hours_left INTEGER NOT NULL)")
    db.execute("INSERT INTO telescope VALUES (1, 10)")
    ada, ben = db.begin(), db.begin()
    show_python(
        "ada, ben = db.begin(), db.begin()",
        f"hours_left(ada), hours_left(ben)         # {hours_left(ada)} and {hours_left(ben)}",
        "take_hours(ada, 6); ada.commit()",
        "take_hours(ben, 6)",
    )
    take_hours(ada, 6)
    ada.commit()
    try:
        take_hours(ben, 6)
        ben.commit()
        say("Nothing stopped Ben, and that is a bug in FerrisDB: please report it.")
    except ferrisdb.SerializationFailure as conflict:
        show_output(f"SerializationFailure {conflict.sqlstate}: {conflict}")
    say(
        "Ben wanted to act on what he had seen, and it was no longer true. FerrisDB does not let the later "
        "one win silently. Run again as a whole, his transaction sees the hours that are really left. "
        "db.run does that by itself:"
    )
    show_python("db.run(book_six_hours)")
    show_output(db.run(book_six_hours))


def hours_left(tx: ferrisdb.Transaction) -> int:
    return int(tx.query("SELECT hours_left FROM telescope WHERE id = 1").scalar())


def take_hours(tx: ferrisdb.Transaction, hours: int) -> None:
    tx.execute("UPDATE telescope SET hours_left = hours_left - ? WHERE id = 1", (hours,))


def book_six_hours(tx: ferrisdb.Transaction) -> str:
    left = hours_left(tx)
    if left < 6:
        return f"only {left} hours are left: Ben comes back tomorrow"
    take_hours(tx, 6)
    return "booked"


def pull_the_plug() -> int:
    """Kill a writing process. The number of commits that it had told us of."""
    chapter("Pull the plug")
    say(
        "Another process opens the database and commits one observation after the other. Each commit also "
        "counts the observation in a second table. It tells us of each commit once it is done. A second "
        "transaction of its own stays open all the time and is never committed. "
        f"After {KILL_AFTER_COMMITS} commits it gets SIGKILL, which no process can catch."
    )
    writer = subprocess.Popen(
        [sys.executable, __file__, "--write-until-killed", FOLDER], stdout=subprocess.PIPE, text=True
    )
    acknowledged = 0
    with writer:
        if writer.stdout is None:
            raise RuntimeError("the writer has no pipe to report through")
        for line in writer.stdout:
            acknowledged = int(line)
            if acknowledged == KILL_AFTER_COMMITS:
                writer.kill()
    show_output(f"killed process {writer.pid}: it had told us of {acknowledged} commits")
    return acknowledged


def write_until_killed(folder: str) -> int:
    """The victim. A number is printed only when its commit has returned."""
    db = ferrisdb.open(folder)
    never_committed = db.begin()
    never_committed.execute("INSERT INTO observation VALUES (0, 'this row must never be seen')")
    for number in itertools.count(1):
        with db.transaction() as tx:
            tx.execute("INSERT INTO observation VALUES (?, ?)", (number, f"observation {number}"))
            tx.execute("UPDATE tally SET observations = observations + 1 WHERE id = 1")
        print(number, flush=True)
    return 0


def look_at_the_damage(acknowledged: int) -> None:
    say("Now we open what it left behind. Recovery reads the log and puts every whole commit back:")
    start_s = time.perf_counter()
    with ferrisdb.open(FOLDER) as db:
        elapsed_ms = (time.perf_counter() - start_s) * 1000
        found = db.query("SELECT count(*) FROM observation WHERE id > 0").scalar()
        in_order = db.query("SELECT max(id) FROM observation").scalar()
        tallied = db.query("SELECT observations FROM tally WHERE id = 1").scalar()
        ghosts = db.query("SELECT count(*) FROM observation WHERE id = 0").scalar()
    show_table(
        ("", "rows"),
        [
            ("commits it had told us of", acknowledged),
            ("observations found", found),
            ("number of the last one", in_order),
            ("counted in the second table", tallied),
            ("rows of the transaction that never committed", ghosts),
        ],
    )
    is_sound = acknowledged <= found == in_order == tallied and ghosts == 0
    if not is_sound:
        say("That is wrong, and a bug in FerrisDB: please report it.")
        return
    late = found - acknowledged
    say(
        f"Opened in {elapsed_ms:.0f} ms. Nothing that was acknowledged is lost, no transaction is there by "
        "half, and what was never committed is not there."
        + (f" ({late} more reached the disk in the moment between the report and the kill.)" if late else "")
    )


def say_goodbye(elapsed_s: float) -> None:
    chapter("Your turn")
    say(f"That took {elapsed_s:.1f} seconds. The database is still there. Open the shell on it:")
    show_command([nearby(COMMAND), FOLDER])
    say("and try these:")
    print(
        indented(
            ".tables\n.schema moon\nSELECT kind, count(*), avg(radius_km) FROM planet GROUP BY kind;\n.help"
        )
    )


# What the reader sees.

_chapters = itertools.count(1)
WIDTH = 96


def chapter(title: str) -> None:
    heading = f"{next(_chapters)}. {title}"
    print(f"\n{heading}\n{'=' * len(heading)}\n")


def say(text: str) -> None:
    print(textwrap.fill(text, WIDTH) + "\n", flush=True)


def nearby(path: Path) -> str:
    """The path as a reader would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def show_python(*lines: str) -> None:
    print(indented("\n".join(f">>> {line}" for line in lines)) + "\n", flush=True)


def show_command(command: Sequence[str]) -> None:
    show_output("$ " + shlex.join(command))


def show_output(text: str) -> None:
    lines = [textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in text.splitlines()]
    print(indented("\n".join(lines)) + "\n", flush=True)


def show_query(db: ferrisdb.Database, sql: str) -> None:
    print(indented(sql.strip() + ";") + "\n")
    rows = db.query(sql)
    show_table(rows.columns, rows.all())


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    numbers = [isinstance(value, (int, float, Decimal)) for value in rows[0]]
    drawn = tabulate(
        [["NULL" if value is None else str(value) for value in row] for row in rows],
        headers=columns,
        disable_numparse=True,
        colalign=["right" if is_number else "left" for is_number in numbers],
        preserve_whitespace=True,  # EXPLAIN shows by its indentation what feeds what
    )
    print(indented(drawn) + "\n", flush=True)


def indented(text: str) -> str:
    return textwrap.indent(text, "    ")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
