"""Drift checks and what they found."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('connections', '0003_triggers'),
        ('members', '0002_passwords'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Sweep',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=80, unique=True)),
                ('asked', models.DateTimeField()),
                ('started', models.DateTimeField(null=True)),
                ('finished', models.DateTimeField(null=True)),
                ('state', models.CharField(choices=[('running', 'Running'), ('stopped', 'Stopped'), ('finished', 'Finished'), ('dismissed', 'Dismissed'), ('replaced', 'Replaced')], default='running', max_length=9)),
                ('feed', models.CharField(blank=True, max_length=4)),
                ('phase', models.CharField(choices=[('list', 'reading the list of all contacts'), ('ids', 'reading members by id'), ('losses', 'looking again before tags are taken away')], default='ids', max_length=6)),
                ('cursor', models.TextField(blank=True)),
                ('step', models.IntegerField(default=0)),
                ('members', models.IntegerField(default=0)),
                ('listed', models.IntegerField(default=0)),
                ('read', models.IntegerField(default=0)),
                ('gained', models.IntegerField(default=0)),
                ('lost', models.IntegerField(default=0)),
                ('suspects', models.IntegerField(default=0)),
                ('gone', models.IntegerField(default=0)),
                ('moved', models.IntegerField(default=0)),
                ('unread', models.IntegerField(default=0)),
                ('would_lose', models.IntegerField(default=0)),
                ('calls', models.IntegerField(default=0)),
                ('bulk_calls', models.IntegerField(default=0)),
                ('connection', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='sweeps', to='connections.connection')),
                ('decided_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            name='SweepFinding',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('what', models.CharField(choices=[('gained', 'Gained'), ('missing', 'Missing'), ('lost', 'Lost')], max_length=7)),
                ('contact', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='members.contact')),
                ('sweep', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='findings', to='members.sweep')),
                ('tag', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='members.tag')),
            ],
        ),
        migrations.AddIndex(
            model_name='sweep',
            index=models.Index(fields=['connection', 'asked'], name='sweep_list'),
        ),
        migrations.AddConstraint(
            model_name='sweepfinding',
            constraint=models.UniqueConstraint(fields=('sweep', 'contact', 'tag'), name='one_finding_a_tag'),
        ),
    ]
