"""Two workers on two cores against one worker on one."""

import os
import statistics

from lab import SEND_CPU, Failure, NotStarted
from measure import add_appliance, add_reference, drain, median, pick, say, turn_ratio
from report import grid, share


def run(lab, programs, args):
    """Drained in turn. While the queues empty nobody sends, so both cores are the workers'. The
    bursts come from one sender and from two at once, each on a core of its own."""
    cpus = sorted(os.sched_getaffinity(0))[:2]
    if len(cpus) < 2:
        raise Failure("scale needs two CPUs")
    pairs = []
    for io in args.io:
        try:
            pairs.append([
                add_appliance(lab, programs, io, workers=count, cpus=cpus[-count:])
                for count in (1, 2)
            ])  # fmt: skip
        except NotStarted as failure:
            say(f"bench: --io {io} is left out: {failure}")
            continue
        pairs.append([
            add_reference(lab, programs, io, "pass", workers=count, cpus=cpus[-count:])
            for count in (1, 2)
        ])  # fmt: skip
    cells = []
    for number in range(args.rounds):
        for pair in pairs:
            say(f"round {number + 1}/{args.rounds}: {pair[0].name}")
            for senders in ([SEND_CPU], cpus):
                cells += pair_cells(programs, pair, senders, args.drains, number)
    kinds = dict.fromkeys((cell["program"], cell["io"]) for cell in cells)
    return {"cells": cells, "rows": [row(cells, *kind) for kind in kinds]}


def pair_cells(programs, pair, senders, drains, number):
    samples = [[], []]
    for _ in range(drains):
        for own, contender in zip(samples, pair):
            own += drain(programs, contender.link, "128", "pass", 1, cpus=senders, flows=4096)
    return [
        {"program": contender.program, "io": contender.io, "workers": count,
         "senders": len(senders), "round": number, "samples": own}
        for count, contender, own in zip((1, 2), pair, samples)
    ]  # fmt: skip


def row(cells, program, io):
    figures = {"program": program, "io": io}
    cells = pick(cells, program=program, io=io)
    for count in (1, 2):
        figures[f"rate_{count}"] = middle(pick(cells, workers=count), "rate")
    for senders in (1, 2):
        one, two = (pick(cells, workers=count, senders=senders) for count in (1, 2))
        figures[f"service_{senders}"] = turn_ratio(two, one, "rate")
        figures[f"send_wall_ns_{senders}"] = middle(two, "send_wall_ns")
        figures[f"loss_{senders}"] = max(one["loss"] for cell in two for one in cell["samples"])
    # Frames a second into the queues, two senders against one.
    figures["delivery"] = figures["send_wall_ns_1"] / figures["send_wall_ns_2"]
    return figures


def middle(cells, key):
    return statistics.median(median(cell["samples"], key) for cell in cells)


def text(result):
    lines = [
        [row["program"], row["io"], f"{row['rate_1']:.0f}", f"{row['rate_2']:.0f}",
         f"{row['service_1']:.2f}", f"{row['service_2']:.2f}", f"{row['delivery']:.2f}",
         share(max(row["loss_1"], row["loss_2"]))]
        for row in result["rows"]
    ]  # fmt: skip
    headings = ["program", "backend", "1 worker, packets/s", "2 workers", "ratio", "2 senders",
                "delivery", "loss"]  # fmt: skip
    return (
        f"{grid(headings, lines)}\n\n"
        "Service rate of two workers on two cores by that of one on one: after a burst from one\n"
        "sender (ratio) and from two at once (2 senders). delivery: how much faster two senders on\n"
        "two cores fill the queues than one."
    )
