"""What a Python program holds: Database, transactions with SQL, rows, PEP 249."""
