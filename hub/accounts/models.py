"""People and organisations share one namespace, so `owner/name` is never ambiguous."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from hub.accounts import names


class Kind(models.TextChoices):
    PERSON = "person"
    ORGANISATION = "organisation"


class Role(models.TextChoices):
    CONTRIBUTOR = "contributor"
    MAINTAINER = "maintainer"
    ADMIN = "admin"


class AccountQuerySet(models.QuerySet["Account"]):
    def named(self, name: str) -> Account:
        """The account of that name, without regard to case. Raises Account.DoesNotExist."""
        return self.get(name__iexact=name)

    def people(self) -> AccountQuerySet:
        return self.filter(kind=Kind.PERSON)

    def organisations(self) -> AccountQuerySet:
        return self.filter(kind=Kind.ORGANISATION)


class AccountManager(BaseUserManager["Account"]):
    def get_queryset(self) -> AccountQuerySet:
        return AccountQuerySet(self.model, using=self._db)

    def get_by_natural_key(self, username: str | None) -> Account:
        return self.get_queryset().named(username or "")

    def named(self, name: str) -> Account:
        return self.get_queryset().named(name)

    def people(self) -> AccountQuerySet:
        return self.get_queryset().people()

    def organisations(self) -> AccountQuerySet:
        return self.get_queryset().organisations()


class Account(AbstractBaseUser):
    """A person who signs in, or an organisation that people belong to (and that cannot sign in)."""

    name = models.CharField(max_length=names.MAX_LENGTH, validators=[names.check_account_name])
    kind = models.CharField(max_length=12, choices=Kind.choices, default=Kind.PERSON)
    role = models.CharField(max_length=12, choices=Role.choices, default=Role.CONTRIBUTOR)
    display_name = models.CharField(max_length=120, blank=True)
    email = models.EmailField(blank=True)
    bio = models.TextField(max_length=2000, blank=True)
    website = models.URLField(blank=True)
    default_private = models.BooleanField(default=False, help_text="New repos of this account start private.")
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(default=timezone.now)
    members: models.ManyToManyField[Account, Membership] = models.ManyToManyField(
        "self",
        through="Membership",
        through_fields=("organisation", "member"),
        symmetrical=False,
        related_name="organisations",
    )

    objects = AccountManager()

    USERNAME_FIELD = "name"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["email"]

    class Meta:
        constraints = [
            models.UniqueConstraint(Lower("name"), name="account_name_once"),
            models.CheckConstraint(
                condition=models.Q(kind=Kind.PERSON) | models.Q(role=Role.CONTRIBUTOR),
                name="organisation_has_no_role",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return f"/{self.name}"

    @property
    def is_organisation(self) -> bool:
        return self.kind == Kind.ORGANISATION

    @property
    def is_maintainer(self) -> bool:
        return self.role in (Role.MAINTAINER, Role.ADMIN)

    @property
    def is_staff(self) -> bool:
        return self.role == Role.ADMIN

    @property
    def title(self) -> str:
        return self.display_name or self.name


class MemberRole(models.TextChoices):
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class Membership(models.Model):
    """A person's place in an organisation. Rights are computed from these rows, never copied."""

    organisation = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="memberships_of")
    member = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=5, choices=MemberRole.choices, default=MemberRole.READ)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organisation", "member"], name="member_once"),
            models.CheckConstraint(condition=~models.Q(organisation=models.F("member")), name="member_is_another"),
        ]

    def __str__(self) -> str:
        return f"{self.member} in {self.organisation} ({self.role})"


class Scope(models.TextChoices):
    READ = "read"
    WRITE = "write"


class Token(models.Model):
    """A program's key. Only its sha256 is kept; the text is shown once."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="tokens")
    label = models.CharField(max_length=80)
    digest = models.CharField(max_length=64, unique=True)
    hint = models.CharField(max_length=8, help_text="The last letters, to tell tokens apart.")
    scope = models.CharField(max_length=5, choices=Scope.choices, default=Scope.READ)
    repos = ArrayField(models.CharField(max_length=200), default=list, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.label} (…{self.hint})"

    @property
    def is_limited(self) -> bool:
        """True if the token reaches only the repos it names (`owner/name`, lower case)."""
        return bool(self.repos)


class DeviceLogin(models.Model):
    """A program that shows a code and waits until a person lets it in; later, what its refresh token is checked by."""

    class State(models.TextChoices):
        WAITING = "waiting"
        ALLOWED = "allowed"
        REFUSED = "refused"
        SPENT = "spent"

    secret = models.CharField(max_length=64, unique=True, help_text="sha256 of the device code.")
    code = models.CharField(max_length=9, unique=True)
    client = models.CharField(max_length=80, blank=True)
    address = models.CharField(max_length=60, blank=True)
    state = models.CharField(max_length=7, choices=State.choices, default=State.WAITING)
    scope = models.CharField(max_length=5, choices=Scope.choices, default=Scope.WRITE)
    account = models.ForeignKey(Account, null=True, on_delete=models.CASCADE, related_name="device_logins")
    token = models.ForeignKey(Token, null=True, on_delete=models.SET_NULL, related_name="+")
    refresh = models.CharField(max_length=64, blank=True, db_index=True, help_text="sha256 of the refresh token.")
    created_at = models.DateTimeField(auto_now_add=True)
    asked_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state="waiting") | models.Q(account__isnull=False), name="somebody_decided"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code} ({self.state})"


def create_person(*, name: str, email: str = "", password: str | None = None, **fields: Any) -> Account:
    """Make a person. Raises ValidationError on a bad name, IntegrityError if the name is taken."""
    names.check_account_name(name)
    account = Account(name=name, email=email, **fields)
    account.set_password(password)
    account.save()
    return account
