"""Addresses of the labeling pages. The API has its own, in ``labeling.api``."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from labeling.views import (
    adjudication,
    comparing,
    guidelines,
    home,
    language,
    preferences,
    proposals,
    qualification,
    quality,
    ranking,
    rankings,
    review,
    statistics,
    writing,
)

app_name = "labeling"

urlpatterns = [
    path("", home.home, name="home"),
    path("rank/", ranking.rank, name="rank"),
    path("pools/<int:pool_id>/rank/", ranking.rank, name="pool_rank"),
    path("assignments/<uuid:assignment_id>/", ranking.assignment, name="assignment"),
    path("assignments/<uuid:assignment_id>/texts/", ranking.texts, name="texts"),
    path("assignments/<uuid:assignment_id>/compare/", comparing.compare, name="compare"),
    path("assignments/<uuid:assignment_id>/flag/", ranking.flag, name="flag"),
    path("rankings/", rankings.own, name="rankings"),
    path("rankings/<int:ranking_id>/", rankings.revise, name="ranking"),
    path("assignments/<uuid:assignment_id>/skip/", ranking.skip, name="skip"),
    path("write/", writing.write, name="write"),
    path("pools/<int:pool_id>/write/", writing.write, name="pool_write"),
    path("writings/<uuid:handle>/", writing.writing, name="writing"),
    path("writings/<uuid:handle>/skip/", writing.skip, name="writing_skip"),
    path("demonstrations/", writing.demonstrations, name="demonstrations"),
    path("prompts/", proposals.own, name="prompts"),
    path("prompts/new/", proposals.new, name="prompt_new"),
    path("review/prompts/", review.proposals, name="review"),
    path("review/prompts/<uuid:proposal_id>/", review.proposal, name="review_one"),
    path("pools/<int:pool_id>/guidelines/", guidelines.guidelines, name="guidelines"),
    path("pools/<int:pool_id>/guidelines/read/", guidelines.read, name="guidelines_read"),
    path("pools/<int:pool_id>/qualification/", qualification.overview, name="qualification"),
    path(
        "pools/<int:pool_id>/qualification/next/",
        qualification.next_item,
        name="qualification_next",
    ),
    path(
        "pools/<int:pool_id>/qualification/test/",
        qualification.begin_test,
        name="qualification_test",
    ),
    path("trials/<uuid:trial_id>/", qualification.trial, name="trial"),
    path("trials/<uuid:trial_id>/feedback/", qualification.feedback, name="feedback"),
    path("me/", statistics.statistics, name="statistics"),
    path("preferences/", preferences.preferences, name="preferences"),
    path("language/", language.choose, name="language"),
    path("quality/", quality.pools, name="quality_pools"),
    path("pools/<int:pool_id>/quality/", quality.pool, name="quality"),
    path("review/disagreements/", adjudication.disagreements, name="disagreements"),
    path("review/disagreements/<int:task_id>/", adjudication.adjudicate, name="adjudicate"),
    path("login/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
]
