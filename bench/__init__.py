"""The bench: FerrisDB beside its peer, in one run, on one disk.

    python -m bench                     all of it, about a minute
    python -m bench --quick             smaller, a few seconds: is it about right?
    python -m bench --only point-get    one of them
    python -m bench --trial large-load  a load with bounds that it must keep, some minutes

A figure alone says little: the disk is slower today, the machine is another. So nothing
here is measured alone. Each contest gives the same work to FerrisDB and to a peer (nearly
always sqlite3, which every Python has) and takes turns:

    round     1      2      3      4      5
    FerrisDB  ####   ####   ####   ####   ####
    peer          ####   ####   ####   ####   ####      -> the median of each, and the ratio

A disk that slows down half way slows both. What is compared with a target is the ratio.

The rules: each side does the work in the fastest way that its own interface offers; what
is prepared (data loaded, keys drawn, threads started) is not timed; both sides must end
with the same answer, or the contest is void and says so. sqlite3 runs in WAL mode with the
durability that its column names.

    contest.py     what a contest is
    runner.py      taking turns and the clock
    report.py      the table
    workloads/     one file an idea
    trial.py, trials/    loads with bounds: memory, space, the slowest commit in a hundred

Limits: one machine; the contests have small data that fits in memory, and compare medians.
Reads from a cold disk are not measured here.
"""
