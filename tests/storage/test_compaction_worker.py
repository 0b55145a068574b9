"""The child process of a compaction: it may die at any moment, and so may its parent."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tree_checker import check_shape, check_tree, contents, table_files

from ferrisdb.storage import compaction as compaction_module
from ferrisdb.storage import compaction_runner, compaction_worker, os_worker
from ferrisdb.storage.compaction_job import CompactionJob, CompactionResult
from ferrisdb.storage.compaction_worker import MODULE
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.env import WorkerProcess
from ferrisdb.storage.options import CompactionStyle, Durability, StorageOptions
from ferrisdb.storage.os_env import OsEnv

OPTIONS = StorageOptions(
    memtable_bytes=400_000,
    table_bytes=40_000,
    level_base_bytes=80_000,
    durability=Durability.OFF,
    compaction_process_bytes=0,
)
KEY_COUNT = 4000


class WatchedEnv(OsEnv):
    """Tells `on_start` of each child as soon as it is started."""

    def __init__(self, on_start: Callable[[WorkerProcess], None] = lambda worker: None) -> None:
        self.on_start = on_start
        self.process_ids: list[int] = []

    def start_worker(self, module: str) -> WorkerProcess | None:
        worker = super().start_worker(module)
        assert isinstance(worker, os_worker.OsWorker)
        self.process_ids.append(worker._process.pid)
        self.on_start(worker)
        return worker


def fill(engine: Engine, turns: int = 4) -> dict[bytes, bytes]:
    state: dict[bytes, bytes | None] = {}
    for turn in range(turns):
        for first in range(0, KEY_COUNT, 100):
            writes = {
                b"%06d" % key: b"%d" % turn * 30 if key % 7 else None for key in range(first, first + 100)
            }
            engine.commit(writes)
            state.update(writes)
    engine.flush()
    return {key: value for key, value in state.items() if value is not None}


def is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


def wait_until_over(process_id: int) -> None:
    deadline = time.monotonic() + 20
    while is_running(process_id):
        assert time.monotonic() < deadline, "the child process outlives its parent"
        time.sleep(0.005)


@pytest.mark.parametrize("style", CompactionStyle)
def test_a_child_does_the_work(tmp_path: Path, style: CompactionStyle) -> None:
    env = WatchedEnv()
    folder = (tmp_path / "db").as_posix()
    engine = Engine.open(env, folder, replace(OPTIONS, compaction=style))
    engine.collect_below(lambda: engine.visible_timestamp)
    state = fill(engine)
    engine.wait_until_compacted()
    assert env.process_ids
    found = engine.statistics()
    assert (found.compactions, found.compaction_failures) == (len(env.process_ids), 0)
    assert contents(engine) == state
    check_tree(engine)
    check_shape(engine)
    engine.close()
    again = Engine.open(env, folder, OPTIONS)
    assert contents(again) == state
    again.close()


def test_a_child_that_is_killed_at_any_moment_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction_module, "FIRST_PAUSE_S", 0.001)
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    killed = 0
    for turn in range(4):
        # Fewer in a row than there are attempts.
        left = 4

        def kill_soon(worker: WorkerProcess) -> None:
            nonlocal left
            left -= 1
            if left == 3:
                worker.kill()
            elif left >= 0:
                threading.Timer(chance.uniform(0, 0.15), worker.kill).start()

        env = WatchedEnv(kill_soon)
        folder = (tmp_path / f"{turn}").as_posix()
        engine = Engine.open(env, folder, OPTIONS)
        engine.collect_below(lambda engine=engine: engine.visible_timestamp)
        state = fill(engine)
        engine.wait_until_compacted()
        killed += engine.statistics().compaction_failures
        assert contents(engine) == state
        check_tree(engine)
        check_shape(engine)
        engine.close()
        live = {entry.number for entry in engine._manifest.state.tables}
        assert len(table_files(env, folder)) == len(live), "something of a killed child is left"
    assert killed >= 4


def test_closing_ends_the_child_at_once(tmp_path: Path) -> None:
    started = threading.Event()
    env = WatchedEnv(lambda worker: started.set())
    folder = (tmp_path / "db").as_posix()
    engine = Engine.open(env, folder, OPTIONS)
    state = fill(engine)
    assert started.wait(20)
    engine.close()
    assert not any(map(is_running, env.process_ids))
    live = {entry.number for entry in engine._manifest.state.tables}
    assert len(table_files(env, folder)) == len(live)
    again = Engine.open(OsEnv(), folder, OPTIONS)
    assert contents(again) == state
    again.close()


DYING_PARENT = """
import os, signal, sys, time
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.options import Durability, StorageOptions
from ferrisdb.storage.os_env import OsEnv
class Env(OsEnv):
    def start_worker(self, module):
        worker = super().start_worker(module)
        print(worker._process.pid, flush=True)
        return worker
