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

import itertools
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

import ferrisdb

DATA = Path(__file__).resolve().parent / "data"
FOLDER = "demo.ferris"
COMMAND = Path(sys.executable).with_name("ferrisdb")
KILL_AFTER_COMMITS = 500

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
    try:
        ferrisdb.open(FOLDER).close()
    except ferrisdb.CorruptionError:
        pass  # a database, if a broken one: the tour makes it anew
    shutil.rmtree(FOLDER)


def make_tables() -> None:
    chapter("A database is a folder")
    say("It is made when it is first opened. No server is started.")
    show_code(f'db = ferrisdb.open("{FOLDER}")', 'db.execute("CREATE TABLE planet (name TEXT PRIMARY KEY, ...")')
    with ferrisdb.open(FOLDER) as db, db.transaction() as tx:
        for statement in TABLES.split(";")[:-1]:
            tx.execute(statement)
    say("What lies in it now:")
    files = sorted(Path(FOLDER).iterdir())
    print(indented(tabulate([(file.name, file.stat().st_size, ROLES(file)) for file in files], tablefmt="plain")))


def ROLES(file: Path) -> str:
    raise NotImplementedError
