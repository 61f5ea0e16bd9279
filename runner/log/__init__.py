"""The log: one JSON line for each event, a projection of the journal for people and machines.

The journal is the truth. A log that cannot be written never stops or changes a run; what is missing is written at the
next start. `verify` compares log and journal and repairs nothing.
"""

from runner.log.chain import Finding, Report, verify
from runner.log.line import VERSION, Row, render, row_of, rows_of
from runner.log.schema import schema
from runner.log.writer import Repair, RunLog, repair

__all__ = [
    "VERSION",
    "Finding",
    "Repair",
    "Report",
    "Row",
    "RunLog",
    "render",
    "repair",
    "row_of",
    "rows_of",
    "schema",
    "verify",
]
