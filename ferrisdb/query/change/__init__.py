"""Statements that change rows: INSERT, UPDATE, DELETE.

    prepare    names and types are settled once, for a text and a schema
    run        values are made, checked and written, in the transaction of the session

A statement first decides everything and then writes: the rows to change are collected
before the first write, so that a change can't meet its own result (the Halloween problem),
and constraints are checked before the first write of the rows they concern.
"""
