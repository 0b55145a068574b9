"""The statements that change the schema, and who runs each."""

from __future__ import annotations

from ferrisdb.query import ast
from ferrisdb.query.catalog import CatalogView
from ferrisdb.query.change.execution import Execution

SchemaStatement = ast.CreateTable | ast.CreateIndex | ast.DropTable | ast.DropIndex

_WORDS: dict[type, str] = {
    ast.CreateTable: "CREATE TABLE",
    ast.CreateIndex: "CREATE INDEX",
    ast.DropTable: "DROP TABLE",
    ast.DropIndex: "DROP INDEX",
}


def schema_word(statement: SchemaStatement) -> str:
    """What the statement is called: its tag."""
    return _WORDS[type(statement)]


def run_schema_statement(statement: SchemaStatement, execution: Execution, catalog: CatalogView) -> None:
    """Do it, in the execution's transaction. `catalog` is what that sees before the statement."""
    # A process that only asks must not pay for what defines: start-up is counted in milliseconds.
    from ferrisdb.query.define.create_index import create_index  # noqa: PLC0415
    from ferrisdb.query.define.create_table import create_table  # noqa: PLC0415
    from ferrisdb.query.define.definition import Definition  # noqa: PLC0415
    from ferrisdb.query.define.drop import drop_indexes, drop_tables  # noqa: PLC0415

    definition = Definition(execution, catalog)
    match statement:
        case ast.CreateTable():
            create_table(statement, definition)
        case ast.CreateIndex():
            create_index(statement, definition)
        case ast.DropTable():
            drop_tables(statement, definition)
        case ast.DropIndex():
            drop_indexes(statement, definition)
