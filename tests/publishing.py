"""Publishing folders in tests, and doing the jobs that follow, in this process."""

from pathlib import Path
from unittest.mock import patch

from hub.accounts.actor import actor_for
from hub.accounts.models import Account
from hub.jobs import running
from hub.jobs.models import Job, State
from hub.jobs.working import run_job
from hub.repos.changes import OnDisk, Put
from hub.repos.commits import commit
from hub.repos.models import Commit, Kind, Repo
from tests.people import make_repo


def publish(
    owner: Account,
    name: str,
    folder: Path,
    *,
    kind: str = Kind.ADAPTER,
    by: Account | None = None,
    private: bool = False,
) -> Repo:
    """A repo with every file of a folder, inspected."""
    repo = make_repo(owner, name, by=by, kind=kind, private=private)
    push(by or owner, repo, folder)
    repo.refresh_from_db()
    return repo


def push(by: Account, repo: Repo, folder: Path, *, branch: str = "main") -> Commit:
    """One commit with every file of a folder, inspected."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    made = commit(
        actor=actor_for(by),
        repo=repo,
        changes_=[Put(path.relative_to(folder).as_posix(), OnDisk(path)) for path in files],
        message=f"Publish {folder.name}",
        branch=branch,
    )
    do_jobs()
    return made


def do_jobs() -> list[Job]:
    """Do everything that waits, as a worker would; returns the jobs done."""
    done: list[Job] = []
    while waiting := list(Job.objects.filter(state=State.QUEUED).order_by("created_at")):
        for job in waiting:
            done.append(do_job(job))
    return done


def do_job(job: Job) -> Job:
    """Do one job as a worker would."""
    with patch.object(running, "HEARTBEAT_SECONDS", 3600.0):  # a test's rows are seen by its own connection only
        run_job(str(job.pk), worker="test")
    job.refresh_from_db()
    return job
