"""Relational algebra: the operators that binding makes, rules rewrite, and compiling reads."""
