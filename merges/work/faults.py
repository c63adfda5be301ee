"""What goes wrong in the pure rooms, told as the end of a job."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from hub.jobs.running import Cancelled, JobFailed, LostLease
from merges.recipes import RecipeError
from merges.work.discretion import Discretion


@contextmanager
def told_faults(discretion: Discretion | None = None) -> Iterator[None]:
    """What the pure rooms raise, as the job's end with a sentence that names nothing it must not."""
    from adapters.formats.errors import FormatError
    from adapters.runtime.errors import RuntimeFault
    from merges.running.report import Cancelled as MergeCancelled

    say = discretion.text if discretion else str
    try:
        yield
    except (RecipeError, RuntimeFault, FormatError, JobFailed) as error:
        raise JobFailed(say(str(error))) from error
    except MergeCancelled as error:
        raise (error.__cause__ if isinstance(error.__cause__, LostLease) else Cancelled()) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise JobFailed("The worker's disk is full. Ask the operator for room, or merge into an adapter.") from error
