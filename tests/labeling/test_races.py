"""Many labelers at once: overlap is exact, nothing is counted twice, nothing is lost."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.db.models import Count

from labeling import services
from labeling.errors import LabelingError
from labeling.models import Comparison, Demonstration, Ranking, Slot, Task, Writing
from tests.conftest import as_lines, line

LABELERS = 8
TASKS = 6
OVERLAP = 3


@pytest.fixture
def crowd(transactional_db):
    pool = services.create_pool(name="race", overlap=OVERLAP)
    services.import_prompts(pool, as_lines(*(line(f"prompt {n}") for n in range(TASKS))))
    people = [
        services.create_user(username=f"p{n}", password=None, role="labeler")
        for n in range(LABELERS)
    ]
    return pool, people


def in_threads(work, arguments):
    """Run ``work`` at once for all ``arguments``, each thread with a connection of its own."""
    barrier = threading.Barrier(len(arguments))

    def run(argument):
        try:
            barrier.wait()
            return work(argument)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(arguments)) as threads:
        return list(threads.map(run, arguments))


def rank_all(labeler, pool) -> int:
    import uuid

    done = 0
    while assignment := services.lease_next(labeler, pool=pool):
        body = {
            "lease_token": assignment.lease_token,
            "submission_id": uuid.uuid4(),
            "ranks": dict(zip("ABCD", [1, 2, 3, 4], strict=True)),
        }
        services.submit_ranking(labeler, assignment.pk, **body)
        services.submit_ranking(labeler, assignment.pk, **body)
        done += 1
    return done


def test_overlap_is_exact_when_everybody_works_at_once(crowd):
    pool, people = crowd
    done = in_threads(lambda person: rank_all(person, pool), people)
    assert sum(done) == TASKS * OVERLAP
    per_task = Task.objects.annotate(n=Count("rankings")).values_list("n", flat=True)
    assert list(per_task) == [OVERLAP] * TASKS
    assert Comparison.objects.count() == TASKS * OVERLAP * 6
    assert Slot.objects.exclude(state="done").count() == 0


def test_one_labeler_in_many_tabs_holds_one_task(crowd):
    pool, people = crowd
    got = in_threads(lambda _: services.lease_next(people[0], pool=pool).pk, list(range(6)))
    assert len(set(got)) == 1
    assert Slot.objects.filter(state="leased").count() == 1


def test_a_double_click_stores_one_ranking(crowd):
    import uuid

    pool, people = crowd
    assignment = services.lease_next(people[0], pool=pool)
    body = {
        "lease_token": assignment.lease_token,
        "submission_id": uuid.uuid4(),
        "ranks": dict(zip("ABCD", [1, 2, 3, 4], strict=True)),
    }
    answers = in_threads(
        lambda _: services.submit_ranking(people[0], assignment.pk, **body), list(range(6))
    )
    assert len(set(answers)) == 1
    assert Ranking.objects.count() == 1


def test_one_submission_id_on_two_assignments_at_once_is_one_ranking(crowd):
    import uuid

    pool, people = crowd
    other = services.create_pool(name="other")
    services.import_prompts(other, as_lines(line("elsewhere")))
    held = [services.lease_next(people[0], pool=p) for p in (pool, other)]
    submission_id = uuid.uuid4()

    def act(assignment):
        ranks = dict(zip("ABCD", [1, 2, 3, 4], strict=True))
        try:
            services.submit_ranking(
                people[0], assignment.pk, lease_token=assignment.lease_token,
                submission_id=submission_id, ranks=ranks,
            )  # fmt: skip
        except LabelingError as error:
            return error.code
        return "stored"

    assert sorted(in_threads(act, held)) == ["stored", "submission_conflict"]


def test_next_and_submit_of_one_labeler_at_once_do_not_block_each_other(crowd):
    import uuid

    pool, people = crowd
    for _ in range(TASKS):
        assignment = services.lease_next(people[0], pool=pool)

        def act(submits, assignment=assignment):
            if not submits:
                return services.lease_next(people[0], pool=pool) is not None
            ranks = dict(zip("ABCD", [1, 2, 3, 4], strict=True))
            return services.submit_ranking(
                people[0], assignment.pk, lease_token=assignment.lease_token,
                submission_id=uuid.uuid4(), ranks=ranks,
            ).status == "counted"  # fmt: skip

        submitted, *_ = in_threads(act, [1, 0, 0])
        assert submitted
    assert Ranking.objects.filter(labeler=people[0]).count() == TASKS


def test_submit_and_skip_at_once_end_in_one_of_them(crowd):
    import uuid

    pool, people = crowd
    assignment = services.lease_next(people[0], pool=pool)
    token = assignment.lease_token

    def act(which):
        try:
            if which:
                services.skip_assignment(
                    people[0], assignment.pk, lease_token=token, reason="unclear"
                )
            else:
                services.submit_ranking(
                    people[0], assignment.pk, lease_token=token, submission_id=uuid.uuid4(),
                    ranks=dict(zip("ABCD", [1, 2, 3, 4], strict=True)),
                )  # fmt: skip
        except LabelingError:
            return "refused"
        return "done"

    assert sorted(in_threads(act, [0, 1])) == ["done", "refused"]
    slot = Slot.objects.get(pk=assignment.slot_id)
    assert (slot.state == "done") == Ranking.objects.exists()


def test_two_imports_of_one_file_add_it_once(crowd):
    pool, _ = crowd
    rows = as_lines(*(line(f"new {n}") for n in range(20)))
    reports = in_threads(lambda _: services.import_prompts(pool, rows), [0, 1])
    assert sorted(r.accepted for r in reports) == [0, 20]
    assert sorted(r.duplicates for r in reports) == [0, 20]


def test_one_labeler_in_many_tabs_is_handed_one_prompt_to_write_for(crowd):
    pool, people = crowd
    got = in_threads(lambda _: services.next_writing(people[0], pool=pool).pk, list(range(6)))
    assert len(set(got)) == 1
    assert Writing.objects.count() == 1


def test_a_double_click_stores_one_demonstration(crowd):
    import uuid

    pool, people = crowd
    handle, submission_id = services.next_writing(people[0], pool=pool).pk, uuid.uuid4()

    def submit(_):
        return services.submit_demonstration(
            people[0], handle, submission_id=submission_id, text="once"
        ).pk

    assert len(set(in_threads(submit, list(range(6))))) == 1
    assert Demonstration.objects.count() == 1


def test_writing_and_skipping_at_once_end_in_one_of_them(crowd):
    import uuid

    pool, people = crowd
    handle = services.next_writing(people[0], pool=pool).pk

    def act(skips):
        try:
            if skips:
                services.skip_writing(people[0], handle, reason="unclear")
            else:
                services.submit_demonstration(
                    people[0], handle, submission_id=uuid.uuid4(), text="words"
                )
        except LabelingError as error:
            return error.code
        return "done"

    # Two answers and two skips: whoever comes first decides.
    assert sorted(in_threads(act, [0, 1, 0, 1])) == ["assignment_closed"] * 3 + ["done"]
    submitted = Writing.objects.get().state == "submitted"
    assert Demonstration.objects.count() == submitted


def test_everybody_writes_for_every_prompt_once(crowd):
    import uuid

    pool, people = crowd

    def write_all(labeler):
        while writing := services.next_writing(labeler, pool=pool):
            services.submit_demonstration(
                labeler, writing.pk, submission_id=uuid.uuid4(), text="same"
            )

    in_threads(write_all, people)
    assert Demonstration.objects.count() == TASKS * LABELERS
