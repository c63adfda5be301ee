"""What the API's requests look like."""

from __future__ import annotations

from rest_framework import serializers

from hub.accounts.models import MemberRole, Scope
from hub.repos.models import DEFAULT_BRANCH, Kind
from hub.rest.shapes import Shape
from hub.review.models import Decision, State

DECISIONS = Decision.Verdict.choices
SHA = r"^[0-9a-f]{40}$"
SHA256 = r"^[0-9a-f]{64}$"


class NewRepo(Shape):
    name = serializers.CharField(max_length=96)
    owner = serializers.CharField(max_length=96, required=False, help_text="You, unless said otherwise.")
    kind = serializers.ChoiceField(Kind.choices, default=Kind.ADAPTER)
    private = serializers.BooleanField(required=False, allow_null=True, default=None)
    description = serializers.CharField(max_length=300, required=False, allow_blank=True, default="")


class RepoChanges(Shape):
    private = serializers.BooleanField(required=False)
    description = serializers.CharField(max_length=300, required=False, allow_blank=True)


class NewAddress(Shape):
    owner = serializers.CharField(max_length=96)
    name = serializers.CharField(max_length=96)


class FileToWrite(Shape):
    """A file, with exactly one source of its bytes."""

    path = serializers.CharField(max_length=1024, trim_whitespace=False)
    content = serializers.CharField(required=False, allow_null=True, allow_blank=True, trim_whitespace=False)
    content_base64 = serializers.CharField(required=False, allow_null=True, allow_blank=True)
    upload = serializers.UUIDField(required=False, allow_null=True, help_text="A finished upload of yours.")
    sha256 = serializers.RegexField(SHA256, required=False, allow_null=True, help_text="Bytes that were present.")


class NewCommit(Shape):
    message = serializers.CharField(max_length=300)
    description = serializers.CharField(max_length=20_000, required=False, allow_blank=True, default="")
    branch = serializers.CharField(max_length=255, required=False, default=DEFAULT_BRANCH)
    parent = serializers.RegexField(  # type: ignore[assignment]  # DRF takes declared fields off the class
        SHA, required=False, allow_null=True, allow_blank=True, default=None,
        help_text="The commit this was made on; if the branch has moved since, nothing is written (412).",
    )  # fmt: skip
    files = FileToWrite(many=True, required=False, default=list)
    deletes = serializers.ListField(
        child=serializers.CharField(max_length=1024, trim_whitespace=False), required=False, default=list,
        help_text="Files; folders end with '/'.",
    )  # fmt: skip
    change_request = serializers.BooleanField(default=False, help_text="Propose instead of committing.")


class NewRef(Shape):
    type = serializers.ChoiceField(["branch", "tag"])
    name = serializers.CharField(max_length=200)
    revision = serializers.CharField(max_length=255, required=False, allow_null=True, default=None)


class NewUpload(Shape):
    path = serializers.CharField(max_length=1024, trim_whitespace=False)
    size = serializers.IntegerField(min_value=0, max_value=2**53)
    sha256 = serializers.RegexField(SHA256)


class UploadedParts(Shape):
    etags = serializers.ListField(
        child=serializers.CharField(max_length=200, allow_blank=True), required=False, default=list, max_length=10_000,
        help_text="In the order of the parts; left out, the store is asked.",
    )  # fmt: skip


class NewToken(Shape):
    label = serializers.CharField(max_length=80)  # type: ignore[assignment]  # DRF takes declared fields off the class
    scope = serializers.ChoiceField(Scope.choices, default=Scope.READ)
    repos = serializers.ListField(
        child=serializers.RegexField(r"^[\w.-]{1,96}/[\w.-]{1,96}$"), required=False, default=list, max_length=100,
        help_text="owner/name of the only repos it reaches; empty: all of yours.",
    )  # fmt: skip
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)


class ProfileChanges(Shape):
    display_name = serializers.CharField(max_length=120, required=False, allow_blank=True)
    bio = serializers.CharField(max_length=2000, required=False, allow_blank=True)
    website = serializers.URLField(required=False, allow_blank=True)
    default_private = serializers.BooleanField(required=False)


class NewOrganisation(ProfileChanges):
    name = serializers.CharField(max_length=96)


class MemberChange(Shape):
    role = serializers.ChoiceField(MemberRole.choices, default=MemberRole.READ)


class NewChangeRequest(Shape):
    title = serializers.CharField(max_length=200)
    description = serializers.CharField(max_length=20_000, required=False, allow_blank=True, default="")
    target = serializers.CharField(max_length=255, required=False, default=DEFAULT_BRANCH)
    draft = serializers.BooleanField(default=True, help_text="Commit to refs/pr/N, then set its state to open.")
    talk = serializers.BooleanField(default=False, help_text="A discussion: nothing need be proposed.")


class ChangeRequestChanges(Shape):
    title = serializers.CharField(max_length=200, required=False)
    state = serializers.ChoiceField([State.DRAFT, State.OPEN, State.CLOSED], required=False)
    text = serializers.CharField(max_length=20_000, required=False, allow_blank=True, default="")


class FileChoice(Shape):
    """What a file in conflict becomes."""

    path = serializers.CharField(max_length=1024, trim_whitespace=False)
    take = serializers.ChoiceField(
        ("ours", "theirs", "text"), help_text="The target's version, the proposed one, or `text`."
    )
    text = serializers.CharField(required=False, allow_blank=True, default="", trim_whitespace=False)


class Resolution(Shape):
    """`ours` and `theirs` are the commits that were looked at; newer ones are refused."""

    ours = serializers.RegexField(SHA)
    theirs = serializers.RegexField(SHA)
    files = FileChoice(many=True)


class NewComment(Shape):
    text = serializers.CharField(max_length=20_000)


class NewDecision(Shape):
    verdict = serializers.ChoiceField(DECISIONS)
    sha = serializers.RegexField(SHA, help_text="The commit that was looked at; a newer one makes it 409.")
    reason = serializers.CharField(max_length=5000, required=False, allow_blank=True, default="")
    reply_by = serializers.DateTimeField(
        required=False, allow_null=True, default=None, help_text="For request_info: until when an answer is hoped for."
    )
    reject_at = serializers.DateTimeField(
        required=False, allow_null=True, default=None, help_text="For reject: take effect then, unless commits arrive."
    )


class NewMerge(Shape):
    text = serializers.CharField(max_length=20_000, required=False, allow_blank=True, default="")
