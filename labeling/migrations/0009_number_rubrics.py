"""The rubric that each pool asks by now becomes its version 1, and that of what was handed out."""

from django.db import migrations


def number(apps, schema_editor):
    versions = apps.get_model("labeling", "RubricVersion").objects
    assignments = apps.get_model("labeling", "Assignment").objects
    pools = apps.get_model("labeling", "Pool").objects
    for pool in pools.filter(rubric_versions=None).iterator():
        version = versions.create(pool=pool, number=1, rubric=pool.rubric)
        assignments.filter(task__prompt__pool=pool, rubric_version=None).update(
            rubric_version=version
        )


class Migration(migrations.Migration):
    dependencies = [("labeling", "0008_first_topics"), ("labeling", "0008_user_language")]
    operations = [migrations.RunPython(number, migrations.RunPython.noop)]
