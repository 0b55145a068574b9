"""Functions of dates and times. The field comes first, as text: extract('year', d).

TIMESTAMP stands before DATE: a quoted literal is then read with its time.
"""

from __future__ import annotations

from ferrisdb.query.types import DATE, DOUBLE, NUMERIC, TEXT, TIMESTAMP
from ferrisdb.query.values import dates
from ferrisdb.query.values.function import ScalarFunction

DATE_FUNCTIONS: tuple[ScalarFunction, ...] = (
    ScalarFunction("extract", (TEXT, TIMESTAMP), NUMERIC, dates.extract_from_timestamp),
    ScalarFunction("extract", (TEXT, DATE), NUMERIC, dates.extract_from_date),
    ScalarFunction("date_part", (TEXT, TIMESTAMP), DOUBLE, dates.date_part_of_timestamp),
    ScalarFunction("date_part", (TEXT, DATE), DOUBLE, dates.date_part_of_date),
    ScalarFunction("date_trunc", (TEXT, TIMESTAMP), TIMESTAMP, dates.date_trunc),
)
