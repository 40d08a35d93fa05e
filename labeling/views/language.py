"""The language of pages: kept in a cookie, and with the account where somebody is signed in."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from django.views.i18n import set_language

from labeling import services
from labeling.errors import InvalidInput
from labeling.models import User


@never_cache
@require_POST
def choose(request: HttpRequest) -> HttpResponse:
    """Back to the page it was chosen on. Django's view keeps the cookie and checks the address."""
    if isinstance(request.user, User):
        try:
            services.choose_language(request.user, request.POST.get("language", ""))
        except InvalidInput:
            return HttpResponse(status=400)
    return set_language(request)
