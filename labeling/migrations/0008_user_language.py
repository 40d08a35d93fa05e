from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("labeling", "0007_care_and_quality")]
    operations = [
        migrations.AddField(
            model_name="user",
            name="language",
            field=models.CharField(
                blank=True,
                default="",
                help_text="Of pages and messages; empty: as the browser asks.",
                max_length=16,
            ),
        ),
    ]
