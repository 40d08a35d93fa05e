"""Rules of the house that no linter can name. Each is shown to catch a planted violation."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("config", "labeling", "training")
FACES = re.compile(
    r"(urls|health|middleware|error_pages|forms)\.py$"
    r"|/(views|api|admin|management|templatetags)/"
)
MAX_FILE_LINES = {"training/rlhf": 500, "": 450}
MAX_FUNCTION_LINES = 60


def sources() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if "/migrations/" not in name:
                yield name, path.read_text(encoding="utf-8")


def http_below_the_faces(name: str, source: str) -> list[str]:
    if FACES.search(name):
        return []
    imported = re.findall(r"^\s*(?:from|import) (django\.(?:http|shortcuts)\S*)", source, re.M)
    return [f"{name}: {module}" for module in imported]


def states_written_elsewhere(name: str, source: str) -> list[str]:
    """``x.state = …``, ``update(state=…)`` and ``update(status=…)`` outside lifecycle.py.

    The trainer knows no database; what its libraries call a state is another thing.
    """
    if name.endswith("/lifecycle.py") or name.startswith("training/rlhf/"):
        return []
    found = []
    for node in ast.walk(ast.parse(source)):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(t, ast.Attribute) and t.attr in ("state", "status") for t in targets):
            found.append(f"{name}:{node.lineno}")
        is_update = (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "update"
        )
        if is_update and {k.arg for k in node.keywords} & {"state", "status"}:
            found.append(f"{name}:{node.lineno}")
    return found


# The one place, and only what the sanitiser let through (docs/decisions/0008).
SANITISED = {
    "labeling/templatetags/podium.py": r"import SafeString, mark_safe|mark_safe\(sanitise\("
}


def text_marked_safe(name: str, source: str) -> list[str]:
    if name in SANITISED:
        source = re.sub(SANITISED[name], "", source)
    found = re.findall(r"mark_safe|SafeString\(|\|\s*safe\b|autoescape off|\son\w+=\"", source)
    return [f"{name}: {match.strip()}" for match in found]


def dangerous_loading(name: str, source: str) -> list[str]:
    patterns = r"trust_remote_code\s*=\s*True|import pickle|pickle\.load|weights_only\s*=\s*False"
    return [f"{name}: {match}" for match in re.findall(patterns, source)]


def oversized(name: str, source: str) -> list[str]:
    limit = next(lines for prefix, lines in MAX_FILE_LINES.items() if name.startswith(prefix))
    length = source.count("\n")
    found = [f"{name}: {length} lines"] if length > limit else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                found.append(f"{name}: {node.name} has {lines} lines")
    return found


RULES = {
    http_below_the_faces: ("labeling/services.py", "from django.http import Http404\n"),
    states_written_elsewhere: ("labeling/services.py", "slot.state = 'done'\n"),
    text_marked_safe: ("labeling/views/ranking.py", "html = mark_safe(text)\n"),
    dangerous_loading: ("training/rlhf/models.py", "load(trust_remote_code=True)\n"),
    oversized: ("labeling/x.py", "def f():\n" + "    x = 1\n" * 61),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds_and_would_notice(rule):
    assert rule(*RULES[rule]), "the rule does not catch its planted violation"
    assert [fault for name, source in sources() for fault in rule(name, source)] == []


def test_the_planted_update_is_caught_too():
    assert states_written_elsewhere("x.py", "Run.objects.update(state='failed')")
    assert not states_written_elsewhere("training/lifecycle.py", "run.state = 1")


def test_only_what_is_sanitised_may_be_marked_safe_and_only_in_one_place():
    assert text_marked_safe("labeling/views/ranking.py", "mark_safe(sanitise(text))")
    for name in SANITISED:
        assert text_marked_safe(name, "mark_safe(text)")
        assert not text_marked_safe(name, "mark_safe(sanitise(text))")


def test_no_template_marks_text_as_safe_or_has_inline_handlers():
    faults = []
    for path in sorted((ROOT / "templates").rglob("*.html")):
        faults += text_marked_safe(path.name, path.read_text(encoding="utf-8"))
    assert faults == []


def test_every_api_view_names_its_permission():
    from django.urls import get_resolver
    from rest_framework.views import APIView

    views = set()

    def walk(patterns):
        for pattern in patterns:
            if hasattr(pattern, "url_patterns"):
                walk(pattern.url_patterns)
            elif issubclass(view := getattr(pattern.callback, "cls", object), APIView):
                views.add(view)

    walk(get_resolver().url_patterns)
    ours = {view for view in views if view.__module__.startswith(PACKAGES)}
    assert len(ours) >= 16
    assert [view for view in ours if "permission_classes" not in vars(view)] == []


def test_every_task_has_an_explicit_name_and_is_short():
    from config.celery import app

    ours = {n: t for n, t in app.tasks.items() if t.__module__.startswith(("labeling", "training"))}
    assert set(ours) == {"training.run_next"}
    for task in ours.values():
        assert len(inspect.getsource(task.run).splitlines()) <= 15


def test_refusals_have_unique_codes():
    from labeling import errors as labeling_errors
    from training import errors as training_errors

    classes = {
        error
        for module in (labeling_errors, training_errors)
        for error in vars(module).values()
        if inspect.isclass(error) and issubclass(error, labeling_errors.LabelingError)
    }
    codes = [error.code for error in classes]
    assert len(codes) == len(set(codes)) > 15


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


BLOCK_DJANGO = "import sys; sys.modules['django'] = sys.modules['celery'] = None; "


@pytest.mark.parametrize(
    "module", ["training.jobs.folder", "training.jobs.spec", "training.jobs.world"]
)
def test_the_contract_needs_no_django(module):
    done = run_python(f"{BLOCK_DJANGO}import {module}")
    assert done.returncode == 0, done.stderr


def test_the_web_process_is_free_of_torch():
    heavy = "{'torch', 'transformers', 'trl', 'datasets', 'pyarrow', 'numpy'}"
    done = run_python(
        "import sys, config.wsgi; from django.urls import get_resolver\n"
        f"get_resolver().url_patterns; print(sorted({heavy} & set(sys.modules)))"
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_architecture_page_names_every_module():
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./]+?)/?`", page))
    missing = []
    for package in (*PACKAGES, "training/jobs", "training/rlhf"):
        for path in sorted((ROOT / package).iterdir()):
            if path.name.startswith("__") and path.name != "__main__.py":
                continue
            is_named = {path.name, f"{package}/{path.name}"} & named
            if not is_named and (path.suffix == ".py" or path.is_dir()):
                missing.append(f"{package}/{path.name}")
    assert missing == []
