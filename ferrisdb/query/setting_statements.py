"""SET, SHOW, RESET and SET TRANSACTION, in a session.

What is set belongs to the transaction (see `settings`); what SET TRANSACTION says, to the one that
is open, and only before it has seen anything. Then it is begun anew: a transaction of another level
is another transaction, and one that has done nothing can't tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ferrisdb.errors import (
    ActiveTransaction,
    InvalidParameterValue,
    NoActiveTransaction,
    ReadOnlyStore,
    broken,
)
from ferrisdb.query import ast
from ferrisdb.query.plan import ResultColumn
from ferrisdb.query.result import Result
from ferrisdb.query.settings import (
    OF_TRANSACTION,
    SESSION_NAMES,
    SessionSettings,
    read_level,
    read_truth,
    show_level,
    show_truth,
)
from ferrisdb.query.types import TEXT
from ferrisdb.txn.api import IsolationLevel, Store

if TYPE_CHECKING:
    from ferrisdb.query.transaction_state import TransactionState

_LEVEL, _READ_ONLY = OF_TRANSACTION
CURRENT_VERSION = "current_version"
"""The number of the newest commit, for AS OF VERSION. Nothing to be set."""


class SettingStatements:
    """Those of one session. `state` is given anew for each: None outside of a transaction."""

    def __init__(self, store: Store, settings: SessionSettings) -> None:
        self._store = store
        self._settings = settings

    def run(self, syntax: ast.SettingStatement, state: TransactionState | None) -> Result:
        if isinstance(syntax, ast.ShowSetting):
            return self._show(syntax, state)
        if isinstance(syntax, ast.SetTransaction):
            self._set_transaction(syntax, state)
        elif isinstance(syntax, ast.SetSetting):
            self._set(syntax, state)
        elif isinstance(syntax, ast.ResetSetting):
            self._reset(syntax)
        else:
            broken(f"no way to run {type(syntax).__name__}")
        if state is None:
            self._settings.commit()
        else:
            state.apply_settings()
        return Result("RESET" if isinstance(syntax, ast.ResetSetting) else "SET")

    # --- SHOW ---------------------------------------------------------------------------

    def _show(self, syntax: ast.ShowSetting, state: TransactionState | None) -> Result:
        name = syntax.setting
        if name is not None:
            value = self._shown(name, state)
            return Result("SHOW", (ResultColumn(name.text, TEXT),), ready=[(value,)])
        names = sorted((*SESSION_NAMES, *OF_TRANSACTION))
        columns = (ResultColumn("name", TEXT), ResultColumn("setting", TEXT))
        return Result(
            "SHOW", columns, ready=[(each, self._shown(ast.Name(each, 0), state)) for each in names]
        )

    def _shown(self, name: ast.Name, state: TransactionState | None) -> str:
        now = self._settings.current
        if name.text == CURRENT_VERSION:
            return str(self._store.version)
        if name.text == _LEVEL:
            return show_level(state.transaction.isolation if state else now.default_transaction_isolation)
        if name.text == _READ_ONLY:
            default = now.default_transaction_read_only or self._store.is_read_only
            return show_truth(state.transaction.is_read_only if state else default)
        return self._settings.show(name.text, name.position)

    # --- SET ----------------------------------------------------------------------------

    def _set(self, syntax: ast.SetSetting, state: TransactionState | None) -> None:
        name = syntax.setting
        if name.text in OF_TRANSACTION and syntax.text is not None:
            level = read_level(name.text, syntax.text) if name.text == _LEVEL else None
            is_read_only = read_truth(name.text, syntax.text) if name.text == _READ_ONLY else None
            self._set_modes(level, is_read_only, state)
            return
        if syntax.is_local and state is None:
            raise NoActiveTransaction(
                "SET LOCAL outside of a transaction", hint="it holds until the end of one: BEGIN opens it"
            )
        self._settings.set(name.text, syntax.text, name.position, is_local=syntax.is_local)

    def _reset(self, syntax: ast.ResetSetting) -> None:
        name = syntax.setting
        if name is None:
            self._settings.reset_all()
        elif name.text in OF_TRANSACTION:
            raise InvalidParameterValue(f'the setting "{name.text}" cannot be reset', position=name.position)
        else:
            self._settings.set(name.text, None, name.position)

    def _set_transaction(self, syntax: ast.SetTransaction, state: TransactionState | None) -> None:
        if not syntax.is_for_session:
            self._set_modes(syntax.isolation, syntax.is_read_only, state)
            return
        if syntax.isolation is not None:
            self._settings.change(default_transaction_isolation=syntax.isolation)
        if syntax.is_read_only is not None:
            self._settings.change(default_transaction_read_only=syntax.is_read_only)

    def _set_modes(
        self, level: IsolationLevel | None, is_read_only: bool | None, state: TransactionState | None
    ) -> None:
        if state is None:
            raise NoActiveTransaction(
                "SET TRANSACTION outside of a transaction",
                hint="BEGIN opens one; SET SESSION CHARACTERISTICS AS TRANSACTION is for those to come",
            )
        transaction = state.transaction
        level = level or transaction.isolation
        if is_read_only is None:
            is_read_only = transaction.is_read_only
        if not is_read_only and self._store.is_read_only:
            raise ReadOnlyStore("set a transaction READ WRITE")
        if level is transaction.isolation and is_read_only == transaction.is_read_only:
            return
        if level is transaction.isolation and is_read_only:
            transaction.forbid_writes()
            return
        if transaction.is_used or state.has_savepoints:
            raise ActiveTransaction(
                "SET TRANSACTION must come before the first statement of the transaction",
                hint="only READ ONLY may be set later; BEGIN takes the same words",
            )
        anew = self._store.begin(level, read_only=is_read_only, durability=transaction.durability)
        state.begin_anew(anew)
