"""Accounts and their API tokens."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from unfold.enums import ActionVariant
from unfold.forms import AdminPasswordChangeForm, UserChangeForm

from labeling import selectors, services
from labeling.admin.base import (
    Admin,
    AnsweredForm,
    RecordAdmin,
    action,
    acts_as_admin,
    changelist_address,
    counted,
    display,
    link,
)
from labeling.admin.forms import AccountForm, TokenForm
from labeling.models import ApiToken, Ranking, User

# Roles decide what an account may do; Django's groups and permissions are not used.
admin.site.unregister(Group)

CHANGEABLE = (
    "username",
    "first_name",
    "last_name",
    "email",
    "role",
    "labeler_group",
    "is_simulated",
    "is_active",
)


@admin.register(User)
class UserAdmin(AnsweredForm, DjangoUserAdmin, Admin):  # type: ignore[misc]
    """People and simulated labelers. The role decides; Django's staff flags follow it."""

    form = UserChangeForm
    add_form = AccountForm
    add_form_template = None
    change_password_form = AdminPasswordChangeForm
    filter_horizontal = ()
    list_display = (
        "username",
        "role_label",
        "labeler_group",
        "nature",
        "is_active",
        "rankings",
        "last_login",
    )
    list_filter = ("role", "labeler_group", "is_simulated", "is_active")
    readonly_fields = ("control_figures", "last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("username", "password", "is_active")}),
        (_("Work"), {"fields": ("role", "labeler_group", "is_simulated")}),
        (_("Person"), {"fields": ("first_name", "last_name", "email")}),
        (_("Control tasks"), {"fields": ("control_figures",)}),
        (_("Dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"fields": ("username", "usable_password", "password1", "password2")}),
        (_("Work"), {"fields": ("role", "labeler_group", "is_simulated")}),
    )
    actions = None
    actions_detail = ("issue_token",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        done = counted(Ranking.objects.filter(status=Ranking.Status.COUNTED), "labeler")
        return super().get_queryset(request).annotate(ranking_count=done)

    @display(
        description="role",
        ordering="role",
        label={
            User.Role.ADMIN: "primary",
            User.Role.REVIEWER: "info",
            User.Role.LABELER: "default",
        },
    )
    def role_label(self, user: User) -> tuple[str, str]:
        return user.role, user.get_role_display()

    @display(
        description="is",
        ordering="is_simulated",
        label={"person": "default", "simulated": "warning"},
    )
    def nature(self, user: User) -> str:
        return "simulated" if user.is_simulated else "person"

    @display(description="rankings", ordering="ranking_count")
    def rankings(self, user: User) -> str:
        return f"{user.ranking_count:,}"  # type: ignore[attr-defined]

    @display(description=_("agreement with known answers"))
    def control_figures(self, user: User) -> str:
        context = {"figures": selectors.control_figures(labeler=user), "by": "pool"}
        return render_to_string("admin/labeling/control_figures.html", context)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # What an account did stays under its name: accounts are made inactive, not deleted.
        return False

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if change:
            changed = [name for name in CHANGEABLE if name in form.changed_data]
            services.change_user(obj, **{name: form.cleaned_data[name] for name in changed})
            return
        given = form.cleaned_data
        created = services.create_user(
            password=given["password1"] or None,
            **{name: given[name] for name in AccountForm.Meta.fields},
        )
        obj.__dict__.update(created.__dict__)

    @action(description="Issue token", icon="key")
    def issue_token(self, request: HttpRequest, object_id: str) -> HttpResponse:
        user = self.record(request, object_id)
        return redirect(f"{reverse('admin:labeling_apitoken_add')}?user={user.pk}")


@admin.register(ApiToken)
class ApiTokenAdmin(RecordAdmin):
    """Tokens by name. The plaintext is shown once, when one is issued; only its hash is kept."""

    list_display = ("name", "owner", "state", "created_at", "last_used_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter), "user__role")
    list_select_related = ("user",)
    search_fields = ("name", "user__username")
    ordering = ("-id",)
    fields = ("name", "owner", "created_at", "last_used_at", "revoked_at")
    readonly_fields = ("owner",)
    actions_row = ("revoke",)
    actions_detail = ("revoke",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return acts_as_admin(request)

    @display(description="account", ordering="user__username")
    def owner(self, token: ApiToken) -> str:
        return link(token.user)

    @display(description="state", label={"live": "success", "revoked": "danger"})
    def state(self, token: ApiToken) -> str:
        return "revoked" if token.revoked_at else "live"

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        posted = request.POST if request.method == "POST" else None
        form = TokenForm(posted, initial={"user": request.GET.get("user")})
        back = changelist_address(ApiToken)
        if form.is_valid():
            given = form.cleaned_data
            plain = services.issue_token(given["user"], name=given["name"])
            return self._shown_once(request, plain, given["user"])
        return self.ask(request, form, title="Issue a token", button="Issue token", back=back)

    def _shown_once(self, request: HttpRequest, plain: str, user: User) -> HttpResponse:
        # Django's admin forbids caching of all its pages.
        return self.ask(
            request,
            forms.Form(),
            title=_("Token of %(user)s") % {"user": user},
            button="",
            back=changelist_address(ApiToken),
            template="admin/labeling/token.html",
            plain=plain,
            api_url=request.build_absolute_uri("/api/v1/"),
        )

    @action(description="Revoke", icon="block", variant=ActionVariant.DANGER)
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        token = self.record(request, object_id)
        back = changelist_address(ApiToken)
        if request.method == "POST":
            if services.revoke_token(token):
                messages.success(request, _("%(token)s opens nothing any more.") % {"token": token})
            else:
                messages.info(request, _("%(token)s was revoked before.") % {"token": token})
            return redirect(back)
        return self.ask(
            request,
            forms.Form(),
            title=_("Revoke %(token)s?") % {"token": token},
            text="Programs that use it are turned away from now on. This cannot be undone.",
            button="Revoke",
            danger=True,
            back=back,
            original=token,
        )
