"""The statements that change the schema, and who runs each."""

from __future__ import annotations

from ferrisdb.query import ast
from ferrisdb.query.define.create_index import create_index
from ferrisdb.query.define.create_table import create_table
from ferrisdb.query.define.definition import Definition
from ferrisdb.query.define.drop import drop_indexes, drop_tables

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


def run_schema_statement(statement: SchemaStatement, definition: Definition) -> None:
    """Do it, in the definition's transaction."""
    match statement:
        case ast.CreateTable():
            create_table(statement, definition)
        case ast.CreateIndex():
            create_index(statement, definition)
        case ast.DropTable():
            drop_tables(statement, definition)
        case ast.DropIndex():
            drop_indexes(statement, definition)
