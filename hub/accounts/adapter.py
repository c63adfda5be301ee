"""Our answers to allauth's questions: names are ours to judge, and compared without regard to case."""

from allauth.account.adapter import DefaultAccountAdapter
from django.core.exceptions import ValidationError

from hub.accounts.models import Account


class AccountAdapter(DefaultAccountAdapter):
    """Sign-up through the same name rules as everywhere else."""

    def clean_username(self, username: str, shallow: bool = False) -> str:
        """The name as typed. Raises ValidationError if it is taken in any spelling, or reserved."""
        name = super().clean_username(username, shallow=True)
        if not shallow and Account.objects.filter(name__iexact=name).exists():
            raise ValidationError(f"'{name}' is taken. Please choose another name.")
        return str(name)
