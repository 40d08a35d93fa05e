"""Addresses of the labeling API."""

from django.urls import path

from labeling.api import (
    assignments,
    demonstrations,
    pools,
    prompts,
    qualification,
    quality,
    rankings,
    versions,
)

app_name = "labeling-api"
urlpatterns = [
    path("pools/", pools.PoolListView.as_view(), name="pools"),
    path("pools/<int:pool_id>/", pools.PoolDetailView.as_view(), name="pool"),
    path("pools/<int:pool_id>/import/", pools.PoolImportView.as_view(), name="pool-import"),
    path("pools/<int:pool_id>/export/", pools.PoolExportView.as_view(), name="pool-export"),
    path("pools/<int:pool_id>/quality/", quality.QualityView.as_view(), name="quality"),
    path(
        "pools/<int:pool_id>/disagreements/",
        quality.DisagreementsView.as_view(),
        name="disagreements",
    ),
    path(
        "tasks/<int:task_id>/adjudication/",
        quality.AdjudicationView.as_view(),
        name="adjudication",
    ),
    path("me/", quality.StatisticsView.as_view(), name="statistics"),
    path("pools/<int:pool_id>/guidelines/", versions.GuidelinesView.as_view(), name="guidelines"),
    path("pools/<int:pool_id>/rubric/", versions.RubricView.as_view(), name="rubric"),
    path(
        "pools/<int:pool_id>/qualification/",
        qualification.StandingView.as_view(),
        name="qualification",
    ),
    path(
        "pools/<int:pool_id>/qualification/items/",
        qualification.ItemImportView.as_view(),
        name="qualification-items",
    ),
    path(
        "pools/<int:pool_id>/qualification/next/",
        qualification.NextTrialView.as_view(),
        name="qualification-next",
    ),
    path(
        "pools/<int:pool_id>/qualification/test/",
        qualification.BeginTestView.as_view(),
        name="qualification-test",
    ),
    path("trials/<uuid:trial_id>/submit/", qualification.SubmitTrialView.as_view(), name="trial"),
    path("assignments/next/", assignments.NextAssignmentView.as_view(), name="assignment-next"),
    path(
        "assignments/<uuid:assignment_id>/submit/",
        assignments.SubmitView.as_view(),
        name="assignment-submit",
    ),
    path(
        "assignments/<uuid:assignment_id>/draft/",
        assignments.DraftView.as_view(),
        name="assignment-draft",
    ),
    path(
        "assignments/<uuid:assignment_id>/skip/",
        assignments.SkipView.as_view(),
        name="assignment-skip",
    ),
    path(
        "assignments/<uuid:assignment_id>/heartbeat/",
        assignments.HeartbeatView.as_view(),
        name="assignment-heartbeat",
    ),
    path(
        "assignments/<uuid:assignment_id>/ahead/",
        rankings.AheadView.as_view(),
        name="assignment-ahead",
    ),
    path(
        "assignments/<uuid:assignment_id>/release/",
        rankings.ReleaseView.as_view(),
        name="assignment-release",
    ),
    path(
        "assignments/<uuid:assignment_id>/flag/",
        rankings.FlagView.as_view(),
        name="assignment-flag",
    ),
    path("rankings/", rankings.RankingListView.as_view(), name="rankings"),
    path(
        "rankings/<int:ranking_id>/revise/",
        rankings.ReviseView.as_view(),
        name="ranking-revise",
    ),
    path("demonstrations/", demonstrations.DemonstrationView.as_view(), name="demonstration"),
    path(
        "demonstrations/next/", demonstrations.NextWritingView.as_view(), name="demonstration-next"
    ),
    path(
        "demonstrations/skip/", demonstrations.WritingSkipView.as_view(), name="demonstration-skip"
    ),
    path(
        "demonstrations/draft/",
        demonstrations.WritingDraftView.as_view(),
        name="demonstration-draft",
    ),
    path(
        "demonstrations/revise/",
        demonstrations.DemonstrationReviseView.as_view(),
        name="demonstration-revise",
    ),
    path("prompts/", prompts.ProposalListView.as_view(), name="prompts"),
    path("prompts/application/", prompts.NextApplicationView.as_view(), name="prompt-application"),
    path("prompts/review/", prompts.ReviewListView.as_view(), name="prompts-review"),
    path("prompts/<uuid:proposal_id>/accept/", prompts.AcceptView.as_view(), name="prompt-accept"),
    path("prompts/<uuid:proposal_id>/reject/", prompts.RejectView.as_view(), name="prompt-reject"),
    path(
        "pools/<int:pool_id>/applications/",
        prompts.ApplicationListView.as_view(),
        name="pool-applications",
    ),
]
