"""Why something about a change request cannot be done."""


class NotPossible(Exception):
    """The state of the change request does not allow this."""


class MergeConflict(Exception):
    """Both sides changed the same files; `paths` says which."""

    def __init__(self, paths: list[str]) -> None:
        super().__init__(
            "Both this change request and its target changed: "
            + ", ".join(paths[:10])
            + ". Decide on its page what these files become, or merge the target into it with git; then merge."
        )
        self.paths = paths
