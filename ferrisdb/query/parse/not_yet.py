"""What other databases' SQL has and FerrisDB's has not yet: better named than "syntax error".

The words are looked up only where a text was already refused, so a word leaves this list
by itself on the day the grammar takes it; then its line here is to be deleted.
"""

from __future__ import annotations

from ferrisdb.query.parse.lexer import COMPARISON, Token

# fmt: off
# By the first word of the statement.
_STATEMENTS = frozenset([
    "alter", "analyse", "analyze", "attach", "call", "checkpoint", "close", "cluster", "comment",
    "copy", "deallocate", "declare", "detach", "discard", "do", "execute", "fetch", "grant",
    "listen", "load", "merge", "move", "notify", "pragma", "prepare", "reassign", "refresh",
    "reindex", "replace", "revoke", "security", "table", "truncate",
    "unlisten", "use", "vacuum",
])

# By two words, the second of which was refused.
_AFTER = {
    "create": frozenset([
        "aggregate", "cast", "collation", "database", "domain", "extension", "function", "global",
        "language", "local", "materialized", "or", "policy", "procedure", "publication",
        "recursive", "role", "rule", "schema", "sequence", "server", "temp", "temporary", "trigger",
        "type", "unlogged", "user", "view", "virtual",
    ]),
    "drop": frozenset([
        "column", "constraint", "database", "function", "role", "schema", "sequence", "trigger",
        "type", "user", "view",
    ]),
    "explain": frozenset(["analyse", "analyze", "verbose", "("]),
    "insert": frozenset(["or"]),
    "distinct": frozenset(["on"]),
}
# fmt: on

# By the refused word alone. The value is how the feature is called.
_CLAUSES = {
    "union": "UNION",
    "intersect": "INTERSECT",
    "except": "EXCEPT",
    "with": "WITH",
    "window": "WINDOW",
    "over": "OVER (a window function)",
    "filter": "FILTER",
    "right": "RIGHT JOIN",
    "full": "FULL JOIN",
    "natural": "NATURAL JOIN",
    "returning": "RETURNING",
    "check": "CHECK",
    "collate": "COLLATE",
    "autoincrement": "AUTOINCREMENT",
    "generated": "GENERATED",
    "without": "WITHOUT",
    "strict": "STRICT",
    "cascade": "CASCADE",
    "restrict": "RESTRICT",
    "glob": "GLOB",
    "regexp": "REGEXP",
    "similar": "SIMILAR TO",
    "isnull": "ISNULL",
    "notnull": "NOTNULL",
    "tablesample": "TABLESAMPLE",
    "at": "AT TIME ZONE",
}
_EVEN_FOR_A_NAME = {"lateral": "LATERAL", "array": "ARRAY"}


def missing_feature(tokens: list[Token], index: int, *, is_name_wanted: bool) -> tuple[str, int] | None:
    """What the refused token, or the one before it, stands for, and the index of its token.

    Where a name must stand, a reserved word is a misplaced name rather than a feature.
    """
    words = [token[1] for token in tokens]
    word = words[index]
    if index > 0 and word in _AFTER.get(words[index - 1], ()):
        return f"{words[index - 1]} {word}".upper().replace(" (", " with options"), index - 1
    if index == 0 or (index == 1 and words[0] == "explain"):
        return _statement(word, index)
    if tokens[index - 1][0] in ("=", COMPARISON) and word in ("any", "all", "some"):
        return f"{word.upper()} after a comparison", index
    if word in _EVEN_FOR_A_NAME:
        return _EVEN_FOR_A_NAME[word], index
    if word in _CLAUSES and not is_name_wanted:
        return _CLAUSES[word], index
    # Taken for an alias: SELECT a GLOB 'x'.
    if words[index - 1] in ("glob", "regexp", "similar", "at") and index > 1:
        return _CLAUSES[words[index - 1]], index - 1
    return None


def _statement(word: str, index: int) -> tuple[str, int] | None:
    if word == "(":
        return "a statement in parentheses", index
    if word == "with":
        return "WITH", index
    return (word.upper(), index) if word in _STATEMENTS else None
