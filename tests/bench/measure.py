# SPDX-License-Identifier: LGPL-2.1-or-later
"""Benchmarks, their contenders, and their figures.

A benchmark (a work) has contenders: blksparse ("ours"), its peers, and the
floor, the least that the hardware needs. They run in turn, A B C B C A C A B
..., and each round prepares, runs the timed part and checks the bytes. Ours is
compared with each other contender by the ratio of medians.
"""
import statistics
import time
from dataclasses import dataclass, field
from typing import Callable

from lab import Failed, Wrong, message
from peers import have

OURS, PEER, LIMIT = "ours", "peer", "limit"


@dataclass
class Sample:
    """The figure of one round, and further facts."""
    value: float
    facts: dict = field(default_factory=dict)


@dataclass
class Contender:
    name: str
    once: Callable[[], Sample]
    role: str = PEER
    # The largest ratio of ours to this one (the smallest, where more is
    # better) that meets the goal. In a goal group the best contender counts.
    goal: float = None
    group: str = ""
    samples: list = field(default_factory=list)
    wrong: str = ""
    failed: str = ""
    spent: float = 0

    def values(self):
        return [sample.value for sample in self.samples]

    def median(self):
        return statistics.median(self.values()) if self.samples else None

    def fact(self, name):
        known = [s.facts[name] for s in self.samples if name in s.facts]
        return statistics.median(known) if known else None


@dataclass
class Fact:
    """A quantity measured of each contender, maybe with a goal for ours."""
    name: str
    text: str
    at_most: float = None


@dataclass
class Work:
    name: str
    title: str
    prepare: Callable          # a context manager; gives the contenders
    unit: str = "s"
    more_is_better: bool = False
    devices: tuple = ()        # of the lab's, by name
    needs: tuple = ()          # programs
    facts: tuple = ()
    contenders: list = field(default_factory=list)
    skipped: str = ""

    def ours(self):
        return next((c for c in self.contenders if c.role == OURS), None)

    def better(self, a, b):
        return a > b if self.more_is_better else a < b


def once(contender):
    start = time.monotonic()
    try:
        contender.samples.append(contender.once())
    except Wrong as error:
        contender.wrong = str(error)
    except Failed as error:
        contender.failed = str(error)
    contender.spent += time.monotonic() - start


def do(work, lab, rounds, patience, against=("",)):
    """Runs all rounds of a work, against the peers with one of AGAINST in their
    names. A contender that has taken more than PATIENCE seconds stops after two
    rounds."""
    missing = [name for name in work.needs if not have(name)]
    if missing:
        work.skipped = f"{', '.join(missing)} not installed; see --install"
        return
    with work.prepare(lab) as everybody:
        contenders = [c for c in everybody
                      if c.role != PEER or any(part in c.name for part in against)]
        work.contenders = contenders
        for number in range(rounds):
            turn = number % len(contenders)
            for contender in contenders[turn:] + contenders[:turn]:
                if contender.wrong or contender.failed:
                    continue
                if contender.spent > patience and len(contender.samples) > 1:
                    continue
                message(f"{work.name} {number + 1}/{rounds}: {contender.name}")
                once(contender)


@dataclass
class Comparison:
    """Compares ours with another contender."""
    ratio: float = None
    goal: float = None
    reached: bool = None


def best_of_group(work, contender):
    group = [c for c in work.contenders
             if c.group == contender.group and c.samples and not c.wrong]
    return all(c is contender or not work.better(c.median(), contender.median())
               for c in group)


def compare(work, contender):
    ours = work.ours()
    if contender.role == OURS or any(
            not c or not c.samples or c.wrong for c in (ours, contender)):
        return Comparison()
    ratio = ours.median() / contender.median() if contender.median() else None
    if contender.goal is None or ratio is None or (
            contender.group and not best_of_group(work, contender)):
        return Comparison(ratio)
    reached = ratio >= contender.goal if work.more_is_better \
        else ratio <= contender.goal
    return Comparison(ratio, contender.goal, reached)
