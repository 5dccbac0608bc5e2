"""The three tasks: what measuring an experiment needs to know about its data, its network and its evaluation.

A fourth one is a module beside these, derived from `task.Task`, and a branch below. Its data set has an entry in
`experiments.specification.Experiment.dataset`, `experiments.mini`, `experiments.description`, `data.sources`,
`evaluation.EVALUATORS` and `paper.published.DATASETS`; a new kind of network also in `complexity.networks` and
`conversion.networks`.
"""

from repro.experiments import Experiment
from repro.settings import Settings
from repro.tasks.task import Task


def task_for(experiment: Experiment, settings: Settings) -> Task:
    """Build the task of an experiment. Each task is imported when it is needed, with its libraries.

    Raises:
        ValueError: no task knows its data set.
    """
    if experiment.dataset == "coco":
        from repro.tasks.detection import Detection

        return Detection(experiment, settings)
    if experiment.dataset == "imagenet":
        from repro.tasks.classification import Classification

        return Classification(experiment, settings)
    if experiment.dataset == "kinetics":
        from repro.tasks.video import VideoClassification

        return VideoClassification(experiment, settings)
    raise ValueError(f"no task knows the data set {experiment.dataset!r}")
