"""The tables behind the parser: free of conflicts, complete, reproducible, and never stale."""

from __future__ import annotations

import importlib.util
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lark import Token as LarkToken
from lark.exceptions import UnexpectedInput
from lark.lexer import Lexer as LarkLexer

from ferrisdb.errors import Error
from ferrisdb.query.parse import table_builder, table_file
from ferrisdb.query.parse.automaton import Rejected, shift, shift_all
from ferrisdb.query.parse.parser import Parser
from ferrisdb.query.parse.rules import REDUCERS
from ferrisdb.query.parse.tables import cache_path, find_or_build, grammar_text, load

CHECKOUT = Path(__file__).parents[2]
GRAMMAR = grammar_text()

STARTS = "\nexpression: WORD\nreserved_for_later: WORD\n%declare WORD\n"


# --- the grammar ------------------------------------------------------------------------


def test_the_grammar_has_no_conflict() -> None:
    table_builder.build(GRAMMAR)


@pytest.mark.parametrize(
    "ambiguous",
    [
        'statement: WORD | statement "+" statement -> sum',
        'statement: "(" a ")" -> first | "(" b ")" -> second\na: WORD\nb: WORD',
        "statement: a WORD -> word\na: -> nothing\n | WORD",
    ],
)
def test_a_grammar_with_a_conflict_is_refused(ambiguous: str) -> None:
    with pytest.raises(table_builder.GrammarConflict, match=r"[Cc]onflict|collision"):
        table_builder.build(ambiguous + STARTS)


def test_a_production_without_a_function_is_refused() -> None:
    with pytest.raises(ValueError, match="2 symbols has no alias"):
        table_builder.build("statement: WORD WORD" + STARTS)


def test_every_production_has_a_function_and_every_function_a_production() -> None:
    aliases = {alias for _, _, alias in table_builder.build(GRAMMAR)["rules"] if alias}
    assert aliases == set(REDUCERS)


def test_words_are_reserved_or_free_but_not_both() -> None:
    data = table_builder.build(GRAMMAR)
    reserved, bare, other = (set(data[name]) for name in ("reserved_words", "bare_words", "other_words"))
    assert not reserved & bare
    assert not reserved & other
    assert not bare & other
    assert {"SELECT", "UNION", "ORDER"} <= reserved
    assert {"NAME", "STRING", "INT"}.isdisjoint(reserved | bare | other)


