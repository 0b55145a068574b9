"""Transactions: the seam that SQL talks to, and the local MVCC manager behind it."""
