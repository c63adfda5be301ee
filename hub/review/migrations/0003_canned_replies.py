"""Canned replies become rows that maintainers edit; they begin with those that were fixed."""

from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

REPLIES: dict[str, tuple[tuple[str, str], ...]] = {
    "Accept": (
        ("Thank you", "Thank you. The checks are green and the change does what it says."),
        ("Better scores", "Thank you. The evaluation shows an improvement beyond its standard error."),
    ),
    "Files": (
        ("Not finite", "Some weights are NaN or infinite (see the check). Please publish them again from a sound "
              "checkpoint; training in bfloat16 instead of float16 often helps."),
        ("Wrong base", "The adapter does not fit the base its config names (see the check). Please set "
              "`base_model_name_or_path` to the base it was trained on."),
    ),
    "Card": (
        ("Card incomplete", "Please say on the card what it was trained on, for what it is meant, and under which "
              "licence it may be used."),
        ("Licence", "The licence on the card does not agree with that of the base or of the data. Please change "
              "it, or tell us why it is right."),
    ),
    "Evaluation": (
        ("Regression", "On its own task the new revision is worse than the published one by more than chance "
              "explains. Can you say why, or train again?"),
        ("Train and test overlap", "Items of the test split are among the declared training data, so the scores "
              "say little. Please train without them."),
        ("Claim not reproduced", "We could not reproduce the score on the card. Which settings did you use?"),
    ),
    "Duplicates": (
        ("Same as another", "This is nearly the same as an adapter we have (see the check). What does it add?"),
    ),
}  # fmt: skip


def begin(apps: Any, _editor: Any) -> None:
    """The first replies."""
    made = apps.get_model("review", "CannedReply")
    made.objects.bulk_create(
        made(group=group, title=title, text=text) for group, texts in REPLIES.items() for title, text in texts
    )


class Migration(migrations.Migration):
    dependencies = [
        ("review", "0002_the_queue"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="CannedReply",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("group", models.CharField(max_length=40)),
                ("title", models.CharField(max_length=80)),
                ("text", models.TextField(max_length=5000)),
                ("changed_at", models.DateTimeField(auto_now=True)),
                (
                    "changed_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["group", "title"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("group", "title"),
                        name="one_reply_of_a_title",
                        violation_error_message="This group has a reply of that title already.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("group", ""), _negated=True),
                            models.Q(("title", ""), _negated=True),
                            models.Q(("text", ""), _negated=True),
                        ),
                        name="a_reply_says_something",
                    ),
                ],
            },
        ),
        migrations.RunPython(begin, migrations.RunPython.noop),
    ]