def test_the_same_grammar_gives_the_same_bytes() -> None:
    """Lark numbers states by hash, and hashes differ from process to process."""
    script = (
        "import sys, zlib, msgpack; from ferrisdb.query.parse import table_builder, tables;"
        "print(zlib.crc32(msgpack.packb(table_builder.build(tables.grammar_text()))))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(printed) == 1


# --- Lark's parser is the oracle for our loop -------------------------------------------


class OurTokens(LarkLexer):
    """Feeds Lark's parser with the tokens of our lexer, under Lark's names for them."""

    names: dict[str, str]
    tokens: list[tuple[str, str, int]]

    def __init__(self, _configuration: Any) -> None:
        pass

    def lex(self, _text: Any) -> Iterator[LarkToken]:  # type: ignore[override]
        for kind, text, position in OurTokens.tokens:
            if kind != "$END":
                yield LarkToken(OurTokens.names.get(kind, kind), text, position)


def corpus() -> list[str]:
    folder = Path(__file__).parent / "sql"
    lines = [
        line.removeprefix("> ")
        for path in sorted(folder.glob("*.txt"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if line and line[0] not in "# "
    ]
    return lines + ["SELECT " + line.split("  ==")[0] for line in lines if "  ==" in line]


def test_lark_and_our_loop_accept_the_same() -> None:
    parser = Parser(load())
    lark = table_builder.lark_parser(GRAMMAR, lexer=OurTokens)
    OurTokens.names = {terminal.pattern.value: terminal.name for terminal in lark.terminals}
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    accepted = refused = 0
    for sql in mutants(corpus(), rng, 1500):
        try:
            OurTokens.tokens = parser.lexer.tokens(sql)
        except Error:
            continue
        try:
            shift_all(parser.tables, "statement", [kind for kind, _, _ in OurTokens.tokens])
            ours = True
        except Rejected:
            ours = False
        try:
            lark.parse("x", start="statement")
            theirs = True
        except UnexpectedInput:
            theirs = False
        assert ours == theirs, sql
        accepted, refused = accepted + ours, refused + (not ours)
    assert accepted > 100
    assert refused > 100


def mutants(statements: list[str], rng: random.Random, count: int) -> Iterator[str]:
    """The statements, and statements with a word of another one put in, left out or exchanged."""
    yield from statements
    split = [re.findall(r"'[^']*'|\w+|\s+|.", sql) for sql in statements]
    for _ in range(count):
        pieces = list(rng.choice(split))
        place = rng.randrange(len(pieces))
        pieces[place : place + rng.randint(0, 1)] = [" ", rng.choice(rng.choice(split)), " "] * rng.randint(
            0, 1
        )
        yield "".join(pieces)


def test_a_token_that_was_refused_is_refused_for_good() -> None:
    tables = load()
    states = shift_all(tables, "statement", ["SELECT", "INT"])
    assert shift(tables, states.copy(), "FROM")
    assert not shift(tables, states.copy(), "INT")


# --- where the tables are kept ----------------------------------------------------------


@pytest.fixture
def no_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(_grammar: str) -> None:
        raise AssertionError("the tables were built although they are there")

    monkeypatch.setattr(table_builder, "build", build)


def test_what_was_built_is_left_in_the_first_place_and_found_there(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    places = [tmp_path / "a" / "tables", tmp_path / "b" / "tables"]
    built = find_or_build(GRAMMAR, places)
    assert [path.exists() for path in places] == [True, False]
    assert [path.name for path in places[0].parent.iterdir()] == ["tables"]
    request.getfixturevalue("no_building")
    assert table_file.read(places[0], GRAMMAR) == find_or_build(GRAMMAR, places)
    assert list(built["symbols"]) == find_or_build(GRAMMAR, places)["symbols"]


def test_a_place_that_cannot_be_written_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    unwritable, writable = tmp_path / "file" / "tables", tmp_path / "tables"
    find_or_build(GRAMMAR, [unwritable, writable])
    assert writable.exists()
    assert find_or_build(GRAMMAR, [unwritable])["symbols"]


def test_tables_of_another_grammar_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "tables"
    find_or_build(GRAMMAR, [path])
    edited = GRAMMAR.replace('"EXPLAIN" explainable', '"DESCRIBE" explainable')
    assert "DESCRIBE" in find_or_build(edited, [path])["reserved_words"]
    assert table_file.read(path, GRAMMAR) is None
    assert table_file.read(path, edited) is not None


def test_a_damaged_file_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "tables"
    find_or_build(GRAMMAR, [path])
    whole = path.read_bytes()
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(200):
        place = rng.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << rng.randrange(8)
        for damaged in (whole[:place], bytes(flipped)):
            path.write_bytes(damaged)
            assert table_file.read(path, GRAMMAR) is None, place


def test_the_cache_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_path(GRAMMAR).parent == tmp_path / "ferrisdb"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_path(GRAMMAR).parent == tmp_path / ".cache" / "ferrisdb"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_path(GRAMMAR).parent == tmp_path / "Library" / "Caches" / "ferrisdb"


def test_a_program_that_parses_does_not_load_lark() -> None:
    load()
    script = (
        "import sys; from ferrisdb.query.parse import parse_statement; parse_statement('SELECT 1');"
        "print('lark' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_the_build_of_a_wheel_makes_the_tables(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling is there only where wheels are built")
    parse = tmp_path / "ferrisdb" / "query" / "parse"
    parse.mkdir(parents=True)
    (tmp_path / "grammar").mkdir()
    shutil.copy(CHECKOUT / "grammar" / "sql.lark", tmp_path / "grammar")
    for name in ("table_builder.py", "table_file.py"):
        shutil.copy(CHECKOUT / "ferrisdb" / "query" / "parse" / name, parse)
    build_data: dict[str, Any] = {"artifacts": []}
    hook_class = load_hook().ParseTablesHook
    hook_class(str(tmp_path), {}, None, None, str(tmp_path), "wheel").initialize("standard", build_data)
    assert build_data["artifacts"] == ["/ferrisdb/query/parse/sql_tables.msgpack"]
    assert table_file.read(parse / table_file.FILE_NAME, GRAMMAR) is not None


def load_hook() -> Any:
    spec = importlib.util.spec_from_file_location("hatch_build", CHECKOUT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
