"""Packets/s and cost against C: backend × size × policy."""

import statistics

from lab import Failure, NotStarted
from measure import (
    add_appliance,
    add_other,
    add_reference,
    drain,
    pick,
    say,
    send_cost,
    summary,
    turn_ratio,
    with_core_cost,
)
from report import grid, share


def run(lab, programs, args):
    neighbours = {policy: [] for policy in args.policy}
    for io in args.io:
        try:
            appliance = add_appliance(lab, programs, io)
        except NotStarted as failure:
            say(f"bench: --io {io} is left out: {failure}")
            continue
        for policy, contenders in neighbours.items():
            contenders += [appliance, add_reference(lab, programs, io, policy)]
    if not any(neighbours.values()):
        raise Failure("no backend works here")
    if "pass" in neighbours:
        if not args.quick:
            neighbours["pass"].append(add_reference(lab, programs, "raw1", "pass"))
        neighbours["pass"] += [add_other(lab, text, cut=False) for text in args.also]
        neighbours["pass"] += [add_other(lab, text, cut=True) for text in args.also_cut]
    idle = lab.add_link("immediate drop", cut=True)
    cells = []
    for number in range(args.rounds):
        for size in args.size:
            for policy, contenders in neighbours.items():
                say(f"round {number + 1}/{args.rounds}: size {size}, {policy}")
                cells += one_cell(programs, idle, contenders, size, policy, args.drains, number)
    return {"cells": cells, "rows": table_rows(cells), "costs": cost_ratios(cells)}


def one_cell(programs, idle, contenders, size, policy, drains, number):
    """Every contender at one size and policy, drain by drain in turn, back and forth: on a machine
    whose speed changes from second to second only neighbours compare."""
    costs = [send_cost(programs, idle, size, policy)]
    samples = [[] for _ in contenders]
    for turn in range(drains):
        order = range(len(contenders))
        for i in order if turn % 2 == 0 else reversed(order):
            samples[i] += drain(programs, contenders[i].link, size, policy, 1)
        costs.append(send_cost(programs, idle, size, policy))
    idle_send_ns = statistics.median(costs)
    return [
        {"program": contender.program, "io": contender.io, "size": size, "policy": policy,
         "round": number, "idle_send_ns": idle_send_ns,
         "samples": with_core_cost(own, idle_send_ns)}
        for contender, own in zip(contenders, samples)
    ]  # fmt: skip


def table_rows(cells):
    rows = []
    kinds = dict.fromkeys(
        (cell["policy"], cell["program"], cell["io"], cell["size"]) for cell in cells
    )
    for policy, program, io, size in kinds:
        own = pick(cells, policy=policy, program=program, io=io, size=size)
        row = {"policy": policy, "program": program, "io": io, "size": size, **summary(own)}
        reference = pick(cells, policy=policy, program="c", io=io, size=size)
        if program == "sluice" and reference:
            row["rate_ratio"] = turn_ratio(own, reference, "rate")
            row["process_ratio"] = turn_ratio(own, reference, "process_ns")
            row["core_ratio"] = turn_ratio(own, reference, "core_ns")
            row["best_rate_ratio"] = row["best_rate"] / summary(reference)["best_rate"]
        rows.append(row)
    return rows


def cost_ratios(cells):
    """Core cost of `packet` against one packet per system call, and against `udp`."""
    ratios = []
    for size in dict.fromkeys(cell["size"] for cell in cells):
        own = pick(cells, policy="pass", program="sluice", io="packet", size=size)
        for program, io in (("c", "raw1"), ("sluice", "udp")):
            theirs = pick(cells, policy="pass", program=program, io=io, size=size)
            if own and theirs:
                ratio = turn_ratio(own, theirs, "core_ns")
                ratios.append({"size": size, "against": f"{program} {io}", "core_ratio": ratio})
    return ratios


def text(result):
    parts = []
    for policy in dict.fromkeys(row["policy"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["policy"] == policy]
        references = {(row["io"], row["size"]): row for row in rows if row["program"] == "c"}
        lines = []
        for row in rows:
            if row["program"] != "sluice":
                continue
            c = references[row["io"], row["size"]]
            lines.append([
                row["io"], row["size"],
                f"{row['rate']:.0f}", f"{c['rate']:.0f}",
                f"{row['rate_ratio']:.2f} ({row['best_rate_ratio']:.2f})",
                f"{row['process_ns']:.0f}", f"{c['process_ns']:.0f}",
                f"{row['core_ns']:.0f} ({row['best_core_ns']:.0f})",
                f"{c['core_ns']:.0f} ({c['best_core_ns']:.0f})",
                f"{row['core_ratio']:.2f}", share(row["worst_loss"]),
            ])  # fmt: skip
        for row in rows:
            if row["program"] == "sluice" or (row["io"], row["size"]) in {
                (r["io"], r["size"]) for r in rows if r["program"] == "sluice"
            }:
                continue
            lines.append([
                row["io"], row["size"], "", f"{row['rate']:.0f}", "", "", f"{row['process_ns']:.0f}",
                "", f"{row['core_ns']:.0f} ({row['best_core_ns']:.0f})", "",
                share(row["worst_loss"]),
            ])  # fmt: skip
        what = {"pass": "Pass-through", "blog": "With the blog policy"}[policy]
        headings = ["backend", "size", "packets/s", "C", "ratio (best)", "CPU ns", "C",
                    "core ns (best)", "C", "ratio", "loss"]  # fmt: skip
        parts.append(f"{what}\n{grid(headings, lines)}")
    parts.append(
        "packets/s: service rate of one worker. CPU ns: of the process, a packet. core ns: receive\n"
        "softirq + process. Ratios: medians of sluice / C, drain by drain in turn. raw1: one packet\n"
        "per system call. udp computes outer checksums in both with the blog policy, else C sends 0."
    )
    lines = [
        f"core cost of sluice packet, size {one['size']}: {one['core_ratio']:.2f} × {one['against']}"
        for one in result["costs"]
    ]
    if lines:
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
