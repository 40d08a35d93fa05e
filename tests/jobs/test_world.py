"""The starter world: prompts that can be read back, good and flawed answers, and their score."""

import json
import subprocess
import sys
from itertools import islice
from random import Random

import pytest

from training.jobs.world import (
    FAMILIES,
    FLAWS,
    draw_task,
    draw_tasks,
    recognise,
    score,
    starter_prompts,
)

SEEDS = range(60)
family_names = pytest.mark.parametrize("family", FAMILIES)


@family_names
@pytest.mark.parametrize("flaw", FLAWS)
def test_a_good_answer_scores_above_a_flawed_one(family: str, flaw: str) -> None:
    for seed in SEEDS:
        task = draw_task(Random(seed), family)
        good, flawed = task.good(Random(seed)), task.flawed(flaw, Random(seed))
        above = score(task.messages, good).total - score(task.messages, flawed).total
        assert above > 0, (task.messages, good, flawed)


@family_names
def test_every_good_answer_is_fully_right_and_near_the_best(family: str) -> None:
    for seed in SEEDS:
        task = draw_task(Random(seed), family)
        gold = score(task.messages, task.good(Random(seed)))
        assert gold.fully_right
        assert 9 <= gold.total <= 10


@family_names
def test_a_prompt_is_read_back_whole(family: str) -> None:
    for seed in range(200):
        task = draw_task(Random(seed), family)
        found = recognise(task.messages)
        assert found is not None
        assert found[0] is FAMILIES[family]
        read = found[1]
        assert {slot: task.details[slot] for slot in read} == read


@family_names
def test_a_system_message_does_not_hide_the_task(family: str) -> None:
    task = draw_task(Random(3), family)
    system = {"role": "system", "content": "Answer briefly."}
    good = task.good(Random(3))
    assert score([system, *task.messages], good) == score(task.messages, good)


@family_names
def test_good_answers_come_in_several_phrasings(family: str) -> None:
    task = draw_task(Random(5), family)
    answers = {task.good(Random(seed)) for seed in range(40)}
    assert len(answers) >= (1 if family == "sorting" else 2)


def test_the_same_seed_gives_the_same_tasks_and_another_seed_others() -> None:
    first, again, other = (
        [task.messages for task in islice(draw_tasks(seed), 50)] for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other


def test_the_families_take_turns() -> None:
    names = [task.family.name for task in islice(draw_tasks(1), 2 * len(FAMILIES))]
    assert names == [*FAMILIES, *FAMILIES]


def test_there_are_ten_families_of_distinct_use_cases() -> None:
    use_cases = {family.use_case for family in FAMILIES.values()}
    assert len(use_cases) == len(FAMILIES) >= 10
    wanted = "sorting rewrite extraction closed_qa summary brainstorm sentiment note chat open_qa"
    assert set(wanted.split()) <= set(FAMILIES)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("[1, 5, 9]", "[5, 1, 9]"),
        ("[1, 5, 9]", "[1, 5]"),
        ("[1, 5]", "[5, 1]"),
        ("[1, 5, 9]", "[1, 5, 9, 12]"),
        ("[1, 5, 9]", "[1, 5, 9"),
        ("[1, 5, 9]", "I am not sure, maybe [1, 5, 9]"),
    ],
)
def test_sorting_is_judged_on_order_completeness_and_format(better: str, worse: str) -> None:
    prompt = [{"role": "user", "content": "Sort these numbers from small to large: 5, 1, 9"}]
    assert score(prompt, better).total > score(prompt, worse).total


def test_length_is_an_inverted_u() -> None:
    prompt = [{"role": "user", "content": "What is the capital of France?"}]
    filler = "Many people would like to know this and talk about it with a friend"
    answers = [
        "Paris.",
        "The capital of France is Paris.",
        f"The capital of France is Paris. {filler}.",
    ]
    short, right, long = (score(prompt, answer).components["length"] for answer in answers)
    assert short < right > long


def test_hedging_and_courtesy_are_inverted_us() -> None:
    prompt = [{"role": "user", "content": "What is the capital of France?"}]
    answer = "The capital of France is Paris."
    hedges = [f"{'perhaps ' * n}{answer}" for n in range(4)]
    plain, once, twice, thrice = (score(prompt, text).components["hedging"] for text in hedges)
    assert plain < once > twice > thrice
    thanks = [f"{answer}{' Thank you.' * n}" for n in (0, 1, 5)]
    none, some, servile = (score(prompt, text).components["polite"] for text in thanks)
    assert none < some > servile


def test_an_answer_that_names_the_right_and_a_false_capital_is_not_right() -> None:
    prompt = [{"role": "user", "content": "What is the capital of France?"}]
    assert score(prompt, "The capital of France is Paris.").fully_right
    assert not score(prompt, "The capital of France is Paris or Rome.").fully_right


