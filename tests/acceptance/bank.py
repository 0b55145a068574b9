"""The bank: eight threads move money between a hundred accounts until the process is killed.

Run as `python bank.py FOLDER SECONDS`. Each transfer is one transaction at `snapshot` that
also records itself; each acknowledged one is printed, `transfer ID`, only after its commit
returned. An auditor adds up all accounts in one snapshot after another and prints `sum N`.
"""

from __future__ import annotations

import random
import sys
import threading
import time

import ferrisdb

ACCOUNTS = 100
THREADS = 8
BALANCE = 1000


def prepare(path: str) -> None:
    with ferrisdb.connect(path) as con:
        con.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)")
        con.execute("CREATE TABLE transfer (id TEXT PRIMARY KEY, amount INTEGER NOT NULL)")
        con.cursor().executemany("INSERT INTO account VALUES (?, ?)", [(n, BALANCE) for n in range(ACCOUNTS)])


def say(text: str) -> None:
    # One write for a line: the reader at the other end must never see half of two.
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def move_money(path: str, worker: int, until: float, seed: int) -> None:
    dice = random.Random(seed + worker)
    con = ferrisdb.connect(path, autocommit=True)
    done = 0
    while time.monotonic() < until:
        source, target = dice.sample(range(ACCOUNTS), 2)
        transfer, amount = f"{worker}-{done}", dice.randrange(1, 50)
        try:
            con.execute("BEGIN ISOLATION LEVEL SNAPSHOT")
            for account, change in ((source, -amount), (target, amount)):
                (balance,) = con.execute("SELECT balance FROM account WHERE id = ?", (account,)).fetchone()
                con.execute("UPDATE account SET balance = ? WHERE id = ?", (balance + change, account))
            con.execute("INSERT INTO transfer VALUES (?, ?)", (transfer, amount))
            con.execute("COMMIT")
        except ferrisdb.SerializationFailure:
            con.execute("ROLLBACK")
        except ferrisdb.DeadlockDetected:
            con.execute("ROLLBACK")
        else:
            done += 1
            say(f"transfer {transfer}")
    con.close()


def audit(path: str, until: float) -> None:
    con = ferrisdb.connect(path)
    while time.monotonic() < until:
        (total,) = con.execute("SELECT sum(balance) FROM account").fetchone()
        say(f"sum {total}")
        con.rollback()
        # An auditor that never rests keeps the interpreter to itself, and little money moves.
        time.sleep(0.001)
    con.close()


def main() -> None:
    path, seconds = sys.argv[1], float(sys.argv[2])
    prepare(path)
    seed = random.randrange(2**32)
    say(f"seed {seed}")
    # Longer than the parent lets it live: it ends by SIGKILL, in the middle of its work.
    until = time.monotonic() + seconds + 30
    threads = [
        threading.Thread(target=move_money, args=(path, worker, until, seed)) for worker in range(THREADS)
    ]
    threads.append(threading.Thread(target=audit, args=(path, until)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
