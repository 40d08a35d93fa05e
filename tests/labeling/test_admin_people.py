"""Accounts and tokens in the admin: roles with their flags, passwords, tokens shown once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from labeling.models import ApiToken, Pool, User
from labeling.services import TOKEN_PREFIX, token_digest
from tests.conftest import Cast, rank

PASSWORD = "correct horse battery"


@pytest.fixture
def studio(cast: Cast) -> Client:
    client = Client()
    client.force_login(cast.ada.user)
    return client


def change_address(user: User) -> str:
    return reverse("admin:labeling_user_change", args=[user.pk])


def body_of(user: User, **changes: Any) -> dict[str, Any]:
    body = {
        "username": user.username,
        "first_name": "",
        "last_name": "",
        "email": "",
        "role": user.role,
        "labeler_group": user.labeler_group,
        "is_active": "on" if user.is_active else "",
        **({"is_simulated": "on"} if user.is_simulated else {}),
        **changes,
    }
    return {name: value for name, value in body.items() if value != ""}


def form_errors(answer: Any) -> dict[str, list[str]]:
    return dict(answer.context["adminform"].form.errors)


@pytest.mark.parametrize("role", User.Role.values)
def test_an_account_is_made_with_flags_that_follow_its_role(studio: Client, role: str) -> None:
    body = {
        "username": "dan",
        "usable_password": "true",
        "password1": PASSWORD,
        "password2": PASSWORD,
        "role": role,
        "labeler_group": "held-out",
    }
    answer = studio.post(reverse("admin:labeling_user_add"), body)
    assert answer.status_code == 302, form_errors(answer)
    dan = User.objects.get(username="dan")
    assert (dan.role, dan.labeler_group, dan.is_simulated) == (role, "held-out", False)
    assert dan.is_staff is dan.is_superuser is (role == "admin")
    assert dan.check_password(PASSWORD)
    assert Client().login(username="dan", password=PASSWORD)


def test_a_simulated_account_needs_no_password(studio: Client) -> None:
    body = {
        "username": "robot",
        "usable_password": "false",
        "role": "labeler",
        "labeler_group": "training",
        "is_simulated": "on",
    }
    studio.post(reverse("admin:labeling_user_add"), body)
    robot = User.objects.get(username="robot")
    assert robot.is_simulated
    assert not robot.has_usable_password()


def test_a_name_in_use_is_told_beside_the_name(studio: Client) -> None:
    body = {
        "username": "ben",
        "usable_password": "true",
        "password1": PASSWORD,
        "password2": PASSWORD,
        "role": "labeler",
        "labeler_group": "training",
    }
    answer = studio.post(reverse("admin:labeling_user_add"), body)
    assert answer.status_code == 200
    assert "username" in form_errors(answer)


def test_a_changed_role_takes_the_flags_along(studio: Client, cast: Cast) -> None:
    ben = cast.ben.user
    for role in ("admin", "reviewer", "labeler"):
        answer = studio.post(change_address(ben), body_of(ben, role=role))
        assert answer.status_code == 302, form_errors(answer)
        ben.refresh_from_db()
        assert (ben.role, ben.is_staff, ben.is_superuser) == (
            role,
            role == "admin",
            role == "admin",
        )


@pytest.mark.parametrize(
    ("change", "field"), [({"role": "labeler"}, "role"), ({"is_active": ""}, "is_active")]
)
def test_the_last_admin_cannot_step_down(
    studio: Client, cast: Cast, change: dict[str, str], field: str
) -> None:
    ada = cast.ada.user
    answer = studio.post(change_address(ada), body_of(ada, email="typed@example.org", **change))
    assert answer.status_code == 200
    assert field in form_errors(answer)
    assert "typed@example.org" in answer.content.decode()
    ada.refresh_from_db()
    assert (ada.role, ada.is_active, ada.is_staff, ada.email) == ("admin", True, True, "")


def test_an_account_with_work_stays_what_it_is(
    studio: Client, cast: Cast, make_pool: Callable[..., Pool]
) -> None:
    ben = cast.ben.user
    rank(cast.ben, make_pool())
    answer = studio.post(change_address(ben), body_of(ben, is_simulated="on"))
    assert "is_simulated" in form_errors(answer)
    cho = cast.cho.user
    assert studio.post(change_address(cho), body_of(cho, is_simulated="on")).status_code == 302


def test_accounts_are_not_deleted(studio: Client, cast: Cast) -> None:
    address = reverse("admin:labeling_user_delete", args=[cast.ben.user.pk])
    assert studio.post(address, {"post": "yes"}).status_code == 403


def test_a_password_is_set_by_an_admin(studio: Client, cast: Cast) -> None:
    address = reverse("admin:auth_user_password_change", args=[cast.ben.user.pk])
    assert studio.get(address).status_code == 200
    body = {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    assert studio.post(address, body).status_code == 302
    assert Client().login(username="ben", password=PASSWORD)


# --- tokens ---------------------------------------------------------------------------------------


def test_a_token_is_shown_once_and_only_its_hash_is_kept(studio: Client, cast: Cast) -> None:
    ben = cast.ben.user
    start = studio.get(reverse("admin:labeling_user_issue_token", args=[ben.pk]))
    assert studio.get(start["Location"]).context["form"]["user"].value() == str(ben.pk)
    answer = studio.post(reverse("admin:labeling_apitoken_add"), {"user": ben.pk, "name": "laptop"})
    plain = answer.context["plain"]
    assert answer.status_code == 200
    assert plain.startswith(TOKEN_PREFIX)
    assert plain in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    token = ApiToken.objects.get(name="laptop")
    assert token.digest == token_digest(plain)
    pages = [
        reverse("admin:labeling_apitoken_changelist"),
        reverse("admin:labeling_apitoken_change", args=[token.pk]),
        reverse("admin:labeling_apitoken_add"),
    ]
    for address in pages:
        html = studio.get(address).content.decode()
        assert plain not in html
        assert token.digest not in html
    assert not LogEntry.objects.filter(change_message__contains=plain).exists()
    assert (
        Client().get("/api/v1/pools/", headers={"Authorization": f"Bearer {plain}"}).status_code
        == 403
    )


def test_an_incomplete_token_form_issues_nothing(studio: Client, cast: Cast) -> None:
    before = ApiToken.objects.count()
    answer = studio.post(reverse("admin:labeling_apitoken_add"), {"user": cast.ben.user.pk})
    assert answer.status_code == 422
    assert ApiToken.objects.count() == before


def test_a_revoked_token_opens_nothing(studio: Client, cast: Cast) -> None:
    token = ApiToken.objects.get(user=cast.rob.user)
    address = reverse("admin:labeling_apitoken_revoke", args=[token.pk])
    assert studio.get(address).status_code == 200
    assert cast.rob.get("pools/").status_code == 200
    assert studio.post(address).status_code == 302
    assert cast.rob.get("pools/").status_code == 401
    first = ApiToken.objects.get(pk=token.pk).revoked_at
    studio.post(address)
    assert ApiToken.objects.get(pk=token.pk).revoked_at == first


def test_a_token_cannot_be_changed_or_deleted(studio: Client, cast: Cast) -> None:
    token = ApiToken.objects.get(user=cast.rob.user)
    change = reverse("admin:labeling_apitoken_change", args=[token.pk])
    assert studio.post(change, {"name": "other"}).status_code == 403
    delete = reverse("admin:labeling_apitoken_delete", args=[token.pk])
    assert studio.post(delete, {"post": "yes"}).status_code == 403
