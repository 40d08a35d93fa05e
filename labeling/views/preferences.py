"""Preferences: colours and text view of this browser; topics, limits and breaks of the account."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from labeling import selectors, services
from labeling.errors import LabelingError
from labeling.views.care_forms import THEMES, PreferencesForm
from labeling.views.reading import VIEWS, remember_view
from labeling.views.shared import LabelerRequest

COOKIE_SECONDS = 365 * 24 * 3600


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def preferences(request: LabelerRequest) -> HttpResponse:
    if request.method == "POST":
        return _saved(request)
    return _page(request, PreferencesForm(request.user, initial=_chosen(request)))


def _saved(request: LabelerRequest) -> HttpResponse:
    form = PreferencesForm(request.user, request.POST)
    if not form.is_valid():
        return _page(request, form, status=422)
    try:
        services.save_preferences(request.user, **form.account_part())
    except LabelingError as error:
        form.add_error(str(error.data.get("field", "")) or None, error.message)
        return _page(request, form, status=422)
    messages.success(request, _("Saved."))
    response = redirect("labeling:preferences")
    theme = form.cleaned_data["theme"]
    if theme:
        # Read by the theme switch too, which is a script.
        response.set_cookie("theme", theme, max_age=COOKIE_SECONDS, samesite="Lax")
    else:
        response.delete_cookie("theme", samesite="Lax")
    remember_view(response, form.cleaned_data["view"])
    return response


def _chosen(request: LabelerRequest) -> dict[str, object]:
    user, theme, view = request.user, request.COOKIES.get("theme"), request.COOKIES.get("view")
    return {
        "theme": theme if theme in dict(THEMES) else "",
        "view": view if view in VIEWS else VIEWS[0],
        "break_minutes": user.break_minutes,
        "avoided_topics": user.avoided_topics.all(),
        "daily_sensitive_limit": user.daily_sensitive_limit,
    }


def _page(request: LabelerRequest, form: PreferencesForm, status: int = 200) -> HttpResponse:
    context = {
        "form": form,
        "common_limit": settings.DAILY_SENSITIVE_LIMIT,
        "sensitive_today": selectors.sensitive_today(request.user),
    }
    return render(request, "labeling/preferences.html", context, status=status)
