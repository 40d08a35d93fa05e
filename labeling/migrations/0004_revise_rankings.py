from __future__ import annotations

import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("labeling", "0003_write_demonstrations")]
    operations = [
        migrations.AddField(
            model_name="assignment",
            name="shown_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When the labeler first saw it; empty while it is held ahead.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="pool",
            name="edit_minutes",
            field=models.PositiveIntegerField(
                default=30,
                help_text="How long labelers may change a ranking they submitted; 0: never.",
                validators=[django.core.validators.MaxValueValidator(10080)],
            ),
        ),
        migrations.AddField(
            model_name="ranking",
            name="revised_at",
            field=models.DateTimeField(
                blank=True, help_text="When the labeler last changed it; empty: never.", null=True
            ),
        ),
        migrations.CreateModel(
            name="PromptFlag",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("harmful", "It is harmful or upsetting"),
                            ("personal_data", "It contains somebody's personal data"),
                            ("unclear", "It cannot be understood"),
                            ("duplicate", "I have seen the same prompt before"),
                            ("other", "Another reason"),
                        ],
                        max_length=16,
                    ),
                ),
                ("detail", models.CharField(blank=True, default="", max_length=500)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "labeler",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="prompt_flags",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "prompt",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="flags",
                        to="labeling.prompt",
                    ),
                ),
            ],
            options={
                "ordering": ["-created_at"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=["prompt", "labeler", "reason"], name="flag_once_per_reason"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Revision",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.PositiveSmallIntegerField()),
                ("submission_id", models.UUIDField()),
                (
                    "body_digest",
                    models.CharField(help_text="SHA-256 of what was submitted.", max_length=64),
                ),
                ("replaced", models.JSONField()),
                ("replaced_note", models.TextField(blank=True, default="")),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "ranking",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="revisions",
                        to="labeling.ranking",
                    ),
                ),
            ],
            options={
                "ordering": ["ranking", "number"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=["ranking", "number"], name="revision_number_unique"
                    ),
                    models.UniqueConstraint(
                        fields=["ranking", "submission_id"], name="revision_submission_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("number__gte", 1)), name="revision_number_from_1"
                    ),
                ],
            },
        ),
    ]
