"""Every trial."""

from __future__ import annotations

from bench.trial import Trial
from bench.trials import commit_latency, large_load

TRIALS: tuple[Trial, ...] = (large_load.TRIAL, commit_latency.TRIAL)
