"""Binding: names become columns, functions and types.

    ast.Query  --bind-->  plan.logical.Plan over bind.expressions.Expression

The binder is the only place that knows SQL's rules of scope, type and grouping. What
leaves it is typed and total: every column is a `Slot`, every operator a function with its
argument types, every implicit cast written out.
"""
