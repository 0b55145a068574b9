"""What a Python program holds: databases, transactions, rows, PEP 249 connections.

    ferrisdb.open     -> Database -> Transaction -> Rows
    ferrisdb.connect  -> Connection -> Cursor
                            |
    lease -> engine         one for each path in a process

Everything public is named again in `ferrisdb`.
"""
