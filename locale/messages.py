"""The words of Podium: gather them, and compile their translations. Needs Babel, and no gettext.

    python locale/messages.py           bring every django.po up to date and write its django.mo
    python locale/messages.py --check   change nothing; fail where something is stale or missing

Gathered are calls of gettext and its kin, what refusals say, and the tags of templates. What is
stored in English and shown translated (a default, a name of a field) is marked by gettext_noop.
"""

from __future__ import annotations

import ast
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CATALOGUES = sorted(HERE.glob("*/LC_MESSAGES/django.po"))
# Programs of their own and the command line speak English.
PYTHON = ("config", "labeling", "training")
NOT_READ = re.compile(r"/(management|rlhf|jobs)/")
REFUSALS = ("labeling/errors.py", "training/errors.py", "labeling/rendering/limits.py")

SINGULAR = {"_", "gettext", "gettext_lazy", "gettext_noop"}
PLURAL = {"ngettext", "ngettext_lazy"}
CONTEXT = {"pgettext", "pgettext_lazy"}
# Of the admin (labeling/admin/base.py, config/settings.py): what is translated where it is shown.
ARGUMENTS = {
    "display": ["description"],
    "action": ["description"],
    "ask": ["title", "button", "text"],
}
SIDEBAR = {"_page", "_group"}
MODELS = {"models.Model", "AbstractUser"}
TEXT = r"""u?(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")"""
CALL = re.compile(rf"(?<!\w)(n?p?gettext|_)\(\s*({TEXT}(?:\s*,\s*{TEXT})*)")


class Words(NamedTuple):
    """What the code asks for: a msgid, its plural and its context, where it has them."""

    id: str
    plural: str | None = None
    context: str | None = None


def called(name: str, texts: list[str]) -> Words | None:
    """What a call of ``name`` with these leading literal arguments asks for."""
    if name in SINGULAR and texts:
        return Words(texts[0])
    if name in PLURAL and len(texts) > 1:
        return Words(texts[0], plural=texts[1])
    if name in CONTEXT and len(texts) > 1:
        return Words(texts[1], context=texts[0])
    if name == "npgettext" and len(texts) > 2:
        return Words(texts[1], plural=texts[2], context=texts[0])
    return None


def words_of_template(source: str) -> Iterator[Words]:
    """Of one template; Django itself turns its tags into calls."""
    for call in CALL.finditer(templatize(source)):
        texts = [ast.literal_eval(text) for text in re.findall(TEXT, call[2])]
        if words := called(call[1], texts):
            yield words


def words_of_python(source: str, refusals: set[str]) -> Iterator[Words]:
    """Of one module; ``refusals`` are classes whose first argument, or ``message``, is shown."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            texts = literals(node.args)
            name = "gettext" if name in refusals else name
            if name in SIDEBAR and texts:
                yield Words(texts[0], context="sidebar")
            if words := called(name, texts):
                yield words
            named = {keyword.arg: keyword.value for keyword in node.keywords}
            for argument in ARGUMENTS.get(name, ()):
                yield from map(Words, literals([named[argument]] if argument in named else []))
        elif isinstance(node, ast.ClassDef) and node.name in refusals:
            yield from map(Words, messages_of(node))


def words_of_models(source: str) -> Iterator[Words]:
    """Names of models and fields, and their help: labeling/apps.py has them translated."""
    for model in ast.walk(ast.parse(source)):
        bases = {ast.unparse(b) for b in model.bases} if isinstance(model, ast.ClassDef) else set()
        if "models.TextChoices" in bases:
            yield from map(Words, labels_of(model))
        if not bases & MODELS:
            continue
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", model.name).lower()
        yield from (Words(name), Words(f"{name}s"))
        for node in model.body:
            kind = ast.unparse(node.value.func) if is_call(node) else ""
            if kind.startswith("models.") and not kind.endswith("Constraint"):
                yield Words(node.targets[0].id.replace("_", " "))
                said = [k.value for k in node.value.keywords if k.arg == "help_text"]
                yield from map(Words, literals(said))


def labels_of(choices: ast.ClassDef) -> Iterator[str]:
    """As Django makes them of names where none is given."""
    for node in choices.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            yield node.targets[0].id.replace("_", " ").title()


def is_call(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)


def literals(arguments: list[ast.expr]) -> list[str]:
    """The leading arguments that are texts."""
    texts = []
    for argument in arguments:
        if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
            break
        texts.append(argument.value)
    return texts


def messages_of(refusal: ast.ClassDef) -> list[str]:
    assigned = [node for node in refusal.body if isinstance(node, ast.Assign)]
    return [
        text
        for node in assigned
        if getattr(node.targets[0], "id", "") == "message"
        for text in literals([node.value])
    ]


def names_of_refusals() -> set[str]:
    trees = [ast.parse((ROOT / name).read_text(encoding="utf-8")) for name in REFUSALS]
    return {n.name for tree in trees for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}


def gathered() -> Catalog:
    """Every msgid with the files that ask for it."""
    template = Catalog(project="Podium", fuzzy=False)
    refusals = names_of_refusals()
    for path in sources():
        name, source = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
        is_python = path.suffix == ".py"
        found = words_of_python(source, refusals) if is_python else words_of_template(source)
        named = words_of_models(source) if re.search(r"/models(/\w+)?\.py$", name) else ()
        for words in (*found, *named):
            msgid = (words.id, words.plural) if words.plural else words.id
            template.add(msgid, locations=[(name, 0)], context=words.context)
    return template


def sources() -> list[Path]:
    templates = sorted((ROOT / "templates").rglob("*.html"))
    modules = [path for package in PYTHON for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in templates + modules if not NOT_READ.search(path.as_posix())]


def updated(path: Path, template: Catalog) -> Catalog:
    """The catalogue at ``path`` with the msgids of now; what nobody asks for any more is gone."""
    catalog = read(path)
    template.creation_date = catalog.creation_date
    catalog.update(template, no_fuzzy_matching=True)
    catalog.obsolete.clear()
    return catalog


def read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=path.parts[-3], domain="django")


def as_po(catalog: Catalog) -> bytes:
    out = io.BytesIO()
    write_po(out, catalog, width=100, sort_by_file=True, include_lineno=False)
    return out.getvalue()


def as_mo(catalog: Catalog) -> bytes:
    out = io.BytesIO()
    write_mo(out, catalog)
    return out.getvalue()


def untranslated(catalog: Catalog) -> list[str]:
    return [str(m.id) for m in catalog if m.id and (m.fuzzy or not all(strings(m.string)))]


def strings(string: str | tuple[str, ...]) -> tuple[str, ...]:
    return string if isinstance(string, tuple) else (string,)


def main(arguments: list[str]) -> int:
    template, faults = gathered(), []
    for path in CATALOGUES:
        catalog = updated(path, template)
        for target, content in ((path, as_po(catalog)), (path.with_suffix(".mo"), as_mo(catalog))):
            if target.exists() and target.read_bytes() == content:
                continue
            if "--check" in arguments:
                faults.append(f"{target.relative_to(ROOT)} is stale: make messages")
            else:
                target.write_bytes(content)
        missing = untranslated(catalog)
        faults += [f"{path.relative_to(ROOT)} has no translation of: {text}" for text in missing]
        print(f"{path.relative_to(ROOT)}: {len(catalog)} messages, {len(missing)} untranslated")
    print("\n".join(faults), file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
