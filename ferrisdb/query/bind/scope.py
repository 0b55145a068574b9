"""Scopes: which names mean which slots, here and in the queries around.

    SELECT ... FROM a, b            scope of a and b
      WHERE x IN (SELECT ...        scope of c; its parent is the scope of a and b,
                  FROM c)           so c's columns hide those of a and b

A name is looked up in the innermost scope first and outwards from there. Two relations of
one scope that both have it make it ambiguous, except for a column joined by USING, which
is one column for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import NamedTuple

from ferrisdb.errors import AmbiguousColumn, DuplicateAlias, UndefinedColumn, UndefinedTable
from ferrisdb.query import ast
from ferrisdb.query.algebra.operators import TableSource
from ferrisdb.query.bind.expressions import Slot, SlotRef


class SlotNumbers:
    """Hands out slots with numbers of their own for one statement."""

    def __init__(self) -> None:
        self._next = count(1)

    def __call__(
        self,
        name: str,
        type: object,
        *,
        is_nullable: bool,
        table: str | None = None,
        position: int | None = None,
    ) -> Slot:
        return Slot(next(self._next), name, type, is_nullable=is_nullable, table=table, position=position)  # type: ignore[arg-type]


class Relation:
    """One item of FROM. `is_nullable` once a LEFT JOIN may fill it with NULLs."""

    __slots__ = ("_slot_of", "alias", "columns", "hidden", "is_nullable", "source")

    def __init__(
        self,
        alias: str,
        columns: dict[str, list[int]],
        slot_of: Callable[[int], Slot],
        source: TableSource | None = None,
    ) -> None:
        self.alias = alias
        self.columns = columns
        self.source = source
        self.is_nullable = False
        self.hidden: set[str] = set()
        self._slot_of = slot_of

    def ref(self, position: int) -> SlotRef:
        slot = self._slot_of(position)
        return SlotRef(slot, self.is_nullable or slot.is_nullable)

    def names(self) -> Iterator[tuple[int, str]]:
        """Columns in order, with their names."""
        pairs = [(p, name) for name, positions in self.columns.items() for p in positions]
        return iter(sorted(pairs))


class ShownColumn(NamedTuple):
    """A column as `*` shows it: one that USING merged stands for both sides."""

    name: str
    relation: Relation
    position: int


def table_relation(source: TableSource, numbers: SlotNumbers) -> Relation:
    columns = source.table.columns
    key = source.table.primary_key
    made = source.slots

    def slot_of(position: int) -> Slot:
        slot = made.get(position)
        if slot is None:
            column = columns[position]
            is_nullable = not column.is_not_null and position not in key
            slot = numbers(
                column.name, column.type, is_nullable=is_nullable, table=source.alias, position=position
            )
            made[position] = slot
        return slot

    return Relation(source.alias, {c.name: [i] for i, c in enumerate(columns)}, slot_of, source)


def derived_relation(alias: str, names: list[str], slots: tuple[Slot, ...]) -> Relation:
    columns: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        columns.setdefault(name, []).append(position)
    return Relation(alias, columns, slots.__getitem__)


class Scope:
    """The relations of one FROM, and the scope around it."""

    __slots__ = ("parent", "relations", "shown")

    def __init__(self, parent: Scope | None) -> None:
        self.parent = parent
        self.relations: list[Relation] = []
        self.shown: list[ShownColumn] = []
        """What `*` stands for."""

    def add(self, relation: Relation, position: int) -> None:
        if any(other.alias == relation.alias for other in self.relations):
            raise DuplicateAlias(
                f'table name "{relation.alias}" is specified more than once',
                position=position,
                hint="give one of them another name with AS",
            )
        self.relations.append(relation)

    def owns(self, slot: Slot) -> bool:
        for relation in self.relations:
            if relation.source is not None:
                if relation.source.slots.get(slot.position if slot.position is not None else -1) is slot:
                    return True
            elif any(
                relation.ref(p).slot is slot for positions in relation.columns.values() for p in positions
            ):
                return True
        return False

    def find(self, column: str, relations: list[Relation], position: int) -> SlotRef | None:
        """The one column of that name among the relations; None when there is none."""
        found: SlotRef | None = None
        for relation in relations:
            positions = relation.columns.get(column)
            if positions is None or column in relation.hidden:
                continue
            if found is not None or len(positions) > 1:
                raise AmbiguousColumn(
                    f'column reference "{column}" is ambiguous',
                    position=position,
                    hint="say which table: " + " or ".join(self._holders(column)),
                )
            found = relation.ref(positions[0])
        return found

    def _holders(self, column: str) -> list[str]:
        return list(dict.fromkeys(f"{r.alias}.{column}" for r in self.relations if column in r.columns))

    def resolve(self, name: ast.ColumnRef) -> SlotRef:
        """Raises UndefinedColumn, UndefinedTable or AmbiguousColumn."""
        scope: Scope | None = self
        while scope is not None:
            if name.table is None:
                ref = scope.find(name.column, scope.relations, name.position)
                if ref is not None:
                    return ref
            else:
                relation = scope.relation(name.table)
                if relation is not None:
                    return self._qualified(relation, name)
            scope = scope.parent
        if name.table is not None:
            raise self._undefined_table(name.table, name.position)
        raise UndefinedColumn(
            f'column "{name.column}" does not exist',
            position=name.position,
            hint=did_you_mean(name.column, self._every_column()),
        )

    def relation(self, alias: str) -> Relation | None:
        return next((relation for relation in self.relations if relation.alias == alias), None)

    def star_relation(self, star: ast.Star) -> Relation:
        relation = self.relation(star.table or "")
        if relation is None:
            raise self._undefined_table(star.table or "", star.position)
        return relation

    def _qualified(self, relation: Relation, name: ast.ColumnRef) -> SlotRef:
        positions = relation.columns.get(name.column)
        if positions is None:
            names = {f"{relation.alias}.{column}": column for column in relation.columns}
            raise UndefinedColumn(
                f'column "{name.table}.{name.column}" does not exist',
                position=name.position,
                hint=did_you_mean(name.column, names),
            )
        if len(positions) > 1:
            raise AmbiguousColumn(
                f'column reference "{name.table}.{name.column}" is ambiguous', position=name.position
            )
        return relation.ref(positions[0])

    def _undefined_table(self, table: str, position: int) -> UndefinedTable:
        aliases = {relation.alias: relation.alias for relation in self._around()}
        real = next((r for r in self._around() if r.source and r.source.table.name == table), None)
        hint = f"it is called {real.alias} here" if real is not None else did_you_mean(table, aliases)
        return UndefinedTable(f'there is no "{table}" in FROM', position=position, hint=hint)

    def _around(self) -> Iterator[Relation]:
        scope: Scope | None = self
        while scope is not None:
            yield from scope.relations
            scope = scope.parent

    def _every_column(self) -> dict[str, str]:
        return {f"{r.alias}.{column}": column for r in self._around() for column in r.columns}

    def star(self) -> list[tuple[str, SlotRef]]:
        """The columns of `*`, with their names."""
        return [(column.name, column.relation.ref(column.position)) for column in self.shown]


def did_you_mean(wrong: str, candidates: dict[str, str]) -> str | None:
    """A hint with the nearest name. `candidates` maps what to show to what to compare."""
    import difflib  # noqa: PLC0415 - only what went wrong needs it

    near = difflib.get_close_matches(wrong, set(candidates.values()), n=1, cutoff=0.6)
    if not near:
        return None
    shown = [name for name, compared in candidates.items() if compared == near[0]]
    return f"did you mean {' or '.join(sorted(shown)[:3])}?"
