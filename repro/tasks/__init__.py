"""The three tasks: what measuring an experiment needs to know about its data, its network and its evaluation."""

from repro.experiments import Experiment
from repro.settings import Settings
from repro.tasks.task import Task


def task_for(experiment: Experiment, settings: Settings) -> Task:
    """Build the task of an experiment. Each task is imported when it is needed, with its libraries."""
    if experiment.dataset == "coco":
        from repro.tasks.detection import Detection

        return Detection(experiment, settings)
    if experiment.dataset == "imagenet":
        from repro.tasks.classification import Classification

        return Classification(experiment, settings)
    from repro.tasks.video import VideoClassification

    return VideoClassification(experiment, settings)