options = StorageOptions(memtable_bytes=1_000_000, compaction_process_bytes=0, compaction_start_tables=2)
engine = Engine.open(Env(), sys.argv[1], options)
for number in range(1_000_000):
    engine.commit({b"%06d" % (number % 30_000): b"x" * 50}, Durability.OFF)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_child_ends_when_its_parent_is_killed_and_leaves_nothing_that_counts(tmp_path: Path) -> None:
    folder = (tmp_path / "db").as_posix()
    for pause_s in (0.0, 0.2):
        with subprocess.Popen(
            [sys.executable, "-c", DYING_PARENT, folder], stdout=subprocess.PIPE, text=True
        ) as parent:
            assert parent.stdout is not None
            child_id = int(parent.stdout.readline())
            time.sleep(pause_s)
            parent.send_signal(signal.SIGKILL)
            parent.wait()
            # The next one opens while the child may still be writing.
            engine = Engine.open(OsEnv(), folder, replace(OPTIONS, compaction_start_tables=2))
            wait_until_over(child_id)
            engine.wait_until_compacted()
            check_tree(engine)
            assert set(contents(engine).values()) == {b"x" * 50}
            engine.close()
            Engine.open(OsEnv(), folder, OPTIONS).close()
            assert not [name for name in table_files(OsEnv(), folder) if not name.endswith(".sst")]


def test_a_child_without_a_job_ends_with_its_pipe() -> None:
    worker = OsEnv().start_worker(MODULE)
    assert worker is not None
    assert worker.wait() == 1
    worker.kill()


def test_where_no_python_can_be_started_a_thread_does_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An embedding program that is not Python answers in its own way, or not at all.
    for number, program in enumerate(["/bin/echo", "/bin/false", "/nowhere/python", ""]):
        monkeypatch.setattr(sys, "executable", program)
        engine = Engine.open(OsEnv(), (tmp_path / f"{number}").as_posix(), OPTIONS)
        state = fill(engine, turns=2)
        engine.wait_until_compacted()
        found = engine.statistics()
        assert found.compactions > 0
        # One that is slow to end is killed by us, and so it may be thought killed by somebody: once.
        assert found.compaction_failures <= 1
        assert contents(engine) == state
        engine.close()


