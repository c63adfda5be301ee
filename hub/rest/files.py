"""What is in a repo at a revision, its history, and new commits."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from django.http import HttpResponseRedirect
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from hub.repos import history, standing, trees, uploading
from hub.repos.models import Commit
from hub.rest import committing
from hub.rest.bodies import NewCommit, NewUpload, UploadedParts
from hub.rest.door import Door, Listing
from hub.rest.once import once
from hub.rest.repos import REVISION
from hub.rest.shapes import BlobDetail, CommitDetail, CommitMade, CommitRow, FileDetail, TreeDetail, UploadPlan

MOST_COMMITS = 10_000
PATH = OpenApiParameter("path", str, description="A folder; the top if left out.")
RECURSIVE = OpenApiParameter("recursive", bool, description="Every file below, and no folders.")


class TreeDoor(Door):
    @extend_schema(parameters=[REVISION, PATH, RECURSIVE], responses=TreeDetail, summary="List a folder")
    def get(self, request: Request, **_address: Any) -> Response:
        """Files and folders at a revision."""
        path, repo, commit = request.query_params.get("path", "").strip("/"), self.repo, self.commit
        if request.query_params.get("recursive", "").lower() in ("1", "true", "yes"):
            prefix = f"{path}/" if path else ""
            shas = {name: sha for name, sha in trees.flatten(repo, commit.tree).items() if name.startswith(prefix)}
            folders: list[trees.Folder] = []
        else:
            folders, files = trees.list_folder(repo, commit, path)
            shas = {file.path: file.sha for file in files}
        found = {"commit": commit.sha, "folders": folders, "files": trees.describe(repo, shas)}
        return Response(TreeDetail(found).data)


class FileDoor(Door):
    @extend_schema(parameters=[REVISION], responses=FileDetail, summary="Describe a file")
    def get(self, request: Request, path: str, **_address: Any) -> Response:
        """Size, hash, and where to download it."""
        file = trees.get_file(self.repo, self.commit, path)
        about = {
            "path": file.path, "sha": file.sha, "size": file.size, "etag": file.etag, "commit": self.commit.sha,
            "download_url": request.build_absolute_uri(self.address_of(path)),
        }  # fmt: skip
        return Response(FileDetail(about).data)

    def address_of(self, path: str) -> str:
        """Where the bytes of a file at this commit are served."""
        return f"{self.repo.get_absolute_url()}/resolve/{self.commit.sha}/{quote(path)}"


class DownloadDoor(FileDoor):
    @extend_schema(parameters=[REVISION], responses={302: None}, summary="Download a file")
    def get(self, request: Request, path: str, **_address: Any) -> HttpResponseRedirect:  # type: ignore[override]
        """Redirects to the bytes at the commit the revision names now; send your token there too."""
        standing.require_usable(self.repo, self.request.query_params.get("revision"))
        trees.find(self.repo, self.commit, path)
        return HttpResponseRedirect(self.address_of(path))


class CommitsDoor(Listing):
    serializer_class = CommitRow
    queryset = Commit.objects.none()

    @extend_schema(parameters=[REVISION], summary="List commits")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """First parents from a revision, the newest first."""
        return self.paged(trees.log(self.repo, self.commit, limit=MOST_COMMITS), CommitRow)


class CommitDoor(Door):
    @extend_schema(responses=CommitDetail, summary="Show a commit")
    def get(self, request: Request, sha: str, **_address: Any) -> Response:
        """With the files it changed."""
        commit = trees.resolve_commit(self.repo, sha)
        commit.files = history.changed_files(self.repo, commit)  # type: ignore[attr-defined]
        return Response(CommitDetail(commit).data)


class NewCommitDoor(Door):
    @extend_schema(request=NewCommit, responses={201: CommitMade}, summary="Commit files")
    def post(self, request: Request, **_address: Any) -> Response:
        """All or nothing. With `change_request` it is proposed to the branch instead of written to it."""
        made = committing.carry_out(self.actor, self.repo, self.read(NewCommit))
        about = made.request or self.repo
        answer = {"commit": made.commit, "request": made.request, "url": about.get_absolute_url()}
        return Response(CommitMade(answer).data, status=201)


class UploadsDoor(Door):
    @extend_schema(request=NewUpload, responses=UploadPlan, summary="Announce a file")
    def post(self, request: Request, **_address: Any) -> Response:
        """Answers where to PUT its parts, or that the hub has these bytes already. Asking again goes on."""
        repo, asked = self.repo, self.read(NewUpload)
        return once(request, lambda: Response(UploadPlan(uploading.plan(actor=self.actor, repo=repo, **asked)).data))


class FinishDoor(Door):
    @extend_schema(request=UploadedParts, responses=BlobDetail, summary="Finish an upload")
    def post(self, request: Request, upload: Any, **_address: Any) -> Response:
        """The hub reads what arrived, hashes it, and keeps it if it is what was announced. Twice is harmless."""
        etags = self.read(UploadedParts)["etags"]
        return Response(BlobDetail(uploading.finish(actor=self.actor, repo=self.repo, key=upload, etags=etags)).data)
