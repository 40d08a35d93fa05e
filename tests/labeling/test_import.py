"""Import of JSON Lines: good lines land, bad ones are told, nothing is added twice."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from labeling import services
from labeling.execution.lines import LineError, parse_line
from labeling.models import Completion, Demonstration, Prompt, Task
from tests.conftest import as_lines, line, real_data


def reject_code(row) -> str:
    raw = row if isinstance(row, bytes) else as_lines(row)[0]
    with pytest.raises(LineError) as refused:
        parse_line(1, raw)
    return refused.value.code


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (b'{"prompt": "x"', "broken_json"),
        (b"[" * 100_000, "broken_json"),
        (b'{"prompt": "caf\xe9"}', "not_utf8"),
        (b"[]", "wrong_type"),
        (b'"text"', "wrong_type"),
        ({"text": "hello"}, "missing_prompt"),
        ({"prompt": None}, "missing_prompt"),
        ('{"prompt": "x"}'.encode("utf-16"), "not_utf8"),
        (b'{"prompt": "' + b"x" * 2**24 + b'"}', "line_too_long"),
        ({"prompt": "x", "completion": [{"text": "y"}] * 4}, "unknown_field"),
        ({"prompt": "x", "refrence": "y"}, "unknown_field"),
        ({"prompt": "x", "messages": [{"role": "user", "content": "x"}]}, "ambiguous_prompt"),
        ({"prompt": ""}, "empty_text"),
        ({"prompt": " \n\t"}, "empty_text"),
        ({"prompt": 5}, "wrong_type"),
        ({"prompt": "x" * 1_000_000}, "text_too_long"),
        ({"prompt": "a\0b"}, "nul_character"),
        (b'{"prompt": "\\ud800"}', "lone_surrogate"),
        ({"messages": []}, "wrong_type"),
        ({"messages": ["hello"]}, "wrong_type"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "wrong_role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "wrong_role"),
        ({"messages": [{"role": "user"}]}, "missing_text"),
        (line("x", 3), "completion_count"),
        (line("x", 10), "completion_count"),
        ({"prompt": "x", "completions": {}}, "wrong_type"),
        ({"prompt": "x", "completions": ["a", "b", "c", "d"]}, "wrong_type"),
        ({"prompt": "x", "completions": [{"text": t} for t in ("a", "b", "c", "")]}, "empty_text"),
        (line("x") | {"completions": [{"text": "a\0"}] * 4}, "nul_character"),
        (line("x") | {"completions": [{"text": "y" * 1_000_000}] * 4}, "text_too_long"),
        ({"prompt": "x", "use_case": 3}, "wrong_type"),
        ({"prompt": "x", "author": "y" * 201}, "text_too_long"),
        ({"prompt": "x", "reference": ""}, "empty_text"),
    ],
)
def test_a_bad_line_has_a_code(row, code):
    assert reject_code(row) == code


@pytest.mark.django_db
def test_good_lines_land_and_bad_ones_are_reported_by_number(make_pool):
    pool = make_pool(tasks=0)
    rows = as_lines(
        line("one"), "{broken", line("two", 9), {"prompt": "three"}, "", line("four", 3)
    )
    report = services.import_prompts(pool, rows)
    assert (report.accepted, report.duplicates, report.rejected) == (3, 0, 2)
    assert [(e["line"], e["code"]) for e in report.errors] == [
        (2, "broken_json"),
        (6, "completion_count"),
    ]
    assert all(e["message"] for e in report.errors)
    assert list(Task.objects.values_list("completion_count", flat=True)) == [4, 9]
    assert Prompt.objects.filter(pool=pool).count() == 3


@pytest.mark.django_db
def test_the_same_file_again_adds_nothing(make_pool):
    pool = make_pool(tasks=0)
    rows = as_lines(
        line("one", reference="good"), {"prompt": "two"}, line("one"), {"prompt": "two"}
    )
    first = services.import_prompts(pool, rows)
    counts = [model.objects.count() for model in (Prompt, Task, Completion, Demonstration)]
    again = services.import_prompts(pool, rows)
    assert (first.accepted, first.duplicates) == (2, 2)
    assert (again.accepted, again.duplicates, again.rejected) == (0, 4, 0)
    assert counts == [model.objects.count() for model in (Prompt, Task, Completion, Demonstration)]


@pytest.mark.django_db
def test_other_completions_for_a_prompt_that_has_a_task_are_refused_not_dropped(make_pool):
    pool = make_pool(tasks=0)
    services.import_prompts(pool, as_lines(line("one", 4)))
    report = services.import_prompts(pool, as_lines(line("one", 5)))
    assert [e["code"] for e in report.errors] == ["other_completions"]
    assert Completion.objects.count() == 4


@pytest.mark.django_db
def test_completions_can_come_after_their_prompt(make_pool):
    pool = make_pool(tasks=0)
    services.import_prompts(pool, as_lines({"prompt": "one"}))
    report = services.import_prompts(pool, as_lines(line("one")))
    assert (report.accepted, Prompt.objects.count(), Task.objects.count()) == (1, 1, 1)


@pytest.mark.django_db
def test_a_reference_becomes_a_demonstration(make_pool):
    pool = make_pool(tasks=0)
    services.import_prompts(pool, as_lines(line("one", reference="as it should be")))
    assert Demonstration.objects.get().text == "as it should be"


@pytest.mark.django_db
def test_columns_of_ones_own_are_let_pass(make_pool):
    pool = make_pool(tasks=0)
    row = line("one") | {"dataset": "mine", "judge_score": 0.5}
    row["completions"][0]["judge_score"] = 1
    assert services.import_prompts(pool, as_lines(row)).accepted == 1


def test_batches_are_bounded_in_text_as_well_as_in_lines():
    from labeling.execution.imports import BATCH_CHARACTERS, _batches

    def parsed(count, size):
        row = as_lines({"prompt": "x" * size})[0]
        return [parse_line(n, row) for n in range(count)]

    assert [len(b) for b in _batches(iter(parsed(450, 10)))] == [200, 200, 50]
    large = BATCH_CHARACTERS // 8
    assert [len(b) for b in _batches(iter(parsed(18, large)))] == [8, 8, 2]


@pytest.mark.django_db
def test_more_than_one_batch_and_a_byte_order_mark(make_pool):
    pool = make_pool(tasks=0)
    rows = as_lines(*({"prompt": f"prompt {n}"} for n in range(450)))
    rows[0] = b"\xef\xbb\xbf" + rows[0]
    assert services.import_prompts(pool, rows).accepted == 450


class TestRoundTrip(TestCase):
    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(
                str.strip
            ),
            min_size=4,
            max_size=9,
        )
    )
    def test_any_text_is_stored_and_exported_byte_for_byte(self, texts):
        pool = services.create_pool(name="round trip")
        row = {"prompt": texts[0], "completions": [{"text": text} for text in texts]}
        report = services.import_prompts(pool, [json.dumps(row).encode()])
        assert report.accepted == 1
        assert Prompt.objects.get(pool=pool).messages[0]["content"] == texts[0]
        stored = Completion.objects.filter(task__prompt__pool=pool).order_by("number")
        assert list(stored.values_list("text", flat=True)) == texts


@pytest.mark.django_db
def test_the_instructgpt_prompts_import_with_nine_completions_each(make_pool):
    rows = [json.loads(raw) for raw in real_data("instructgpt_tldr.jsonl").open(encoding="utf-8")]
    rows = [row | {"completions": row["completions"][:9]} for row in rows]
    pool = make_pool(tasks=0, completions_per_prompt=9)
    report = services.import_prompts(pool, as_lines(*rows))
    assert (report.accepted, report.rejected) == (len(rows), 0)
    assert Task.objects.filter(completion_count=9).count() == len(rows)


@pytest.mark.parametrize(
    ("row", "asked", "wanted"),
    [
        (
            {"instruction": "Sort them.", "input": "2, 1", "output": "1, 2"},
            [("user", "Sort them.\n\n2, 1")],
            "1, 2",
        ),
        ({"instruction": "Greet.", "input": "", "output": "Hi"}, [("user", "Greet.")], "Hi"),
        ({"prompt": "Greet.", "completion": "Hi"}, [("user", "Greet.")], "Hi"),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            [("user", "a")],
            "b",
        ),
    ],
    ids=["alpaca", "alpaca without input", "prompt and completion", "chat"],
)
def test_demonstrations_of_other_formats_become_prompts_with_a_reference(row, asked, wanted):
    line = parse_line(1, json.dumps(row).encode())
    assert [(turn["role"], turn["content"]) for turn in line.messages] == asked
    assert line.reference == wanted


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"instruction": "Sort.", "output": ""}, "empty_text"),
        ({"instruction": "", "output": "x"}, "empty_text"),
        ({"instruction": 3, "output": "x"}, "wrong_type"),
        ({"instruction": "Sort.", "input": ["2"], "output": "x"}, "wrong_type"),
        ({"instruction": "Sort."}, "missing_prompt"),
        ({"prompt": "x", "completion": " "}, "empty_text"),
        ({"prompt": "x", "completion": 3}, "wrong_type"),
        ({"prompt": "x", "completion": ["y"]}, "unknown_field"),
    ],
)
def test_a_bad_row_of_another_format_has_a_code_too(row, code):
    assert reject_code(row) == code


@pytest.mark.django_db
def test_the_alpaca_seed_tasks_import_as_demonstrations(make_pool):
    pool = make_pool(tasks=0)
    with real_data("alpaca_seed_tasks.jsonl").open("rb") as file:
        outcome = services.import_prompts(pool, file)
    assert outcome.rejected == 0
    assert outcome.accepted + outcome.duplicates == 175
    kept = Demonstration.objects.filter(prompt__pool=pool)
    assert kept.count() == outcome.accepted
