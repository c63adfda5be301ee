"""Django application merges: registers the work it does."""

from django.apps import AppConfig


class MergesConfig(AppConfig):
    name = "merges"
    label = "merges"

    def ready(self) -> None:
        from adapters.answering.composites import register_composite
        from adapters.catalog.lineage import register_extra
        from hub.jobs.limits import Limits
        from hub.jobs.models import Queue
        from hub.jobs.registry import JobKind, register
        from hub.pages.errors import register_error
        from hub.repos.commits import register_published
        from hub.store.collect import register_reference
        from hub.wire.measured import register_scores
        from merges.evaluation.lm_eval import BadResults
        from merges.models import Evaluation
        from merges.recipes import RecipeError
        from merges.systems import asking, generalist, releases
        from merges.systems.manifest import BadManifest
        from merges.systems.releases import NotReleasable
        from merges.work import descent, merge_run, previewing, wired
        from merges.work.check_queue import on_commit
        from merges.work.subjects import BadRequest
        from merges.work.teaching.quota import TooMany

        register_error(RecipeError, 422, "recipe")
        register_error(BadRequest, 422, "bad_request")
        register_error(TooMany, 429, "too_many")
        register_error(BadResults, 422, "bad_results")

        register_reference(lambda: Evaluation.objects.exclude(items=None).values_list("items_id", flat=True))
        register_extra(descent.evaluations)
        register_scores(wired.board, wired.results)
        register(JobKind("merges.merge", "merges.work.merge_run:run", Queue.HEAVY))
        register_published(previewing.on_commit)
        register(JobKind("merges.sketch", "merges.work.previewing:sketch"))
        register(JobKind("merges.compare", "merges.work.comparing:run", Queue.HEAVY))
        register(JobKind("merges.statistics", "merges.work.measuring:run", Queue.HEAVY))
        register(JobKind("merges.threeway.preview", "merges.work.reconcile_run:preview"))
        register(JobKind("merges.threeway.merge", "merges.work.reconcile_run:run", Queue.HEAVY))
        register(JobKind("merges.advise", "merges.work.advising:run", Queue.HEAVY))
        teaching = Limits("teaching_seconds", "teaching_bytes")
        register(JobKind("merges.teach", "merges.work.teaching.running:run", Queue.HEAVY, limits=teaching))
        comparing = "merges.work.teaching.comparing:run"
        register(JobKind("merges.compare_teaching", comparing, Queue.HEAVY, limits=teaching))
        judging, checking = Limits("evaluation_seconds", "evaluation_bytes"), Limits("check_seconds", "check_bytes")
        register(JobKind("merges.evaluate", "merges.work.judging:run", Queue.HEAVY, limits=judging))
        failed = "merges.work.checking:job_failed"
        register(JobKind("merges.check", "merges.work.checking:run", Queue.HEAVY, failed=failed, limits=checking))
        register_published(on_commit)
        failed = "merges.systems.running:job_failed"
        register(JobKind("merges.release", "merges.systems.running:run", Queue.HEAVY, failed=failed, limits=checking))
        register_published(releases.on_commit)
        register_composite("system", asking.composite)
        register(JobKind("merges.generalist", "merges.systems.generalist_run:run", Queue.HEAVY, limits=checking))
        merge_run.register_merged(generalist.on_merged)
        register_error(BadManifest, 422, "manifest")
        register_error(NotReleasable, 409, "not_releasable")
