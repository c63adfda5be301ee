"""Reads and judges the files of a task: what a specialist is taught with and tested on.

JSONL, CSV or Parquet files and the claims of the task's card come in; rows, facts (counts, lengths, first rows) and
findings with row numbers leave.
Nothing is trained or scored here, and no file is believed to be small before it is.
"""

from adapters.tasks.reading import Row, RowProblem, Split, read_split, split_name
from adapters.tasks.validation import TaskReport, resolve_label, validate

__all__ = ["Row", "RowProblem", "Split", "TaskReport", "read_split", "resolve_label", "split_name", "validate"]
