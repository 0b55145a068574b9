"""What transactions may take at most: so that one that was forgotten, or grows without end, is
told so, and does not take the others with it."""

from __future__ import annotations

import math
from typing import Final

from ferrisdb.errors import InvalidParameterValue
from ferrisdb.immutable import immutable
from ferrisdb.storage.limits import MAX_COMMIT_BYTES

MAX_OPEN_TRANSACTIONS: Final = 10_000


@immutable
class TransactionLimits:
    max_transaction_bytes: int = MAX_COMMIT_BYTES
    """Of all keys and values that one transaction has written. TransactionTooLarge at the write
    that passes it."""
    max_open_transactions: int = MAX_OPEN_TRANSACTIONS
    """TooManyTransactions for who begins one more."""
    idle_in_transaction_timeout_s: float | None = None
    """An open transaction is rolled back when it was not used for so long, and its next use
    raises IdleInTransactionTimeout. None: it may stay open for ever, and so may its locks."""

    def __post_init__(self) -> None:
        size, count = self.max_transaction_bytes, self.max_open_transactions
        if not isinstance(size, int) or not 1 <= size <= MAX_COMMIT_BYTES:
            raise InvalidParameterValue(
                f"max_transaction_bytes is {size!r}; it must be at least 1 and at most {MAX_COMMIT_BYTES}"
            )
        if not isinstance(count, int) or count < 1:
            raise InvalidParameterValue(f"max_open_transactions is {count!r}; it must be at least 1")
        check_idle_timeout(self.idle_in_transaction_timeout_s)


def check_idle_timeout(timeout_s: float | None) -> None:
    """Raises InvalidParameterValue for what is no time to wait."""
    if timeout_s is None:
        return
    if not isinstance(timeout_s, (int, float)) or not 0 < timeout_s < math.inf:
        raise InvalidParameterValue(
            f"idle_in_transaction_timeout_s is {timeout_s!r}; it is a number of seconds above 0",
            hint="None is no timeout",
        )
