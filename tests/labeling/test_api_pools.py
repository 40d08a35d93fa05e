"""Pools over the API: create, read, import, export; tokens and error bodies."""

import csv
import io
import json

import pytest
from django.test import Client

from labeling import services
from labeling.models import ApiToken, Pool
from tests.conftest import as_lines, caller, error_code, line, rank, submission, submit, take

pytestmark = pytest.mark.django_db
SETTINGS = {
    "name": "tone",
    "completions_per_prompt": 9,
    "overlap": 2,
    "temperature": 0.7,
    "top_p": 0.9,
    "max_new_tokens": 32,
    "guidelines": "Be fair.",
}


def test_an_admin_creates_a_pool(cast):
    answer = cast.ada.post("pools/", SETTINGS)
    assert answer.status_code == 201
    made = answer.json()
    assert {name: made[name] for name in SETTINGS} == SETTINGS
    assert made["prompts"] == made["rankings"] == 0
    assert cast.rob.get(f"pools/{made['id']}/").json() == made


@pytest.mark.parametrize(
    "change",
    [
        {"completions_per_prompt": 3},
        {"completions_per_prompt": 10},
        {"overlap": 0},
        {"temperature": -1},
        {"temperature": "NaN"},
        {"top_p": 0},
        {"max_new_tokens": 0},
        {"name": ""},
        {"name": "x" * 201},
    ],
)
def test_a_pool_that_cannot_work_is_refused(cast, change):
    answer = cast.ada.post("pools/", SETTINGS | change)
    assert (answer.status_code, error_code(answer)) == (400, "invalid")
    assert next(iter(change)) in answer.json()["error"]["message"]
    assert not Pool.objects.exists()


def test_a_name_in_use_is_a_conflict(cast, pool):
    answer = cast.ada.post("pools/", SETTINGS | {"name": pool.name})
    assert (answer.status_code, error_code(answer)) == (409, "name_taken")


def test_import_reports_every_line(cast, make_pool):
    pool = make_pool(tasks=0)
    body = b"".join(as_lines(line("one"), "{", {"prompt": "two"}, line("one")))
    answer = cast.ada.post(f"pools/{pool.pk}/import/", body)
    assert answer.status_code == 200
    report = answer.json()
    assert {k: report[k] for k in ("accepted", "duplicates", "rejected")} == {
        "accepted": 2, "duplicates": 1, "rejected": 1,
    }  # fmt: skip
    assert report["errors"][0]["line"] == 2
    assert cast.ada.post(f"pools/{pool.pk}/import/", b"").json()["accepted"] == 0


def test_import_takes_a_body_larger_than_a_request_may_be_held(cast, make_pool, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    pool = make_pool(tasks=0)
    body = b"".join(as_lines(*({"prompt": f"{n} " + "x" * 500} for n in range(100))))
    assert cast.ada.post(f"pools/{pool.pk}/import/", body).json()["accepted"] == 100


def test_import_reads_a_body_that_comes_in_chunks(cast, live_server, make_pool):
    import httpx

    pool = make_pool(tasks=0)
    address = f"{live_server.url}/api/v1/pools/{pool.pk}/import/"
    headers = {"Authorization": f"Bearer {cast.ada.token}"}
    other = httpx.post(address.replace("/import", ""), content=iter([b"{}"]), headers=headers)
    assert (other.status_code, error_code(other)) == (411, "length_required")
    packed = httpx.post(address, content=b"x", headers=headers | {"Content-Encoding": "gzip"})
    assert (packed.status_code, error_code(packed)) == (415, "unsupported_encoding")


def test_import_by_session_takes_what_curl_calls_a_form(cast, make_pool):
    pool = make_pool(tasks=0)
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.ada.user)
    client.get("/")
    token = client.get("/admin/").cookies["csrftoken"].value
    path, form = f"/api/v1/pools/{pool.pk}/import/", "application/x-www-form-urlencoded"
    assert client.post(path, b'{"prompt": "x"}', content_type=form).status_code == 403
    answer = client.post(
        path, b'{"prompt": "x"}', content_type=form, headers={"X-CSRFToken": token}
    )
    assert answer.json()["accepted"] == 1
    multipart = cast.ada.http.post(
        path, {"file": io.BytesIO(b"x")}, headers={"Authorization": f"Bearer {cast.ada.token}"}
    )
    assert multipart.status_code == 415


def test_an_export_can_be_asked_for_by_its_media_type(cast, ranked):
    for format_, media_type in {"csv": "text/csv", "parquet": "application/x-parquet"}.items():
        answer = cast.rob.http.get(
            f"/api/v1/pools/{ranked.pk}/export/",
            {"format": format_},
            headers={"Authorization": f"Bearer {cast.rob.token}", "Accept": media_type},
        )
        assert answer.status_code == 200


