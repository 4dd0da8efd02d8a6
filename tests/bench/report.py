# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prints the figures as a table for people, and as JSON."""
import json

from measure import LIMIT, OURS, compare

HEADER = (f"{'':46} {'median':>12}  {'least .. most':>16}  {'ratio':>6}"
          f"   {'goal':>5}")


def number(value, unit):
    digits = {"s": 3, "IOPS": 0, "ms": 0}.get(unit, 2)
    return f"{value:.{digits}f}"


def verdict(reached):
    return {None: "", True: "reached", False: "MISSED"}[reached]


def facts_text(work, contender):
    texts = []
    for fact in work.facts:
        value = contender.fact(fact.name)
        if value is None:
            continue
        text = f"{fact.text} {value:.{0 if value >= 100 else 2}f}"
        if contender.role == OURS and fact.at_most is not None:
            text += f" (goal {fact.at_most:g}: " \
                    f"{verdict(value <= fact.at_most)})"
        texts.append(text)
    return "; ".join(texts)


def print_work(work, out):
    more = " (more is better)" if work.more_is_better else ""
    print(f"\n{work.name}: {work.title}{more}", file=out)
    if work.skipped:
        print(f"  not done: {work.skipped}", file=out)
    for contender in work.contenders:
        name = ("limit: " if contender.role == LIMIT else "") + contender.name
        line = f"  {name:44}"
        if contender.wrong or contender.failed:
            why = "WRONG BYTES: " + contender.wrong if contender.wrong \
                else "failed: " + contender.failed
            print(line, why, file=out)
        if not contender.samples:
            continue
        values = contender.values()
        least, median, most = (number(value, work.unit) for value in
                               (min(values), contender.median(), max(values)))
        spread = f"{least} .. {most}"
        line += f" {median + ' ' + work.unit:>12}  {spread:>16} "
        result = compare(work, contender)
        if result.ratio is not None:
            line += f" {result.ratio:6.2f}"
        if result.goal is not None:
            sign = ">=" if work.more_is_better else "<="
            line += f" {sign}{result.goal:5.2f} {verdict(result.reached)}"
        print(line.rstrip(), file=out)
        facts = facts_text(work, contender)
        if facts:
            print(f"    {facts}", file=out)


def print_table(works, machine, out):
    print(", ".join(machine.values()), file=out)
    print("ratio: ours to theirs, of medians\n", file=out)
    print(HEADER, file=out)
    for work in works:
        print_work(work, out)


def contender_json(work, contender):
    result = compare(work, contender)
    return {
        "name": contender.name,
        "role": contender.role,
        "values": contender.values(),
        "median": contender.median(),
        "right": not contender.wrong,
        "problem": contender.wrong or contender.failed or None,
        "ratio": result.ratio,
        "goal": result.goal,
        "reached": result.reached,
        "facts": {fact.name: contender.fact(fact.name) for fact in work.facts
                  if contender.fact(fact.name) is not None},
    }


def as_json(works, machine, quick):
    return json.dumps({
        "version": 1,
        "quick": quick,
        "machine": machine,
        "works": [{
            "name": work.name,
            "title": work.title,
            "unit": work.unit,
            "more_is_better": work.more_is_better,
            "skipped": work.skipped or None,
            "goals": {fact.name: fact.at_most for fact in work.facts
                      if fact.at_most is not None},
            "contenders": [contender_json(work, c) for c in work.contenders],
        } for work in works],
    }, indent=2)
