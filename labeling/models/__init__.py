"""The label store: who ranked what, under which settings, and what follows from it."""

from labeling.models.assignment import (
    Assignment,
    Comparison,
    RankedItem,
    Ranking,
    Revision,
)
from labeling.models.care import Topic
from labeling.models.demonstration import Demonstration, FormerText, Writing
from labeling.models.flag import PromptFlag
from labeling.models.pool import (
    GuidelineReading,
    GuidelineVersion,
    Pool,
    RubricVersion,
    default_rubric,
)
from labeling.models.prompt import Prompt, Round
from labeling.models.proposal import USE_CASES, Application, Proposal
from labeling.models.qualification import ControlTask, Qualification, QualificationItem, Trial
from labeling.models.quality import (
    AdjudicatedItem,
    Adjudication,
    QualityFigure,
    QualityReport,
)
from labeling.models.task import Completion, Slot, Task
from labeling.models.user import ApiToken, User

__all__ = [
    "USE_CASES",
    "AdjudicatedItem",
    "Adjudication",
    "ApiToken",
    "Application",
    "Assignment",
    "Comparison",
    "Completion",
    "ControlTask",
    "Demonstration",
    "FormerText",
    "GuidelineReading",
    "GuidelineVersion",
    "Pool",
    "Prompt",
    "PromptFlag",
    "Proposal",
    "Qualification",
    "QualificationItem",
    "QualityFigure",
    "QualityReport",
    "RankedItem",
    "Ranking",
    "Revision",
    "Round",
    "RubricVersion",
    "Slot",
    "Task",
    "Topic",
    "Trial",
    "User",
    "Writing",
    "default_rubric",
]
