"""What the API's answers look like: accounts, repos, files, commits, refs."""

from __future__ import annotations

from rest_framework import serializers

from hub.accounts.models import Kind as AccountKind
from hub.accounts.models import MemberRole, Role, Scope
from hub.repos.models import Kind


class Shape(serializers.Serializer):
    """An answer, or the part of a request with one name for each thing."""


class OrganisationRow(Shape):
    name = serializers.CharField(source="organisation.name")
    role = serializers.ChoiceField(MemberRole.choices)


class MemberRow(Shape):
    name = serializers.CharField(source="member.name")
    display_name = serializers.CharField(source="member.title")
    role = serializers.ChoiceField(MemberRole.choices)
    created_at = serializers.DateTimeField()


class TokenRow(Shape):
    id = serializers.IntegerField()
    label = serializers.CharField()  # type: ignore[assignment]  # DRF takes declared fields off the class
    hint = serializers.CharField()
    scope = serializers.ChoiceField(Scope.choices)
    repos = serializers.ListField(child=serializers.CharField())
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)


class AccountRow(Shape):
    name = serializers.CharField()
    kind = serializers.ChoiceField(AccountKind.choices)
    display_name = serializers.CharField(source="title")
    role = serializers.ChoiceField(Role.choices)
    url = serializers.CharField(source="get_absolute_url")


class AccountDetail(AccountRow):
    bio = serializers.CharField()
    website = serializers.CharField()
    date_joined = serializers.DateTimeField()


class MeDetail(AccountDetail):
    email = serializers.EmailField()
    default_private = serializers.BooleanField()
    organisations = OrganisationRow(source="memberships.all", many=True)


class RepoRow(Shape):
    """A repo in a list. `facts` are measured from the bytes of its head, `tags` partly claimed by its card."""

    id = serializers.CharField(source="full_name")
    kind = serializers.ChoiceField(Kind.choices)
    owner = serializers.CharField(source="owner.name")
    name = serializers.CharField()
    private = serializers.BooleanField()
    gated = serializers.CharField(help_text="Empty, or how people get in: auto (whoever asks) or manual.")
    description = serializers.CharField()
    summary = serializers.CharField(help_text="The description, else the first words of the card.")
    head = serializers.CharField()
    url = serializers.CharField(source="get_absolute_url")
    facts = serializers.DictField()
    tags = serializers.ListField(child=serializers.CharField())
    downloads = serializers.IntegerField()
    likes = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class RepoDetail(RepoRow):
    """A repo. `card` is what its author claims in README.md; `may` what the asker may do."""

    card = serializers.DictField()
    liked = serializers.BooleanField(source="likes_it")
    may = serializers.ListField(child=serializers.CharField())


class CommitRow(Shape):
    sha = serializers.CharField()
    parents = serializers.ListField(child=serializers.CharField())
    author = serializers.CharField(source="author.name", default=None)
    title = serializers.CharField()
    message = serializers.CharField()
    created_at = serializers.DateTimeField()


class ChangedFile(Shape):
    path = serializers.CharField()
    status = serializers.ChoiceField(["added", "removed", "changed"])


class CommitDetail(CommitRow):
    files = ChangedFile(many=True)


class FolderRow(Shape):
    path = serializers.CharField()
    sha = serializers.CharField()


class FileRow(Shape):
    path = serializers.CharField()
    sha = serializers.CharField(help_text="git's id of the file (of its LFS pointer if it is large).")
    size = serializers.IntegerField()
    sha256 = serializers.CharField(allow_null=True, help_text="Of the bytes, if the file is large.")


class FileDetail(Shape):
    path = serializers.CharField()
    sha = serializers.CharField()
    size = serializers.IntegerField()
    etag = serializers.CharField(help_text="sha256 of a large file, git's id of a small one.")
    commit = serializers.CharField()
    download_url = serializers.CharField()


class TreeDetail(Shape):
    commit = serializers.CharField()
    folders = FolderRow(many=True)
    files = FileRow(many=True)


class RefRow(Shape):
    name = serializers.CharField(source="short")
    ref = serializers.CharField(source="name")
    target = serializers.CharField()
    updated_at = serializers.DateTimeField()


class PartRow(Shape):
    number = serializers.IntegerField()
    url = serializers.CharField()
    size = serializers.IntegerField()
    etag = serializers.CharField(allow_null=True, help_text="Set if this part has arrived.")


class UploadPlan(Shape):
    present = serializers.BooleanField(help_text="True: the hub has these bytes; commit them by sha256.")
    upload = serializers.UUIDField(allow_null=True)
    parts = PartRow(many=True)


class BlobDetail(Shape):
    sha256 = serializers.CharField()
    size = serializers.IntegerField()


class CommitMade(Shape):
    commit = serializers.CharField(source="commit.sha")
    change_request = serializers.IntegerField(source="request.number", default=None)
    url = serializers.CharField()