@pytest.fixture
def ranked(cast, make_pool):
    pool = make_pool(tasks=2, name="ranked", overlap=2)
    row = line("prompt 0") | {"reference": "a good answer"}
    services.import_prompts(pool, as_lines(row))
    rank(cast.ben, pool, [1, 1, 2, 3])
    rank(cast.ben, pool)
    rank(caller("robot", "labeler", is_simulated=True), pool)
    return pool


def exported(cast, pool, **query) -> bytes:
    answer = cast.rob.get(f"pools/{pool.pk}/export/", **query)
    assert answer.status_code == 200, answer.content
    return b"".join(answer.streaming_content)


def test_comparisons_export_as_json_lines_ties_among_them(cast, ranked):
    rows = [json.loads(raw) for raw in exported(cast, ranked).splitlines()]
    assert len(rows) == 18
    assert sum(row["preferred"] == "tie" for row in rows) == 1
    assert {row["simulated"] for row in rows} == {True, False}
    for row in rows:
        if row["preferred"] != "tie":
            assert {row["chosen"], row["rejected"]} == {row["a"], row["b"]}
            assert row["chosen"] == row[row["preferred"]]


def test_labelers_can_be_told_apart_in_an_export(cast, ranked):
    people = exported(cast, ranked, labelers="people").splitlines()
    simulated = exported(cast, ranked, labelers="simulated").splitlines()
    assert (len(people), len(simulated)) == (12, 6)


def test_trl_rows_are_preferences_without_ties(cast, ranked):
    rows = [json.loads(raw) for raw in exported(cast, ranked, format="trl").splitlines()]
    assert len(rows) == 17
    assert all(set(row) == {"prompt", "chosen", "rejected"} for row in rows)
    assert rows[0]["chosen"][0]["role"] == "assistant"


def test_rankings_export_whole_in_shown_order(cast, ranked):
    rows = [json.loads(raw) for raw in exported(cast, ranked, kind="rankings").splitlines()]
    assert len(rows) == 3
    assert [c["rank"] for c in rows[0]["completions"]] == [1, 1, 2, 3]
    assert [c["alias"] for c in rows[0]["completions"]] == ["A", "B", "C", "D"]


def test_csv_and_parquet_hold_the_same_rows(cast, ranked):
    import pyarrow.parquet

    cells = list(csv.DictReader(io.StringIO(exported(cast, ranked, format="csv").decode())))
    table = pyarrow.parquet.read_table(io.BytesIO(exported(cast, ranked, format="parquet")))
    assert len(cells) == table.num_rows == 18
    assert [row["a"] for row in cells] == table.column("a").to_pylist()


def test_parquet_takes_ratings_that_come_after_rankings_without_any(cast, make_pool, monkeypatch):
    import pyarrow.parquet

    from labeling.api import parquet

    monkeypatch.setattr(parquet, "GROUP_ROWS", 1)
    pool = make_pool(tasks=2)
    rank(cast.ben, pool)
    task = take(cast.ben, pool)
    submit(cast.ben, task, submission(task, ratings={"A": 7}, flags={"B": ["hallucination"]}))
    table = pyarrow.parquet.read_table(
        io.BytesIO(exported(cast, pool, kind="rankings", format="parquet"))
    )
    completions = table.column("completions").to_pylist()
    assert [c[0]["quality"] for c in completions] == [None, 7]
    assert completions[1][1]["flags"] == ["hallucination"]


@pytest.mark.parametrize("kind", ["comparisons", "rankings", "demonstrations"])
def test_parquet_declares_every_column(cast, ranked, kind):
    import pyarrow.parquet

    rows = exported(cast, ranked, kind=kind).splitlines()
    table = pyarrow.parquet.read_table(
        io.BytesIO(exported(cast, ranked, kind=kind, format="parquet"))
    )
    assert table.num_rows == len(rows)
    if rows:
        assert table.column_names == list(json.loads(rows[0]))


def test_a_cell_that_a_spreadsheet_would_run_is_defused(cast, make_pool):
    pool = make_pool(tasks=0)
    row = line("x")
    row["completions"][0]["text"] = "=1+1"
    cast.ada.post(f"pools/{pool.pk}/import/", b"".join(as_lines(row)))
    rank(cast.ben, pool)
    cells = csv.reader(io.StringIO(exported(cast, pool, format="csv").decode()))
    values = [cell for row in cells for cell in row]
    assert "'=1+1" in values
    assert "=1+1" not in values


