"""Readings: what neither the paper nor its code settles, as choices that can be run. Imports nothing heavy.

A point has one choice for each reading, a pure function that changes an experiment. The default choice is `keep`, and
an experiment under another one carries its point and choice (`Experiment.readings`): it has another hash, other cache
keys and its own records. `tables/readings.yaml` says of each point what the question is, the evidence for each choice,
and which rows it touches.

A reading is applied to an experiment as its profile runs it. One that changes nothing there does not touch it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from repro.errors import ReproError, unknown
from repro.experiments import EXPERIMENTS, Experiment, get, mini
from repro.experiments import reading_choices as choices
from repro.experiments.reading_choices import Transform, keep

#: (point, choice) of readings that are not the default ones, by point.
Readings = tuple[tuple[str, str], ...]

#: By point and choice; the default first.
POINTS: Mapping[str, Mapping[str, Transform]] = {
    "single-block-relu": {"before": keep, "after": choices.move_behind_relu},
    "nl-scale": {
        "divided": keep,
        "none": choices.change_logits(scaled=False),
        "multiplied": choices.change_logits(scaled=True, inverted=True),
    },
    "nl-start": {
        "normal": keep,
        "msra": choices.start_non_local("msra"),
        "pytorch": choices.start_non_local("default"),
    },
    "snl-bias": {"with": keep, "without": choices.leave_bias_out},
    "snl-start": {"zero": keep, "normal": choices.start_simplified_at_random},
    "scale-layer-norm": {"kept": keep, "removed": choices.leave_layer_norm_out},
    "plain-bottleneck-start": {"zero": keep, "normal": choices.start_plain_bottleneck_at_random},
    "proposals": {"2000": keep, "1000": choices.propose_1000},
    "gpus": {"8x2": keep, "4x4": choices.train_on_4_gpus},
    "frozen-statistics": {"batch": keep, "running": choices.freeze_statistics},
    "video-recipe": {"118": keep, "196": choices.train_196_epochs},
    "clip-frames": {"one-in-9": keep, "one-in-8": choices.take_one_frame_in_8},
    "inflation": {"mean": keep, "centre": choices.inflate_centre},
    "norm-weight-decay": {"none": keep, "as-all": choices.decay_batch_norm},
    "colour-jitter": {
        "factors": keep,
        "pixels": choices.change_colours("pixels"),
        "none": choices.change_colours("none"),
    },
    "attention-images": {"all": keep, "six": choices.average_over_six},
    "attention-padding": {"counted": keep, "left-out": choices.leave_padding_out},
    "attention-block": {
        "mean": keep,
        "first": choices.choose_attention_of("first"),
        "last": choices.choose_attention_of("last"),
    },
}

#: Points that say how a network is trained, or fed when it was trained here: published weights have their own.
OF_TRAINING = frozenset(
    {
        "nl-start", "snl-start", "plain-bottleneck-start", "gpus", "frozen-statistics", "video-recipe", "clip-frames",
        "inflation", "norm-weight-decay", "colour-jitter",
    }
)  # fmt: skip
#: Points that only say what is computed with a network once it is trained: such an experiment trains none of its own.
OF_EVALUATION = frozenset({"proposals", "attention-images", "attention-padding", "attention-block"})
#: Points of which nothing but the statistics of attention depends.
OF_ATTENTION = frozenset(point for point in OF_EVALUATION if point.startswith("attention-"))


def default_of(point: str) -> str:
    """The choice of a point that experiments follow."""
    return next(choice for choice, transform in POINTS[point].items() if transform is keep)


def write(readings: Iterable[tuple[str, str]]) -> str:
    """Write readings as the command line takes them: `proposals=1000`, several with commas between."""
    return ", ".join(f"{point}={choice}" for point, choice in readings)


def parse(given: Sequence[str]) -> Readings:
    """The readings that are not the default ones among texts `POINT=CHOICE`.

    Raises:
        ReproError: one has no such form, there is no such point or choice, or a point stands there twice.
    """
    chosen: dict[str, str] = {}
    for text in given:
        point, separator, choice = text.partition("=")
        if not separator:
            raise ReproError(f"--reading {text!r} is not POINT=CHOICE; `repro readings` lists the points")
        if point not in POINTS:
            raise unknown("point of --reading", point, POINTS)
        if choice not in POINTS[point]:
            raise unknown(f"choice of --reading {point}", choice, POINTS[point])
        if point in chosen:
            raise ReproError(f"--reading {point} stands there twice: one experiment follows one choice")
        chosen[point] = choice
    return tuple(sorted((point, choice) for point, choice in chosen.items() if choice != default_of(point)))


def apply(experiment: Experiment, readings: Iterable[tuple[str, str]]) -> Experiment:
    """The experiment under those of `readings` that touch it; they are its `readings`.

    Raises:
        ReproError: there is no such point or choice, or one of them undoes another.
    """
    changed = experiment
    followed: list[tuple[str, str]] = []
    for point, choice in sorted(readings):
        if choice not in POINTS.get(point, ()):
            raise unknown("reading", f"{point}={choice}", [write([(p, c)]) for p in POINTS for c in POINTS[p]])
        transform = POINTS[point][choice]
        if transform(experiment) == experiment:
            continue
        before, changed = changed, transform(changed)
        if changed == before:
            raise ReproError(f"{experiment.name}: with {write(followed)}, {point}={choice} changes nothing more")
        followed.append((point, choice))
    return replace(changed, readings=tuple(followed))


def get_experiment(name: str, profile: str, readings: Iterable[tuple[str, str]] = ()) -> Experiment:
    """The experiment of that name as that profile runs it, under those of `readings` that touch it.

    Raises:
        ReproError: there is none, it has no mini version, or as `apply`.
    """
    return apply(mini.get_at_profile(name, profile), readings)


def find_experiment(name: str, profile: str, readings: Iterable[tuple[str, str]]) -> Experiment | None:
    """The experiment that a record names; None where this version has none, or no such reading of it."""
    readings = tuple(sorted(readings))
    try:
        experiment = get_experiment(name, profile, readings)
    except ReproError:
        return None
    return experiment if experiment.readings == readings else None


def as_trained(experiment: Experiment) -> Experiment:
    """The experiment whose training ends in the network of this one: itself, but for readings of the evaluation."""
    shaping = tuple(reading for reading in experiment.readings if reading[0] not in OF_EVALUATION)
    if shaping == experiment.readings:
        return experiment
    return get_experiment(experiment.name, experiment.profile, shaping)


def touches(name: str, point: str, choice: str, profile: str) -> bool:
    """Whether a choice changes an experiment as that profile runs it; False of one that it cannot run.

    Raises:
        ReproError: there is no such experiment.
    """
    get(name)
    try:
        experiment = mini.get_at_profile(name, profile)
    except ReproError:  # it has no mini version
        return False
    return POINTS[point][choice](experiment) != experiment


def list_touched(point: str, choice: str, profile: str = "full") -> tuple[str, ...]:
    """The names of the experiments that a choice changes as that profile runs them."""
    return tuple(name for name in EXPERIMENTS if touches(name, point, choice, profile))


def refuse_without_effect(names: Sequence[str], profile: str, readings: Readings) -> None:
    """Refuse readings that change none of the named experiments as that profile runs them.

    Raises:
        ReproError: one does; the message says which experiments it touches.
    """
    for point, choice in readings:
        touched = list_touched(point, choice, profile)
        if not any(touches(name, point, choice, profile) for name in names):
            what = names[0] if len(names) == 1 else "what is to be measured"
            raise ReproError(
                f"--reading {point}={choice} changes nothing of {what} in the {profile} profile: it touches "
                f"{', '.join(touched) or _explain_none(point, choice)}."
            )


def _explain_none(point: str, choice: str) -> str:
    return f"none there, and in the full profile {', '.join(list_touched(point, choice))}"
