"""The target of a salvage: no database, until all that could be saved is in it.

    1  UNFINISHED       synced: from here on nobody opens the folder, or makes a database in it
    2  an engine        works in it, and does not see the mark; its CURRENT is CURRENT.salvage
    3  CURRENT          THE step: CURRENT.salvage gets that name, when the engine has closed
    4  UNFINISHED goes

An engine makes CURRENT first of all. Were that put aside afterwards, a crash between the two
would leave an empty database: a salvage that lost everything, without a word.
"""

from __future__ import annotations

from typing import Any, Final, cast

from ferrisdb.storage.env import Env, join
from ferrisdb.storage.file_names import CURRENT_NAME, UNFINISHED_NAME
from ferrisdb.storage.new_folder import mark_unfinished
from ferrisdb.storage.recovery import make_durable_directory, parent_of

CURRENT_ASIDE_NAME: Final = "CURRENT.salvage"


def begin_target(env: Env, folder: str) -> Env:
    """Mark `folder`, absent or empty, as unfinished. What an engine that fills it is to work with."""
    if env.exists(folder):
        # Whoever made it need not have synced its name.
        env.sync_directory(parent_of(folder))
    else:
        make_durable_directory(env, folder)
    mark_unfinished(env, folder)
    return cast(Env, _Aside(env, folder))


def finish_target(env: Env, folder: str) -> None:
    """Make it a database; durable when this returns. The engine is closed."""
    env.rename(join(folder, CURRENT_ASIDE_NAME), join(folder, CURRENT_NAME))
    # Before the mark goes: CURRENT must not be lost when it is.
    env.sync_directory(folder)
    env.remove(join(folder, UNFINISHED_NAME))
    env.sync_directory(folder)


class _Aside:
    """An Env where one folder's CURRENT has another name, and its UNFINISHED is not to be seen."""

    def __init__(self, env: Env, folder: str) -> None:
        self._env = env
        self._folder = folder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def rename(self, source: str, target: str) -> None:
        is_current = target == join(self._folder, CURRENT_NAME)
        self._env.rename(source, join(self._folder, CURRENT_ASIDE_NAME) if is_current else target)

    def list_directory(self, path: str) -> list[str]:
        names = self._env.list_directory(path)
        return [name for name in names if name != UNFINISHED_NAME] if path == self._folder else names
