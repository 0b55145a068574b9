"""Every contest, in the order of the table. The targets stand with the contests."""

from __future__ import annotations

from bench.contest import Contest
from bench.workloads import analytics, commits, key_value, rows, start_up

CONTESTS: tuple[Contest, ...] = (
    *commits.CONTESTS,
    *key_value.CONTESTS,
    *rows.CONTESTS,
    *analytics.CONTESTS,
    *start_up.CONTESTS,
)
