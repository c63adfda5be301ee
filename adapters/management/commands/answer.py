"""`manage.py answer`: the long-lived inference worker. `manage.py up` starts one."""

import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Answer questions with the hub's specialists: keeps bases, adapters and example vectors in memory."

    def handle(self, *args: Any, **options: Any) -> None:
        from adapters.answering.handlers import make_worker
        from adapters.catalog.encoder import NoEncoder
        from adapters.embeddings.declaration import EmbeddingFault
        from adapters.runtime.errors import RuntimeFault

        try:
            worker = make_worker()
        except (NoEncoder, EmbeddingFault, RuntimeFault) as error:
            raise CommandError(f"The text encoder cannot be loaded. {error}") from error
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stopping.set())
        worker.start()
        self.stdout.write("The inference worker is ready.")
        while not worker.stopping.wait(1.0):
            pass
        worker.stop()
