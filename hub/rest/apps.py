"""Django application of the room rest."""

from django.apps import AppConfig


class RestConfig(AppConfig):
    name = "hub.rest"
    label = "rest"

    def ready(self) -> None:
        from hub.accounts.organisations import NoSuchAccount, NotAMember
        from hub.pages.errors import register_error
        from hub.rest.once import InProgress, OtherRequest

        register_error(NoSuchAccount, 404, "no_such_account")
        register_error(NotAMember, 409, "membership")
        register_error(InProgress, 409, "in_progress")
        register_error(OtherRequest, 422, "other_request")
