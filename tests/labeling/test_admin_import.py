"""The import page: files and pasted text, and a report that says which line to mend."""

from __future__ import annotations

import json

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.test import Client
from django.urls import reverse

from labeling import services
from labeling.models import Pool, Prompt
from tests.conftest import Cast

GOOD = '{"prompt": "one"}\n{"prompt": "two"}\n'


@pytest.fixture
def empty(db: None) -> Pool:
    return services.create_pool(name="empty")


@pytest.fixture
def address(empty: Pool) -> str:
    return reverse("admin:labeling_pool_import_prompts", args=[empty.pk])


@pytest.fixture
def studio(cast: Cast) -> Client:
    client = Client()
    client.force_login(cast.ada.user)
    return client


def test_a_file_is_imported(studio: Client, address: str) -> None:
    answer = studio.post(address, {"file": SimpleUploadedFile("p.jsonl", GOOD.encode())})
    assert answer.status_code == 200
    assert answer.context["report"].accepted == 2
    assert Prompt.objects.count() == 2


def test_lines_that_cannot_be_used_are_listed_and_the_text_stays(
    studio: Client, address: str
) -> None:
    text = GOOD + "not json\n" + '{"completions": []}\n' + '{"prompt": "one"}\n'
    answer = studio.post(address, {"text": text})
    report = answer.context["report"]
    assert (report.accepted, report.duplicates, report.rejected) == (2, 1, 2)
    html = answer.content.decode()
    assert "broken_json" in html
    assert "missing_prompt" in html
    assert ">3</td>" in html
    assert ">4</td>" in html
    assert "not json" in html


def test_text_that_went_in_whole_is_cleared(studio: Client, address: str) -> None:
    html = studio.post(address, {"text": GOOD}).content.decode()
    assert "&quot;one&quot;" not in html


def test_the_same_again_is_all_duplicates(studio: Client, address: str) -> None:
    studio.post(address, {"text": GOOD})
    assert studio.post(address, {"text": GOOD}).context["report"].duplicates == 2


@pytest.mark.parametrize("body", [{}, {"text": "  \n "}])
def test_nothing_given_is_told_beside_the_field(
    studio: Client, address: str, body: dict[str, str]
) -> None:
    answer = studio.post(address, body)
    assert answer.status_code == 422
    assert "file" in answer.context["form"].errors


def test_both_given_is_refused_and_the_text_stays(studio: Client, address: str) -> None:
    body = {"file": SimpleUploadedFile("p.jsonl", GOOD.encode()), "text": '{"prompt": "typed"}'}
    answer = studio.post(address, body)
    assert answer.status_code == 422
    assert "typed" in answer.content.decode()
    assert not Prompt.objects.exists()


def test_a_large_file_is_read_line_by_line(
    studio: Client, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise AssertionError("the upload was read whole")

    rows = ({"prompt": f"p{n} " + "x" * 400} for n in range(8000))
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    assert len(lines) > settings.FILE_UPLOAD_MAX_MEMORY_SIZE
    monkeypatch.setattr(TemporaryUploadedFile, "read", property(refuse))
    answer = studio.post(address, {"file": SimpleUploadedFile("big.jsonl", lines)})
    assert answer.context["report"].accepted == 8000
