"""Flagging a prompt: noted once a reason, seen by admins, and nobody's task is taken away."""

from __future__ import annotations

import pytest
from django.test import Client

from labeling.models import Assignment, PromptFlag
from tests.conftest import error_code, take

pytestmark = pytest.mark.django_db


def flag(labeler, task, **body):
    return labeler.post(f"assignments/{task['assignment']}/flag/", body)


def test_a_flag_is_stored_and_the_task_stays(cast, pool):
    task = take(cast.ben, pool)
    assert flag(cast.ben, task, reason="harmful", detail="It insults.").status_code == 204
    assert flag(cast.ben, task, reason="harmful", detail="It threatens.").status_code == 204
    assert flag(cast.ben, task, reason="duplicate").status_code == 204
    stored = {f.reason: f.detail for f in PromptFlag.objects.all()}
    assert stored == {"harmful": "It threatens.", "duplicate": ""}
    assert take(cast.ben, pool)["assignment"] == task["assignment"]


def test_a_flag_needs_a_known_reason_and_an_own_task(cast, pool):
    task = take(cast.ben, pool)
    assert error_code(flag(cast.ben, task, reason="boring")) == "invalid"
    assert error_code(flag(cast.ben, task, reason="other", detail="x" * 501)) == "invalid"
    assert flag(cast.cho, task, reason="harmful").status_code == 404
    assert not PromptFlag.objects.exists()


def test_the_plain_form_flags_and_keeps_what_was_ranked(cast, pool):
    task = take(cast.ben, pool)
    browser = Client()
    browser.force_login(cast.ben.user)
    address = f"/assignments/{task['assignment']}/"
    data = {
        "lease_token": task["lease_token"], "submission_id": task["lease_token"],
        "rank_A": "2", "rank_B": "", "quality_C": "5", "note": "half", "flag_reason": "unclear",
    }  # fmt: skip
    answer = browser.post(address + "flag/", data, follow=True)
    assert "Flagged" in answer.content.decode()
    assert PromptFlag.objects.get().reason == "unclear"
    draft = Assignment.objects.get().draft
    assert (draft["ranks"], draft["ratings"], draft["note"]) == ({"A": 2}, {"C": 5}, "half")
    del data["flag_reason"]
    assert "Please choose" in browser.post(address + "flag/", data, follow=True).content.decode()


def test_admins_see_and_count_flags(cast, pool):
    flag(cast.ben, take(cast.ben, pool), reason="personal_data", detail="A phone number.")
    flag(cast.cho, take(cast.cho, pool), reason="unclear")
    browser = Client()
    browser.force_login(cast.ada.user)
    flags = browser.get("/admin/labeling/promptflag/").content.decode()
    assert "A phone number." in flags
    assert "ben" in flags
    prompt = PromptFlag.objects.get(reason="personal_data").prompt
    assert (
        "A phone number."
        in browser.get(f"/admin/labeling/prompt/{prompt.pk}/change/").content.decode()
    )
    only = browser.get("/admin/labeling/promptflag/?reason__exact=unclear").content.decode()
    assert "A phone number." not in only
