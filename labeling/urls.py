"""Addresses of the labeling pages. The API has its own, in ``labeling.api``."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from labeling import views

app_name = "labeling"

urlpatterns = [
    path("", views.home, name="home"),
    path("rank/", views.rank, name="rank"),
    path("pools/<int:pool_id>/rank/", views.rank, name="pool_rank"),
    path("assignments/<uuid:assignment_id>/", views.assignment, name="assignment"),
    path("assignments/<uuid:assignment_id>/texts/", views.texts, name="texts"),
    path("assignments/<uuid:assignment_id>/skip/", views.skip, name="skip"),
    path("login/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
]