def test_an_empty_pool_exports_empty_files(cast, make_pool):
    pool = make_pool(tasks=0)
    for format_ in ("jsonl", "csv", "trl"):
        assert exported(cast, pool, format=format_) == b""
    assert exported(cast, pool, format="parquet").startswith(b"PAR1")


@pytest.mark.parametrize(
    "query",
    [{"kind": "x"}, {"format": "x"}, {"labelers": "x"}, {"kind": "rankings", "format": "trl"}],
)
def test_an_unknown_export_is_refused(cast, pool, query):
    answer = cast.rob.get(f"pools/{pool.pk}/export/", **query)
    assert (answer.status_code, error_code(answer)) == (400, "invalid")


def test_only_the_hash_of_a_token_is_stored(cast):
    digests = list(ApiToken.objects.values_list("digest", flat=True))
    assert len(digests) == 4
    assert not any(cast.ada.token in digest for digest in digests)


def test_without_a_valid_token_nothing_answers(cast, pool):
    assert Client().get("/api/v1/pools/").status_code == 401
    wrong = Client().get("/api/v1/pools/", headers={"Authorization": "Bearer nonsense"})
    assert (wrong.status_code, error_code(wrong)) == (401, "authentication_failed")
    ApiToken.objects.filter(user=cast.ada.user).update(revoked_at="2026-01-01T00:00Z")
    assert cast.ada.get("pools/").status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        "{",
        '{"temperature": 1e400}',
        "[" * 5000 + "]" * 5000,
        '{"name": "a\\u0000b"}',
        '{"name": "\\ud800"}',
        '{"a": NaN}',
        "[]",
        "5",
    ],
)
def test_hostile_json_is_a_coded_400(cast, body):
    answer = cast.ada.post("pools/", body)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"code", "message", "data"}


def test_json_in_a_slow_codec_is_refused(cast):
    body = b'{"name":"' + b"a" * 300_000 + b'"}-' + b"a" * 300_000
    answer = cast.ada.http.post(
        "/api/v1/pools/",
        body,
        content_type="application/json; charset=punycode",
        headers={"Authorization": f"Bearer {cast.ada.token}"},
    )
    assert (answer.status_code, error_code(answer)) == (400, "parse_error")


def test_a_body_too_large_says_so(cast, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    answer = cast.ada.post("pools/", {"name": "x" * 2000})
    assert (answer.status_code, error_code(answer)) == (413, "too_large")


@pytest.mark.parametrize("path", ["pools", "nothing/", "pools/-1/", "assignments/1/submit/"])
def test_an_address_that_is_none_has_an_error_body(cast, path):
    answer = cast.ada.post(path)
    assert (answer.status_code, error_code(answer)) == (404, "not_found")


def test_a_nul_in_a_query_is_a_400(cast):
    answer = cast.ada.http.get("/api/v1/runs/?after=%00")
    assert (answer.status_code, error_code(answer)) == (400, "bad_request")


def test_an_id_wins_over_a_name_that_looks_like_it(cast, make_pool):
    first = make_pool(tasks=1, name="first")
    make_pool(tasks=1, name=str(first.pk))
    task = cast.ben.post("assignments/next/", {"pool": first.pk}).json()
    assert task["pool"] == "first"


def test_what_is_not_there_has_an_error_body(cast):
    answer = cast.ada.get("pools/999/")
    assert (answer.status_code, error_code(answer)) == (404, "not_found")
    wrong = cast.ada.http.delete(
        "/api/v1/pools/", headers={"Authorization": f"Bearer {cast.ada.token}"}
    )
    assert (wrong.status_code, error_code(wrong)) == (405, "method_not_allowed")


def test_the_schema_names_every_address(cast):
    import yaml

    schema = yaml.safe_load(cast.ada.get("schema/").content)
    for path in (
        "pools/", "pools/{pool_id}/", "pools/{pool_id}/import/", "pools/{pool_id}/sample/",
        "pools/{pool_id}/export/", "assignments/next/", "assignments/{assignment_id}/submit/",
        "assignments/{assignment_id}/draft/", "assignments/{assignment_id}/skip/",
        "assignments/{assignment_id}/heartbeat/", "demonstrations/", "demonstrations/next/",
        "demonstrations/skip/", "runs/", "runs/{run_id}/",
        "runs/{run_id}/events/", "runs/{run_id}/cancel/", "models/", "models/{model_id}/promote/",
    ):  # fmt: skip
        assert f"/api/v1/{path}" in schema["paths"], path


def test_the_schema_is_valid_openapi(cast):
    import yaml
    from drf_spectacular.validation import validate_schema

    validate_schema(yaml.safe_load(cast.ada.get("schema/").content))
