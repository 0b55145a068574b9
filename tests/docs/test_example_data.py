"""The example data is real, so nature can check it.

Kepler's third law: for all bodies that go round the same one, orbit^3 / period^2 is the same
number. A digit typed wrongly in any orbit or period breaks it.
"""

from __future__ import annotations

import csv

import pytest
from markdown_blocks import ROOT

EARTHS = 1.32677e-14
"""4 pi^2 / (G * mass of the earth), for kilometres and days."""
CHARON_AND_PLUTO = 1.12
"""Charon is so heavy that what the moons of Pluto go round is the two of them."""


def read(name: str) -> list[dict[str, str]]:
    with (ROOT / "examples" / "data" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


PLANETS = {planet["name"]: planet for planet in read("planets.csv")}
MOONS = read("moons.csv")


def test_planets_keep_to_keplers_law() -> None:
    for planet in PLANETS.values():
        ratio = float(planet["orbit_au"]) ** 3 / float(planet["orbit_years"]) ** 2
        assert ratio == pytest.approx(1, rel=0.01), planet["name"]


def test_moons_weigh_their_planet() -> None:
    for moon in MOONS:
        weighed = EARTHS * float(moon["orbit_km"]) ** 3 / float(moon["orbit_days"]) ** 2
        known = float(PLANETS[moon["planet"]]["mass_earths"])
        if moon["planet"] == "Pluto":
            known *= CHARON_AND_PLUTO
        assert weighed == pytest.approx(known, rel=0.03), moon["name"]


def test_names_are_keys() -> None:
    assert len({moon["name"] for moon in MOONS}) == len(MOONS) == 78
    assert len(PLANETS) == 13
