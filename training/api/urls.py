"""Addresses of the training API."""

from django.urls import path

from training.api import registry, runs

app_name = "training-api"
urlpatterns = [
    path("pools/<int:pool_id>/sample/", runs.PoolSampleView.as_view(), name="pool-sample"),
    path("runs/", runs.RunListView.as_view(), name="runs"),
    path("runs/<int:run_id>/", runs.RunDetailView.as_view(), name="run"),
    path("runs/<int:run_id>/events/", runs.RunEventsView.as_view(), name="run-events"),
    path("runs/<int:run_id>/cancel/", runs.RunCancelView.as_view(), name="run-cancel"),
    path("models/", registry.ModelListView.as_view(), name="models"),
    path(
        "models/<int:model_id>/promote/", registry.ModelPromoteView.as_view(), name="model-promote"
    ),
]