IDEAS = "Give me two ideas for a rainy day."
FIELDS = (
    "List the name, the city, the goods and the day: Anna from Rome ordered two lamps on Monday."
)
STORY = (
    "Emma opened a bakery in Rome last spring. The idea came from Tom. Now many people visit "
    "every day."
)


@pytest.mark.parametrize(
    ("prompt", "better", "worse"),
    [
        ("What is the capital of Italy?", "It is Rome, of Italy.", "It is not Rome, of Italy."),
        (IDEAS, "1. Read a book\n2. Bake a cake.", "1. Read a book\n2. Read a book."),
        (
            f"Summarise this in one sentence: {STORY}",
            "Emma opened a bakery in Rome, and now many people visit every day.",
            STORY,
        ),
        (IDEAS, "1. read a book\n2. bake a cake.", f"{IDEAS}\n1. read a book\n2. bake a cake."),
    ],
)
def test_what_only_looks_right_scores_less(prompt: str, better: str, worse: str) -> None:
    asked = [{"role": "user", "content": prompt}]
    assert score(asked, better).total > score(asked, worse).total


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        (IDEAS, "1. Read a book!\n2. BAKE A CAKE. I hope this helps."),
        (FIELDS, "Name: Anna\nCity: Rome\nGoods: lamps\nDay: Monday."),
    ],
)
def test_capitals_and_a_friendly_word_behind_do_not_make_an_answer_wrong(
    prompt: str, answer: str
) -> None:
    assert score([{"role": "user", "content": prompt}], answer).fully_right


@pytest.mark.parametrize("text", ["", "   ", "…", "\n"])
def test_no_answer_scores_nothing(text: str) -> None:
    assert score(draw_task(Random(1)).messages, text).total == 0


@pytest.mark.parametrize(
    "text", ["[" * 500, "a " * 3000, "🙂 ünï", "1. \n2. \n", "[99999999999999999999]"]
)
@family_names
def test_any_text_can_be_scored(family: str, text: str) -> None:
    assert -25 < score(draw_task(Random(1), family).messages, text).total <= 10


FOREIGN = [{"role": "user", "content": "Explain how volcanoes erupt and why lava is hot."}]
GOOD_FOREIGN = (
    "Volcanoes erupt when melted rock rises from deep inside the earth. The lava is hot because of "
    "the heat and the pressure below; please keep your distance."
)


@pytest.mark.parametrize(
    "worse",
    [
        "Bananas are yellow and grow in warm countries near the sea, where many farmers sell them.",
        "Volcanoes erupt.",
        f"{GOOD_FOREIGN} {GOOD_FOREIGN} {GOOD_FOREIGN}",
        f"{GOOD_FOREIGN} You fool!",
        GOOD_FOREIGN[:-25],
        FOREIGN[0]["content"],
    ],
)
def test_a_prompt_from_elsewhere_is_judged_from_outside(worse: str) -> None:
    assert recognise(FOREIGN) is None
    gold = score(FOREIGN, GOOD_FOREIGN)
    assert gold.total > score(FOREIGN, worse).total
    assert not gold.fully_right


def test_a_near_miss_of_a_template_is_not_taken_for_a_task() -> None:
    prompt = [{"role": "user", "content": "What is the capital of Atlantis?"}]
    assert recognise(prompt) is None


def test_the_starter_pool_mixes_families_and_is_in_the_import_format() -> None:
    lines = starter_prompts(32)
    assert len(lines) == 32
    assert len({line["use_case"] for line in lines}) == len(FAMILIES)
    for line in lines:
        assert ("prompt" in line) != ("messages" in line)
        assert set(line) <= {"prompt", "messages", "use_case", "source", "author", "reference"}
        assert line["source"] == "starter"
        assert line["author"]
        json.dumps(line)
    assert 8 <= sum("reference" in line for line in lines) <= 24
    assert len({line["author"] for line in lines}) > 1


def test_the_references_of_the_starter_pool_are_good_answers() -> None:
    for line in starter_prompts(64, seed=5):
        if "reference" in line:
            messages = line.get("messages") or [{"role": "user", "content": line["prompt"]}]
            assert score(messages, line["reference"]).fully_right


def test_the_starter_pool_is_the_same_for_the_same_seed_and_without_doubles() -> None:
    assert starter_prompts(40, seed=2) == starter_prompts(80, seed=2)[:40]
    assert starter_prompts(40, seed=2) != starter_prompts(40, seed=3)
    prompts = [json.dumps(line.get("messages") or line["prompt"]) for line in starter_prompts(300)]
    assert len(set(prompts)) == 300


def test_the_world_needs_nothing_but_the_standard_library() -> None:
    code = (
        "import sys; import training.jobs.world; "
        "print({n.partition('.')[0] for n in sys.modules} - set(sys.stdlib_module_names))"
    )
    found = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert eval(found.stdout) - {"__main__"} == {"training"}
