"""Detections of two networks on simulated images, for tests and simulations of the paired bootstrap."""

from __future__ import annotations

import numpy as np

from repro.evaluation.matches import THRESHOLDS, Matches
from repro.statistics.precision import compute_average_precision

CLASSES = 2


class Simulation:
    """Images whose objects two networks find or miss; what is hard for one is hard for the other.

    With a cue, an image's objects are of one class, which only something else in the image tells.
    """

    def __init__(self, images, generator, cue=False):
        self.images, self.generator = images, generator
        self.objects = generator.poisson(2.0, (CLASSES, images)).astype(np.uint16)
        if cue:
            self.objects[generator.integers(CLASSES, size=images) == np.arange(CLASSES)[:, None]] = 0
        label, image = np.nonzero(self.objects)
        count = self.objects[label, image]
        self.label, self.image = np.repeat(label, count), np.repeat(image, count)
        self.ease = np.repeat(generator.normal(0, 0.8, (CLASSES, images))[label, image], count)
        self.ease += generator.normal(0, 0.6, len(self.label))

    def network(self, skill):
        """Overlaps and scores grow with the ease of an object; there are as many false detections as images."""
        generator, n = self.generator, len(self.label)
        found = generator.random(n) < 0.9
        overlap = 1 / (1 + np.exp(-(self.ease + skill + generator.normal(0, 0.5, n))))
        bits = ((overlap[:, None] >= THRESHOLDS) << np.arange(10)).sum(axis=1)
        scores = overlap + generator.normal(0, 0.2, n)
        false = CLASSES * self.images
        label = np.concatenate([self.label[found], np.repeat(np.arange(CLASSES), self.images)])
        image = np.concatenate([self.image[found], np.tile(np.arange(self.images), CLASSES)])
        scores = np.concatenate([scores[found], generator.normal(0.3, 0.3, false)]).astype(np.float32)
        bits = np.concatenate([bits[found], np.zeros(false, dtype=int)]).astype(np.uint16)
        return self.matches(label, image, scores, bits)

    def with_cue(self, seen):
        """Finds all objects. Unless the cue is seen, the class is a guess, the same in all of an image."""
        generator, n = self.generator, len(self.label)
        overlap = 1 / (1 + np.exp(-(self.ease + 2.5)))
        bits = ((overlap[:, None] >= THRESHOLDS) << np.arange(10)).sum(axis=1)
        lean = 0.4 if seen else generator.normal(0, 0.1, self.images)[self.image]
        sure = 0.2 / (1 + np.exp(-self.ease)) + generator.normal(0, 0.02, n)
        return self.matches(
            np.concatenate([self.label, 1 - self.label]), np.tile(self.image, 2),
            np.concatenate([sure + lean, sure - lean]), np.concatenate([bits, np.zeros_like(bits)]),
        )  # fmt: skip

    def matches(self, label, image, scores, bits):
        order = np.lexsort((-scores, label))
        bits, nothing = bits[order].astype(np.uint16), np.zeros(len(order), dtype=np.uint16)
        return Matches(
            "p" * 64, "a" * 64, "i" * 64, np.arange(self.images), np.arange(CLASSES), self.objects,
            np.searchsorted(label[order], np.arange(CLASSES + 1)), image[order].astype(np.int32),
            scores[order].astype(np.float32), {"box": bits, "mask": bits}, {"box": nothing, "mask": nothing},
        )  # fmt: skip


def skilled(images, generator, skills=(1.0, 0.7)):
    simulation = Simulation(images, generator)
    return [simulation.network(skill) for skill in skills]


def seeing_and_blind(images, generator):
    simulation = Simulation(images, generator, cue=True)
    return [simulation.with_cue(seen) for seen in (True, False)]


def difference(first, second):
    """Of AP, AP50 and AP75."""
    ones = np.ones((len(first.image_ids), 1), dtype=int)
    return (compute_average_precision(first, "box", ones) - compute_average_precision(second, "box", ones))[:, 0]
