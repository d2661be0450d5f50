"""Cost against the number of workers."""

import statistics

from lab import NotStarted
from measure import (
    appliance_command,
    drain,
    pick,
    reference_command,
    say,
    send_cost,
    summary,
    with_core_cost,
)
from report import grid, share


def run(lab, programs, args):
    """Cost with N workers against one worker that stays up beside them: drained in turn, so that
    the difference holds on a machine whose speed changes."""
    counts = [4] if args.quick else [2, 4, 8, 16, 32, 64]
    idle = lab.add_link("immediate drop", cut=True)
    cells = []
    for io in args.io:
        pairs = worker_pairs(lab, programs, io)
        for number in range(args.rounds):
            for count in counts:
                for program, one, link in pairs:
                    say(f"round {number + 1}/{args.rounds}: {program} {io}, {count} workers")
                    try:
                        link.start(worker_command(programs, link, program, io, count))
                    except NotStarted as failure:
                        say(f"bench: left out: {failure}")
                        continue
                    cells += worker_cells(programs, idle, one, link, args, program=program, io=io,
                                          workers=count, round=number)  # fmt: skip
                    link.stop()
        for _, one, _ in pairs:
            one.stop()
    rows = worker_rows(cells)
    slopes = [
        {"program": program, "io": io,
         "ns_per_worker": slope(pick(rows, program=program, io=io))}
        for program, io in dict.fromkeys((row["program"], row["io"]) for row in rows)
    ]  # fmt: skip
    return {"cells": cells, "rows": rows, "slopes": slopes}


def worker_pairs(lab, programs, io):
    """(program, place of one worker, place of N workers)"""
    pairs = []
    for program in ("sluice", "c"):
        cut = program == "c" and io == "packet"
        one, many = (lab.add_link(f"{program} --io {io}", cut=cut) for _ in range(2))
        try:
            one.start(worker_command(programs, one, program, io, 1))
        except NotStarted as failure:
            say(f"bench: --io {io} is left out: {failure}")
            continue
        pairs.append((program, one, many))
    return pairs


def worker_command(programs, link, program, io, count):
    if program == "sluice":
        return appliance_command(programs, link, io, workers=count)
    # Many rings are much memory, and each gets few packets.
    frames = 4096 if count <= 4 else 1024
    return reference_command(programs, io, "pass", workers=count, frames=frames)


def worker_cells(programs, idle, one, many, args, **names):
    samples, beside = [], []
    for _ in range(args.drains):
        beside += drain(programs, one, "128", "pass", 1, flows=4096)
        samples += drain(programs, many, "128", "pass", 1, flows=4096)
    cost = send_cost(programs, idle, "128", "pass")
    with_core_cost(samples, cost)
    with_core_cost(beside, cost)
    for mine, other in zip(samples, beside):
        mine["added_ns"] = mine["core_ns"] - other["core_ns"]
    return [{**names, "samples": samples}, {**names, "workers": 1, "samples": beside}]


def worker_rows(cells):
    rows = []
    kinds = dict.fromkeys((cell["program"], cell["io"], cell["workers"]) for cell in cells)
    for program, io, count in sorted(kinds, key=lambda kind: (kind[1], kind[0] == "c", kind[2])):
        own = pick(cells, program=program, io=io, workers=count)
        row = {"program": program, "io": io, "workers": count, **summary(own), "added_ns": 0.0}
        if count > 1:
            row["added_ns"] = statistics.median(
                one["added_ns"] for cell in own for one in cell["samples"]
            )
        rows.append(row)
    return rows


def slope(rows):
    """ns of core cost for each worker more, up to 16: the line from one worker on that fits best."""
    points = [(row["workers"] - 1, row["added_ns"]) for row in rows if row["workers"] <= 16]
    squares = sum(x * x for x, _ in points)
    return sum(x * y for x, y in points) / squares if squares else None


def text(result):
    lines = [
        [row["program"], row["io"], str(row["workers"]), f"{row['core_ns']:.0f}",
         f"{row['added_ns']:+.0f}", f"{row['softirq_ns']:.0f}", f"{row['process_ns']:.0f}",
         share(row["worst_loss"])]
        for row in result["rows"]
    ]  # fmt: skip
    text = grid(["program", "backend", "workers", "core ns", "added", "softirq ns", "CPU ns", "loss"],
                lines)  # fmt: skip
    for one in result["slopes"]:
        if one["ns_per_worker"] is not None:
            text += (
                f"\n{one['program']} {one['io']}: {one['ns_per_worker']:.0f} ns a packet "
                "for each worker more, up to 16"
            )
    return text
