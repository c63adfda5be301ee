"""Our answers to allauth's questions: names are ours to judge, and compared without regard to case."""

from allauth.account.adapter import DefaultAccountAdapter
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction

from hub.accounts import tokens
from hub.accounts.models import Account


class AccountAdapter(DefaultAccountAdapter):
    """Sign-up through the same name rules as everywhere else."""

    def clean_username(self, username: str, shallow: bool = False) -> str:
        """The name as typed. Raises ValidationError if it is taken in any spelling, or reserved."""
        name = super().clean_username(username, shallow=True)
        if not shallow and Account.objects.filter(name__iexact=name).exists():
            raise ValidationError(f"'{name}' is taken. Please choose another name.")
        return str(name)

    def set_password(self, user: Account, password: str) -> None:
        """A new password ends every session and every token made under the old one."""
        with transaction.atomic():
            super().set_password(user, password)
            ended = tokens.revoke_all(user)
        if ended and self.request:
            messages.info(
                self.request, f"Access tokens revoked with the old password: {ended}. Make new ones where needed."
            )
