"""Quality figures as a worker stored them, arranged to be read. For reviewers alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.db.models import QuerySet

from labeling.models import Pool, QualityFigure, QualityReport

Named = dict[str, QualityFigure]
Name = QualityFigure.Name
OF_POOL = [Name.PAIRWISE, Name.TAU, Name.ALPHA, Name.POSITION, Name.LENGTH]
OF_LABELER = [Name.PAIRWISE, Name.TAU, Name.RELIABILITY, Name.POSITION, Name.LENGTH]


@dataclass
class Section:
    """The figures of people, or of simulated labelers, in one pool: by name of the figure."""

    population: str
    label: str
    pool: Named = field(default_factory=dict)
    guidelines: dict[str, Named] = field(default_factory=dict)
    labelers: dict[str, Named] = field(default_factory=dict)


def quality_of(pool: Pool) -> QualityReport | None:
    return QualityReport.objects.filter(pool=pool).select_related("pool").first()


def quality_reports() -> QuerySet[QualityReport]:
    return QualityReport.objects.select_related("pool")


def quality_sections(report: QualityReport) -> list[Section]:
    """One section for people and one for simulated labelers, where there are any."""
    sections: dict[str, Section] = {}
    rows = report.figures.select_related("labeler", "guideline_version").order_by(
        "population", "-guideline_version__number", "labeler__username", "pk"
    )
    for figure in rows:
        population = QualityFigure.Population(figure.population)
        section = sections.setdefault(
            population.value, Section(population.value, str(population.label))
        )
        _place(section, figure)[figure.name] = figure
    return list(sections.values())


def _place(section: Section, figure: QualityFigure) -> Named:
    if figure.labeler is not None:
        return section.labelers.setdefault(figure.labeler.username, {})
    if figure.guideline_version is not None:
        number = f"v{figure.guideline_version.number}"
        return section.guidelines.setdefault(number, {})
    return section.pool
