"""Django application adapters: tells the hub what it wants to know of new files and commits."""

from django.apps import AppConfig


class AdaptersConfig(AppConfig):
    name = "adapters"
    label = "adapters"

    def ready(self) -> None:
        from adapters.answering.line import CannotAnswer, NobodyAnswers
        from adapters.catalog import decoding, intake, predicting, publishing, updating, wording
        from adapters.routing.declaration import RoutingFault
        from hub.jobs.models import Queue
        from hub.jobs.registry import JobKind, register
        from hub.pages.errors import register_error
        from hub.repos.commits import register_published
        from hub.repos.policy import register_validator
        from hub.review.diffs import register_words
        from hub.store.rebuilding import register_decoder

        register_error(NobodyAnswers, 503, "nobody_answers")
        register_error(CannotAnswer, 422, "cannot_answer")
        register_error(RoutingFault, 422, "routing")
        register_validator(intake.validate)
        register_words(wording.words)
        register_published(publishing.on_commit)
        register_published(predicting.on_commit)
        register_decoder(decoding.NAME, "adapters.catalog.decoding:opened")
        failed = "adapters.catalog.inspecting:job_failed"
        register(JobKind("adapters.inspect", "adapters.catalog.inspecting:run", failed=failed))
        register(JobKind("adapters.compare", "adapters.catalog.comparing:run"))
        register(JobKind("adapters.embed", "adapters.catalog.placing:run", Queue.HEAVY))
        register(JobKind(predicting.KIND, "adapters.catalog.predicting:run", Queue.HEAVY))
        register(JobKind(updating.KIND, "adapters.catalog.updating:run", Queue.HEAVY))
        register(JobKind("adapters.map", "adapters.catalog.mapping:run", Queue.HEAVY))
