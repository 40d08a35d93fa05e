"""Addresses of the labeling API."""

from django.urls import path

from labeling.api import assignments, demonstrations, pools

app_name = "labeling-api"
urlpatterns = [
    path("pools/", pools.PoolListView.as_view(), name="pools"),
    path("pools/<int:pool_id>/", pools.PoolDetailView.as_view(), name="pool"),
    path("pools/<int:pool_id>/import/", pools.PoolImportView.as_view(), name="pool-import"),
    path("pools/<int:pool_id>/export/", pools.PoolExportView.as_view(), name="pool-export"),
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
    path("demonstrations/", demonstrations.DemonstrationView.as_view(), name="demonstration"),
    path(
        "demonstrations/next/", demonstrations.NextWritingView.as_view(), name="demonstration-next"
    ),
    path(
        "demonstrations/skip/", demonstrations.WritingSkipView.as_view(), name="demonstration-skip"
    ),
]
