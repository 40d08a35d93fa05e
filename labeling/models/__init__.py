"""The label store: who ranked what, under which settings, and what follows from it."""

from labeling.models.assignment import Assignment, Comparison, RankedItem, Ranking
from labeling.models.demonstration import Demonstration, Writing
from labeling.models.pool import GuidelineVersion, Pool, default_rubric
from labeling.models.prompt import Prompt, Round
from labeling.models.task import Completion, Slot, Task
from labeling.models.user import ApiToken, User

__all__ = [
    "ApiToken",
    "Assignment",
    "Comparison",
    "Completion",
    "Demonstration",
    "GuidelineVersion",
    "Pool",
    "Prompt",
    "RankedItem",
    "Ranking",
    "Round",
    "Slot",
    "Task",
    "User",
    "Writing",
    "default_rubric",
]
