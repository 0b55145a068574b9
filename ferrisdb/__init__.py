"""FerrisDB: a transactional MVCC database with SQL, inside a Python program."""
