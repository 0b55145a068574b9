"""Random queries over random small tables, in the words that PostgreSQL and sqlite3 share.

    SELECT DISTINCT r1.x, (SELECT max(r2.y) FROM c r2 WHERE r2.x = r1.id) FROM a r1
    LEFT JOIN b r3 ON r1.x = r3.x AND r3.s LIKE 'a%' WHERE ... ORDER BY 2, 1 DESC LIMIT 3

Every expression is a number, a text or a condition, so no implicit cast is asked for; a
divisor is never zero; LIMIT stands only over an order that leaves nothing open. Where the
dialects differ, NULLs in ORDER BY, the mark `@last` or `@first` says what PostgreSQL does
unasked.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

NUMBER, TEXT = "number", "text"
TABLES = {
    "a": {"id": NUMBER, "x": NUMBER, "y": NUMBER, "s": TEXT},
    "b": {"id": NUMBER, "x": NUMBER, "z": NUMBER, "s": TEXT},
    "c": {"x": NUMBER, "y": NUMBER, "s": TEXT},
    "d": {"t": TEXT, "z": NUMBER, "x": NUMBER},
}
KEYS = {"a": "id", "b": "id", "d": "t, z"}
INDEXES = [
    "CREATE INDEX a_xy ON a (x, y)",
    "CREATE INDEX a_s ON a (s, x)",
    "CREATE UNIQUE INDEX b_zx ON b (z, id)",
    "CREATE INDEX b_x ON b (x)",
    "CREATE INDEX c_ysx ON c (y, s, x)",
    "CREATE INDEX d_x ON d (x)",
]
_WORDS = ["", "a", "b", "ab", "ba", "a%", "_b", "%"]
_PATTERNS = [
    *((pattern, "") for pattern in ("a%", "%b", "_", "%a%", "", "%")),
    *((pattern, " ESCAPE '!'") for pattern in ("a!%", "!_b", "%!%%", "!!")),
]


def schema() -> list[str]:
    """CREATE TABLE statements; keys but no indexes."""
    statements = []
    for table, columns in TABLES.items():
        parts = [f"{name} {'INTEGER' if kind is NUMBER else 'TEXT'}" for name, kind in columns.items()]
        if table in KEYS:
            parts.append(f"PRIMARY KEY ({KEYS[table]})")
        statements.append(f"CREATE TABLE {table} ({', '.join(parts)})")
    return statements


def rows(chance: random.Random) -> dict[str, list[tuple[object, ...]]]:
    """A few rows of each table, NULLs among them."""

    def number() -> int | None:
        return None if chance.random() < 0.25 else chance.randint(-1, 4)

    def text() -> str | None:
        return None if chance.random() < 0.25 else chance.choice(_WORDS)

    sizes = {table: chance.choice((0, 1, 3, 6, 9)) for table in TABLES}
    keys = chance.sample([(word, n) for word in _WORDS for n in range(3)], sizes["d"])
    return {
        "a": [(n, number(), number(), text()) for n in chance.sample(range(-1, 9), sizes["a"])],
        "b": [(n, number(), number(), text()) for n in chance.sample(range(-1, 9), sizes["b"])],
        "c": [(number(), number(), text()) for _ in range(sizes["c"])],
        "d": [(word, n, number()) for word, n in keys],
    }


@dataclass
class _Scope:
    """What a name may stand for: (text, kind) of each column here, and the scope around."""

    parent: _Scope | None
    columns: list[tuple[str, str]] = field(default_factory=list)

    def every(self) -> list[tuple[str, str]]:
        return self.columns + (self.parent.every() if self.parent is not None else [])


class QueryMaker:
    """Makes a query from a stream of chance. `parameters` are the values of its `?1`, `?2`..."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._aliases = 0
        self.parameters: list[object] = []

    def query(self) -> str:
        text = self._select(None, 2, None)
        # Not all that is made is used, and sqlite3 wants just as many values as it has marks.
        del self.parameters[max((int(n) for n in re.findall(r"\?(\d+)", text)), default=0) :]
        return text

    def _is(self, probability: float) -> bool:
        return self._chance.random() < probability

    # --- SELECT -------------------------------------------------------------------------

    def _select(self, parent: _Scope | None, depth: int, kinds: list[str] | None) -> str:
        scope = _Scope(parent)
        source = self._from(scope, depth)
        if kinds is None:
            kinds = [self._chance.choice((NUMBER, NUMBER, TEXT)) for _ in range(self._chance.randint(1, 3))]
        where = f" WHERE {self._condition(scope, depth)}" if self._is(0.5) else ""
        if self._is(0.3):
            items, tail = self._grouped(scope, kinds, depth)
        else:
            items, tail = [self._expression(kind, scope, depth) for kind in kinds], ""
        distinct = "DISTINCT " if self._is(0.2) else ""
        listed = ", ".join(f"{item} AS o{number}" for number, item in enumerate(items, 1))
        return f"SELECT {distinct}{listed} FROM {source}{where}{tail}{self._order(len(items))}"

    def _order(self, width: int) -> str:
        if self._is(0.5):
            return ""
        columns = self._chance.sample(range(1, width + 1), width)
        keys = [
            f"{self._chance.choice((str(n), f'o{n}'))}"
            + self._chance.choice((" @last", " DESC @first", " NULLS FIRST", " DESC NULLS LAST"))
            for n in columns
        ]
        limit = f" LIMIT {self._chance.randint(0, 5)}" if self._is(0.5) else ""
        offset = f" OFFSET {self._chance.randint(0, 3)}" if limit and self._is(0.4) else ""
        return f" ORDER BY {', '.join(keys)}{limit}{offset}"

    def _grouped(self, scope: _Scope, kinds: list[str], depth: int) -> tuple[list[str], str]:
        own = _Scope(None, scope.columns)
        # A bare integer would be an ordinal.
        keys = {NUMBER: f"({self._number(own, 0)} + 0)", TEXT: self._text(own, 0)}
        used = [kind for kind in keys if self._is(0.6)]
        items = [
            keys[kind] if kind in used and self._is(0.5) else self._aggregate(kind, scope) for kind in kinds
        ]
        tail = f" GROUP BY {', '.join(keys[kind] for kind in used)}" if used else ""
        if self._is(0.4):
            sign = self._chance.choice(("=", "<", ">=", "<>"))
            tail += f" HAVING {self._aggregate(NUMBER, scope)} {sign} {self._chance.randint(0, 4)}"
        # A constant alone is no aggregate: count(*) makes sure that there is one group.
        return items, tail or " HAVING count(*) >= 0"

    def _aggregate(self, kind: str, scope: _Scope) -> str:
        own = _Scope(None, scope.columns)
        if kind is TEXT:
            return f"{self._chance.choice(('min', 'max'))}({self._expression(TEXT, own, 0)})"
        name = self._chance.choice(("count", "count", "sum", "avg", "min", "max"))
        if name == "count" and self._is(0.4):
            return "count(*)"
        distinct = "DISTINCT " if self._is(0.3) else ""
        argument = self._expression(NUMBER, own, 0)
        return f"{name}({distinct}{argument})"

    def _from(self, scope: _Scope, depth: int) -> str:
        groups = []
        for _ in range(self._chance.choice((1, 1, 1, 2))):
            text, columns = self._relation(depth)
            chain = _Scope(scope.parent, list(columns))
            for _ in range(self._chance.choice((0, 0, 1, 1, 2))):
                text += self._joined(chain, depth)
            groups.append(text)
            scope.columns += chain.columns
        return ", ".join(groups)

    def _joined(self, chain: _Scope, depth: int) -> str:
        right, columns = self._relation(depth)
        kind = self._chance.choice(("JOIN", "LEFT JOIN", "LEFT JOIN"))
        before = list(chain.columns)
        chain.columns += columns
        if self._is(0.1):
            return f" CROSS JOIN {right}"
        shared = [c for c, k in columns if k is NUMBER]
        if shared and self._is(0.6):
            left = [c for c, k in before if k is NUMBER]
            link = f"{self._chance.choice(left)} = {self._chance.choice(shared)}" if left else "TRUE"
            if self._is(0.5):
                link += f" AND {self._condition(chain, depth - 1)}"
            return f" {kind} {right} ON {link}"
        return f" {kind} {right} ON {self._condition(chain, depth - 1)}"

    def _relation(self, depth: int) -> tuple[str, list[tuple[str, str]]]:
        self._aliases += 1
        alias = f"r{self._aliases}"
        if depth > 0 and self._is(0.2):
            kinds = [self._chance.choice((NUMBER, NUMBER, TEXT)) for _ in range(self._chance.randint(1, 3))]
            query = self._select(None, depth - 1, kinds)
            return f"({query}) AS {alias}", [(f"{alias}.o{n}", kind) for n, kind in enumerate(kinds, 1)]
        table = self._chance.choice(sorted(TABLES))
        return f"{table} {alias}", [(f"{alias}.{name}", kind) for name, kind in TABLES[table].items()]

    # --- expressions --------------------------------------------------------------------

    def _expression(self, kind: str, scope: _Scope, depth: int) -> str:
        return self._number(scope, depth) if kind is NUMBER else self._text(scope, depth)

    def _column(self, kind: str, scope: _Scope) -> str | None:
        # Mostly of this query, sometimes of one around it.
        near = [text for text, of in scope.columns if of == kind]
        every = [text for text, of in scope.every() if of == kind]
        if near and self._is(0.6):
            return self._chance.choice(near)
        return self._chance.choice(every) if every else None

    def _number(self, scope: _Scope, depth: int) -> str:
        shape = self._chance.randint(0, 19 if depth > 0 else 9)
        if shape <= 7:
            return self._column(NUMBER, scope) or str(self._chance.randint(0, 4))
        if shape <= 9:
            return self._known_number()
        one, other = self._number(scope, depth - 1), self._number(scope, depth - 1)
        if shape <= 12:
            return f"({one} {self._chance.choice('+-*')} {other})"
        if shape == 13:
            # sqlite3 takes the remainder of whole numbers only, and an average is none.
            is_whole = "avg" not in one + other and ".o" not in one + other
            sign = self._chance.choice("/%") if is_whole else "/"
            return f"({one} {sign} NULLIF({other}, 0))"
        if shape == 14:
            return f"COALESCE({one}, {other})"
        if shape == 15:
            return f"NULLIF({one}, {other})"
        if shape == 16:
            return f"CASE WHEN {self._condition(scope, depth - 1)} THEN {one} ELSE {other} END"
        if shape == 17:
            return f"CASE {one} WHEN {other} THEN {self._number(scope, 0)} WHEN 1 THEN {one} END"
        if shape == 18:
            return f"length({self._text(scope, depth - 1)})"
        return self._scalar(NUMBER, scope, depth)

    def _text(self, scope: _Scope, depth: int) -> str:
        shape = self._chance.randint(0, 12 if depth > 0 else 8)
        if shape <= 6:
            return self._column(TEXT, scope) or self._word()
        if shape <= 8:
            return self._word()
        one, other = self._text(scope, depth - 1), self._text(scope, depth - 1)
        if shape == 9:
            return f"({one} || {other})"
        if shape == 10:
            return f"COALESCE({one}, {other})"
        if shape == 11:
            return f"CASE WHEN {self._condition(scope, depth - 1)} THEN {one} ELSE {other} END"
        return self._scalar(TEXT, scope, depth)

    def _known_number(self) -> str:
        if self._is(0.15):
            return "(NULL + 0)"
        value = self._chance.randint(-1, 4)
        if self._is(0.3):
            # None has no type of its own: the sum gives it one.
            nullable = None if self._is(0.3) else value
            return f"({self._parameter(nullable)} + 0)" if self._is(0.5) else self._parameter(value)
        return str(value)

    def _word(self) -> str:
        word = self._chance.choice(_WORDS)
        return self._parameter(word) if self._is(0.2) else f"'{word}'"

    def _parameter(self, value: object) -> str:
        self.parameters.append(value)
        return f"?{len(self.parameters)}"

    def _scalar(self, kind: str, scope: _Scope, depth: int) -> str:
        inner = _Scope(scope)
        source = self._from(inner, 0)
        where = f" WHERE {self._condition(inner, depth - 1)}" if self._is(0.8) else ""
        if self._is(0.7):
            return f"(SELECT {self._aggregate(kind, inner)} FROM {source}{where})"
        item = self._expression(kind, inner, 0)
        order = self._chance.choice(("@last", "DESC @first"))
        return f"(SELECT {item} FROM {source}{where} ORDER BY 1 {order} LIMIT 1)"

    def _condition(self, scope: _Scope, depth: int) -> str:
        if depth > 0 and self._is(0.4):
            parts = [self._condition(scope, depth - 1) for _ in range(self._chance.randint(2, 3))]
            joined = f" {self._chance.choice(('AND', 'OR'))} ".join(parts)
            return f"({joined})" if self._is(0.7) else f"NOT ({joined})"
        if self._is(0.1):
            test = self._chance.choice(("TRUE", "NOT TRUE", "FALSE", "NOT FALSE", "NULL", "NOT NULL"))
            return f"(({self._condition(scope, depth - 1)}) IS {test})"
        if depth > 0 and self._is(0.25):
            return self._with_subquery(scope, depth)
        return self._comparison(scope, max(depth, 0))

    def _comparison(self, scope: _Scope, depth: int) -> str:
        kind = self._chance.choice((NUMBER, NUMBER, TEXT))
        one, other, third = (self._expression(kind, scope, depth - 1) for _ in range(3))
        negation = self._chance.choice(("", "NOT "))
        shape = self._chance.randint(0, 11)
        if shape <= 3:
            return f"{one} = {other}"
        if shape <= 6:
            return f"{one} {self._chance.choice(('<>', '<', '<=', '>', '>='))} {other}"
        if shape == 7:
            return f"{one} {negation}BETWEEN {other} AND {third}"
        if shape == 8:
            return f"{one} {negation}IN ({other}, {third}, {self._expression(kind, scope, 0)})"
        if shape == 9:
            return f"{one} IS {negation}NULL"
        if shape == 10:
            return f"{one} IS {negation}DISTINCT FROM {other}"
        pattern, escape = self._chance.choice(_PATTERNS)
        return f"{self._text(scope, depth - 1)} {negation}LIKE '{pattern}'{escape}"

    def _with_subquery(self, scope: _Scope, depth: int) -> str:
        negation = self._chance.choice(("", "NOT "))
        if self._is(0.5):
            # sqlite3 forgets the DISTINCT of EXISTS (SELECT DISTINCT ... OFFSET 2): not asked.
            query = self._select(scope, depth - 1, None).replace("SELECT DISTINCT ", "SELECT ", 1)
            return f"{negation}EXISTS ({query})"
        kind = self._chance.choice((NUMBER, NUMBER, TEXT))
        operand = self._expression(kind, scope, depth - 1)
        return f"{operand} {negation}IN ({self._select(scope, depth - 1, [kind])})"