def test_damage_that_the_child_finds_is_told_as_it_is(tmp_path: Path) -> None:
    folder = (tmp_path / "db").as_posix()
    never = replace(OPTIONS, compaction_start_tables=90, compaction_slow_tables=90, compaction_stop_tables=90)
    engine = Engine.open(OsEnv(), folder, replace(never, table_bytes=1 << 30))
    fill(engine)
    engine.close()
    (name, *_) = table_files(OsEnv(), folder)
    with (tmp_path / "db" / name).open("r+b") as file:
        file.seek(40)
        file.write(b"\xff\xfe")
    engine = Engine.open(OsEnv(), folder, OPTIONS)
    with contextlib.suppress(Exception):
        engine.wait_until_compacted()
    found = engine.statistics()
    assert found.compaction_failures == 1
    assert f"{name}, byte 16)" in str(found.compaction_error)
    assert str(found.compaction_error).count(name) == 1
    engine.commit({b"writes": b"go on"})
    engine.close()


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
def test_a_child_that_hangs_is_killed_and_its_work_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction_module, "FIRST_PAUSE_S", 0.001)
    hand_over = compaction_worker.hand_over
    attempts = 0

    def impatient(worker: WorkerProcess, job: CompactionJob) -> CompactionResult:
        nonlocal attempts
        attempts += 1
        if attempts > 1:
            return hand_over(worker, job)
        assert isinstance(worker, os_worker.OsWorker)
        read = worker.read

        def read_then_stop(length: int) -> bytes:
            # From "ready" on: before that it would be one that never started.
            data = read(length)
            if length > 4:
                os.kill(worker._process.pid, signal.SIGSTOP)
            return data

        monkeypatch.setattr(worker, "read", read_then_stop)
        # Long enough for a Python to start on a busy machine, or it is taken for one that never did.
        return hand_over(worker, job, 2)

    monkeypatch.setattr(compaction_runner, "hand_over", impatient)
    env = WatchedEnv()
    engine = Engine.open(env, (tmp_path / "db").as_posix(), OPTIONS)
    state = fill(engine)
    engine.wait_until_compacted()
    found = engine.statistics()
    assert found.compaction_failures == 1
    assert "nothing was heard of it" in str(found.compaction_error)
    assert not is_running(env.process_ids[0])
    assert contents(engine) == state
    engine.close()


def test_a_program_that_never_answers_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 1000\n")
    silent.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(silent))
    hand_over = compaction_worker.hand_over
    monkeypatch.setattr(compaction_runner, "hand_over", lambda worker, job: hand_over(worker, job, 0.2))
    env = WatchedEnv()
    engine = Engine.open(env, (tmp_path / "db").as_posix(), OPTIONS)
    state = fill(engine)
    engine.wait_until_compacted()
    found = engine.statistics()
    assert found.compactions > 0
    assert (found.compaction_failures, len(env.process_ids)) == (0, 1)
    assert contents(engine) == state
    engine.close()


TALKATIVE_CHILD = """
import sys
from ferrisdb.storage import compaction_worker
compaction_worker.WORKING_EACH_S = 0.0
sys.exit(compaction_worker.main())
"""


def test_a_child_says_that_it_works(tmp_path: Path) -> None:
    folder = (tmp_path / "db").as_posix()
    never = replace(OPTIONS, compaction_start_tables=90, compaction_slow_tables=90, compaction_stop_tables=90)
    engine = Engine.open(OsEnv(), folder, replace(never, table_bytes=1 << 30))
    fill(engine, turns=1)
    engine.close()
    number = engine._manifest.state.tables[0].number
    job = CompactionJob(folder, [[number]], "mark", 1 << 30, 4096, [], [])
    with subprocess.Popen(
        [sys.executable, "-c", TALKATIVE_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(compaction_worker._framed(job.encode()))
        child.stdin.flush()
        said = []
        while not said or said[-1] in ("ready", "working"):
            said.append(compaction_worker._next_message(child.stdout.read)[0].value)
    assert said[0] == "ready"
    assert said.count("working") > 3
    assert said[-1] == "result"


HEIR = """
import os, sys, time
heir = os.fork()
if heir:
    print(heir, flush=True)
else:
    sys.stdin.close()
time.sleep(1000)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can be forked here")
def test_a_child_that_is_killed_has_ended_though_another_process_holds_its_pipe() -> None:
    # As a thread that forks in the moment in which the child is started leaves one behind.
    process = subprocess.Popen(
        [sys.executable, "-c", HEIR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdin is not None
    assert process.stdout is not None
    worker = os_worker.OsWorker(process, process.stdin, process.stdout)
    heir = b""
    while not heir.endswith(b"\n"):
        heir += worker.read(1)
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.append(worker.read(4)), daemon=True)
    reader.start()
    worker.kill()
    try:
        reader.join(20)
        assert said == [b""]
        assert is_running(int(heir))
    finally:
        os.kill(int(heir), signal.SIGKILL)
        reader.join()
        worker.wait()
