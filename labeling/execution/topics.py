"""Topics of prompts as an import brings them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labeling.models import Prompt, Topic


def add_topics(prompts_of: Mapping[str, Sequence[Prompt]]) -> None:
    """Say of stored prompts what they are about, besides what is known; by name of the topic.

    A name that is new becomes a topic, which is not sensitive until an admin says so.
    """
    known = Topic.objects.in_bulk(prompts_of, field_name="name")
    for name, prompts in prompts_of.items():
        topic = known.get(name)
        if topic is None:
            label = name.replace("-", " ").capitalize()
            topic, _ = Topic.objects.get_or_create(name=name, defaults={"label": label})
        topic.prompts.add(*prompts)
