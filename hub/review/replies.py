"""Canned replies, by group: what maintainers say often, said well once. They are a start to edit, never sent unread."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reply:
    """A title for the list and the text it puts into the box."""

    title: str
    text: str


GROUPS: dict[str, tuple[Reply, ...]] = {
    "Accept": (
        Reply("Thank you", "Thank you. The checks are green and the change does what it says."),
        Reply("Better scores", "Thank you. The evaluation shows an improvement beyond its standard error."),
    ),
    "Files": (
        Reply("Not finite", "Some weights are NaN or infinite (see the check). Please publish them again from a sound "
              "checkpoint; training in bfloat16 instead of float16 often helps."),
        Reply("Wrong base", "The adapter does not fit the base its config names (see the check). Please set "
              "`base_model_name_or_path` to the base it was trained on."),
    ),
    "Card": (
        Reply("Card incomplete", "Please say on the card what it was trained on, for what it is meant, and under which "
              "licence it may be used."),
        Reply("Licence", "The licence on the card does not agree with that of the base or of the data. Please change "
              "it, or tell us why it is right."),
    ),
    "Evaluation": (
        Reply("Regression", "On its own task the new revision is worse than the published one by more than chance "
              "explains. Can you say why, or train again?"),
        Reply("Train and test overlap", "Items of the test split are among the declared training data, so the scores "
              "say little. Please train without them."),
        Reply("Claim not reproduced", "We could not reproduce the score on the card. Which settings did you use?"),
    ),
    "Duplicates": (
        Reply("Same as another", "This is nearly the same as an adapter we have (see the check). What does it add?"),
    ),
}  # fmt: skip
