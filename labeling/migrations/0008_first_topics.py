from django.db import migrations
from django.utils.translation import gettext_noop

# Sensitive subjects of published content guidelines, so that labelers can opt out of them before
# the first prompt on one comes in.
FIRST = [
    ("sexual-content", gettext_noop("Sexual content")),
    ("violence", gettext_noop("Violence")),
    ("self-harm", gettext_noop("Self-harm and suicide")),
    ("hate", gettext_noop("Hate and discrimination")),
    ("harassment", gettext_noop("Harassment and abuse")),
    ("crime", gettext_noop("Crime and weapons")),
    ("medical", gettext_noop("Illness and injury in detail")),
]


def add_first_topics(apps, schema_editor):
    Topic = apps.get_model("labeling", "Topic")
    for name, label in FIRST:
        Topic.objects.get_or_create(name=name, defaults={"label": label, "is_sensitive": True})


class Migration(migrations.Migration):
    dependencies = [("labeling", "0007_care_and_quality")]
    operations = [migrations.RunPython(add_first_topics, migrations.RunPython.noop)]
