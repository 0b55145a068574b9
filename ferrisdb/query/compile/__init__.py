"""Compiling: a plan becomes one Python function.

program       the function, operator by operator (produce and consume)
scans         reading tables and indexes
joins         hash joins, loops, lookups
aggregates    GROUP BY
expressions   SQL expressions as Python expressions, three-valued logic kept exact
matching      IN lists and LIKE
access        key conditions to byte ranges, at run time
support       what the generated code calls
writer        lines, names, and CPython's limits
"""
