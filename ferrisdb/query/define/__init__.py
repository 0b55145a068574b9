"""Statements that change the schema: CREATE and DROP of tables and indexes.

The catalog is rows like any other, so these run in the session's transaction, are undone
with it, and are seen by others when it commits. A statement that changes rows holds its
table's catalog key in share mode and DDL writes that key, so the two exclude one another.
"""
