"""Trainings no longer have the setting `gather`: what it did in steps is done in closed form (`evenly`)."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("merges", "0005_generalists")]

    operations = [
        migrations.RunSQL(
            "UPDATE merges_teaching SET settings = settings - 'gather' WHERE jsonb_exists(settings, 'gather')",
            migrations.RunSQL.noop,
        )
    ]
