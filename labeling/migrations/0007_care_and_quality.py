import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('labeling', '0006_qualify_labelers'),
    ]

    operations = [
        migrations.AddField(
            model_name='user',
            name='break_minutes',
            field=models.PositiveSmallIntegerField(default=60, help_text='Minutes of work until a break is proposed; 0: never.', validators=[django.core.validators.MaxValueValidator(480)]),
        ),
        migrations.AddField(
            model_name='user',
            name='daily_sensitive_limit',
            field=models.PositiveSmallIntegerField(blank=True, help_text='At most so many prompts on sensitive topics a day; empty: as for everybody.', null=True),
        ),
        migrations.CreateModel(
            name='Adjudication',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('reason', models.TextField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('reviewer', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='adjudications', to=settings.AUTH_USER_MODEL)),
                ('task', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='adjudication', to='labeling.task')),
            ],
            options={
                'verbose_name': 'adjudication',
                'verbose_name_plural': 'adjudications',
                'ordering': ['-created_at'],
            },
        ),
        migrations.CreateModel(
            name='QualityReport',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('watermark', models.BigIntegerField(default=0)),
                ('rankings', models.PositiveIntegerField(default=0)),
                ('revised_at', models.DateTimeField(blank=True, null=True)),
                ('used_rankings', models.PositiveIntegerField(default=0)),
                ('seconds', models.FloatField(default=0)),
                ('error', models.TextField(blank=True, default='')),
                ('requested_at', models.DateTimeField(blank=True, null=True)),
                ('claimed_until', models.DateTimeField(blank=True, null=True)),
                ('computed_at', models.DateTimeField(blank=True, null=True)),
                ('pool', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='quality_report', to='labeling.pool')),
            ],
            options={
                'verbose_name': 'quality report',
                'verbose_name_plural': 'quality reports',
                'ordering': ['pool'],
            },
        ),
        migrations.CreateModel(
            name='Topic',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.SlugField(allow_unicode=True, unique=True, verbose_name='name')),
                ('label', models.CharField(help_text='As labelers read it.', max_length=100, verbose_name='label')),
                ('is_sensitive', models.BooleanField(default=False, help_text='Covered until revealed, and counted by the daily limit.', verbose_name='sensitive')),
                ('avoided_by', models.ManyToManyField(blank=True, related_name='avoided_topics', to=settings.AUTH_USER_MODEL)),
                ('prompts', models.ManyToManyField(blank=True, related_name='topics', to='labeling.prompt')),
            ],
            options={
                'verbose_name': 'topic',
                'verbose_name_plural': 'topics',
                'ordering': ['label'],
            },
        ),
        migrations.CreateModel(
            name='AdjudicatedItem',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('rank', models.PositiveSmallIntegerField()),
                ('completion', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.completion')),
                ('adjudication', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='items', to='labeling.adjudication')),
            ],
            options={
                'ordering': ['adjudication', 'rank', 'completion'],
                'constraints': [models.UniqueConstraint(fields=('adjudication', 'completion'), name='item_once_per_adjudication'), models.CheckConstraint(condition=models.Q(('rank__gte', 1), ('rank__lte', 9)), name='adjudicated_rank_1_to_9')],
            },
        ),
        migrations.CreateModel(
            name='QualityFigure',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('population', models.CharField(choices=[('people', 'people'), ('simulated', 'simulated labelers')], max_length=16)),
                ('name', models.CharField(choices=[('pairwise_agreement', 'Pairwise agreement'), ('kendall_tau_b', "Kendall's τ-b"), ('krippendorff_alpha', "Krippendorff's α (ordinal)"), ('reliability', 'Reliability'), ('position_bias', 'Position bias'), ('length_bias', 'Length bias')], max_length=32)),
                ('value', models.FloatField(blank=True, null=True)),
                ('low', models.FloatField(blank=True, null=True)),
                ('high', models.FloatField(blank=True, null=True)),
                ('tasks', models.PositiveIntegerField()),
                ('count', models.PositiveIntegerField(help_text='Pairs, pairs of rankings or rankings compared.')),
                ('guideline_version', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.guidelineversion')),
                ('labeler', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='quality_figures', to=settings.AUTH_USER_MODEL)),
                ('report', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='figures', to='labeling.qualityreport')),
            ],
            options={
                'ordering': ['report', 'population', 'guideline_version', 'labeler', 'id'],
                'constraints': [models.UniqueConstraint(condition=models.Q(('guideline_version', None), ('labeler', None)), fields=('report', 'population', 'name'), name='figure_once_of_pool'), models.UniqueConstraint(fields=('report', 'population', 'name', 'labeler'), name='figure_once_of_labeler'), models.UniqueConstraint(fields=('report', 'population', 'name', 'guideline_version'), name='figure_once_of_guidelines'), models.CheckConstraint(condition=models.Q(('labeler', None), ('guideline_version', None), _connector='OR'), name='figure_has_one_scope'), models.CheckConstraint(condition=models.Q(models.Q(('high', None), ('low', None)), models.Q(('low__lte', models.F('high')), ('value__isnull', False)), _connector='OR'), name='figure_interval_is_one')],
            },
        ),
    ]
