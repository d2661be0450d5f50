"""The parts of the benchmark. Each takes the lab, measures interleaved, and gives rows."""

import json
import os
import statistics
import sys
from pathlib import Path

import measure
from lab import SEND_CPU, SERVE_CPU, Failure, NotStarted
from measure import (
    BACKENDS,
    add_appliance,
    add_other,
    add_reference,
    appliance_command,
    drain,
    median,
    reference_command,
    send,
    send_cost,
    with_core_cost,
)


def say(text):
    print(text, file=sys.stderr, flush=True)


def backends_at_work(lab, programs, wanted, add):
    """What `add` gives for each backend; those that this build or host refuses are named and left
    out."""
    found = []
    for io in wanted:
        try:
            found.append(add(io))
        except NotStarted as failure:
            say(f"bench: --io {io} is left out: {failure}")
    if not found:
        raise Failure("no backend works here")
    return found


# --- table: packets/s and cost against C -----------------------------------------------------------


def table(lab, programs, args):
    appliances = backends_at_work(
        lab, programs, args.io, lambda io: add_appliance(lab, programs, io)
    )
    methods = [one.io for one in appliances]
    references = {
        policy: [add_reference(lab, programs, io, policy) for io in methods]
        for policy in args.policy
    }
    if "pass" in args.policy and not args.quick:
        references["pass"].append(add_reference(lab, programs, "raw1", "pass"))
    others = [add_other(lab, text, cut=False) for text in args.also]
    others += [add_other(lab, text, cut=True) for text in args.also_cut]
    idle = lab.add_link("immediate drop", cut=True)
    cells = []
    for number in range(args.rounds):
        for size in args.size:
            for policy in args.policy:
                contenders = appliances + references[policy]
                contenders += others if policy == "pass" else []
                turn = number % len(contenders)
                say(f"round {number + 1}/{args.rounds}: size {size}, {policy}")
                cells += one_cell(
                    programs, idle, contenders[turn:] + contenders[:turn], size, policy, args, number
                )
    return {"cells": cells, "rows": table_rows(cells), "costs": cost_ratios(cells)}


def one_cell(programs, idle, contenders, size, policy, args, number):
    """Every contender at one size and policy, drain by drain in turn, back and forth: on a machine
    whose speed changes from second to second only neighbours compare."""
    costs = [send_cost(programs, idle, size, policy)]
    samples = [[] for _ in contenders]
    for turn in range(args.drains):
        order = range(len(contenders)) if turn % 2 == 0 else reversed(range(len(contenders)))
        for i in order:
            samples[i] += drain(programs, contenders[i].link, size, policy, 1)
        costs.append(send_cost(programs, idle, size, policy))
    idle_send_ns = statistics.median(costs)
    return [
        {"program": contender.program, "io": contender.io, "size": size, "policy": policy,
         "round": number, "idle_send_ns": idle_send_ns,
         "samples": with_core_cost(own, idle_send_ns)}
        for contender, own in zip(contenders, samples)
    ]  # fmt: skip


def pick(cells, **wanted):
    return [cell for cell in cells if all(cell[key] == value for key, value in wanted.items())]


def summary(cells):
    """Medians over rounds of each round's median, and the least disturbed values."""
    figures = {
        key: statistics.median(median(cell["samples"], key) for cell in cells)
        for key in ("rate", "process_ns", "softirq_ns", "core_ns", "loss")
    }
    samples = [one for cell in cells for one in cell["samples"]]
    figures["best_rate"] = max(one["rate"] for one in samples)
    figures["best_process_ns"] = min(one["process_ns"] for one in samples)
    figures["best_core_ns"] = min(median(cell["samples"], "core_ns") for cell in cells)
    figures["worst_loss"] = max(one["loss"] for one in samples)
    return figures


def turn_ratio(cells, others, key):
    """Median over all turns of one contender's value by the other's of the same turn."""
    theirs = {cell["round"]: cell["samples"] for cell in others}
    return statistics.median(
        mine[key] / other[key]
        for cell in cells
        for mine, other in zip(cell["samples"], theirs[cell["round"]])
    )


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


# --- workers: cost against their number ------------------------------------------------------------


def workers(lab, programs, args):
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


# --- latency at half the highest rate --------------------------------------------------------------


def latency(lab, programs, args):
    rows, trials = [], []
    seconds = 1 if args.quick else 2
    for io in args.io:
        contenders = {}
        try:
            for busy in (False, True):
                contenders["sluice", busy] = add_appliance(lab, programs, io, busy_poll=busy)
        except NotStarted as failure:
            say(f"bench: --io {io} is left out: {failure}")
            continue
        for busy in (False, True):
            contenders["c", busy] = add_reference(lab, programs, io, "pass", busy_poll=busy)
        if args.softirq == "rps":
            for one in contenders.values():
                one.link.steer_softirq(SEND_CPU, SERVE_CPU)
        # The slower one's rate, so that both can keep up.
        rate = min(highest_rate(programs, contenders[name, False]) for name in ("sluice", "c")) / 2
        mine = []
        for number in range(args.rounds):
            for (program, busy), contender in contenders.items():
                mode = "busy-poll" if busy else "sleep"
                say(f"round {number + 1}/{args.rounds}: {program} {io}, {mode}, {rate:.0f} packets/s")
                result = trial(programs, contender, rate, seconds)
                loss = 1 - result["answered"] / max(1, result["sent"])
                mine.append({"program": program, "io": io, "mode": mode, "round": number,
                             "rate": rate, "loss": loss, **result["latency_ns"]})  # fmt: skip
        trials += mine
        rows += latency_rows(mine, io, rate)
        for one in contenders.values():
            one.link.stop()
    return {"trials": trials, "rows": rows}


def highest_rate(programs, contender, least=10_000, most=640_000, steps=6):
    """The highest rate without loss and without a queue that grows, by bisection; this sender may
    be the limit."""
    for _ in range(steps):
        middle = (least * most) ** 0.5
        result = trial(programs, contender, middle, 0.25)
        keeps_up = result["answered"] == result["sent"] and result["latency_ns"]["p90"] < 5_000_000
        least, most = (middle, most) if keeps_up else (least, middle)
    say(f"{contender.name}: {least:.0f} packets/s at most")
    return least


def trial(programs, contender, rate, seconds):
    contender.link.go_on()
    try:
        return send(
            programs, contender.link, "--latency", "--rate", int(rate), "--seconds", seconds
        )
    finally:
        contender.link.pause()


def latency_rows(trials, io, rate):
    rows = []
    for mode in ("sleep", "busy-poll"):
        row = {"io": io, "mode": mode, "rate": rate}
        for program in ("sluice", "c"):
            own = pick(trials, mode=mode, program=program)
            row[f"{program}_p50_ns"] = median(own, "p50")
            row[f"{program}_p99_ns"] = median(own, "p99")
            row[f"{program}_loss"] = max(one["loss"] for one in own)
        theirs = {one["round"]: one["p50"] for one in pick(trials, mode=mode, program="c")}
        row["ratio"] = statistics.median(
            one["p50"] / theirs[one["round"]] for one in pick(trials, mode=mode, program="sluice")
        )
        rows.append(row)
    return rows


# --- scale: two cores against one ------------------------------------------------------------------


def scale(lab, programs, args):
    """Drains of one worker on one core and of two workers on two: while the queues empty nobody
    sends, so both cores are the workers'. The bursts come from one sender and from two at once,
    each on a core of its own."""
    cpus = sorted(os.sched_getaffinity(0))[:2]
    if len(cpus) < 2:
        raise Failure("scale needs two CPUs")
    contenders = []
    for io in args.io:
        try:
            contenders += [(count, add_appliance(lab, programs, io, workers=count, cpus=cpus[-count:]))
                           for count in (1, 2)]  # fmt: skip
        except NotStarted as failure:
            say(f"bench: --io {io} is left out: {failure}")
            continue
        contenders += [
            (count, add_reference(lab, programs, io, "pass", workers=count, cpus=cpus[-count:]))
            for count in (1, 2)
        ]
    cells = []
    for number in range(args.rounds):
        for count, contender in contenders:
            say(f"round {number + 1}/{args.rounds}: {contender.name}, {count} workers")
            for senders in ([SEND_CPU], cpus):
                samples = drain(
                    programs, contender.link, "128", "pass", args.drains, cpus=senders, flows=4096
                )
                cells.append({"program": contender.program, "io": contender.io, "workers": count,
                              "senders": len(senders), "round": number, "samples": samples})  # fmt: skip
    rows = []
    for program, io in dict.fromkeys((cell["program"], cell["io"]) for cell in cells):
        row = {"program": program, "io": io}
        for senders in (1, 2):
            one = pick(cells, program=program, io=io, workers=1, senders=senders)
            two = pick(cells, program=program, io=io, workers=2, senders=senders)
            row[f"service_{senders}"] = turn_ratio(two, one, "rate")
            row[f"send_wall_ns_{senders}"] = statistics.median(
                median(cell["samples"], "send_wall_ns") for cell in two
            )
            row[f"loss_{senders}"] = max(one["loss"] for cell in two for one in cell["samples"])
        # Frames a second into the queues, two senders against one.
        row["delivery"] = row["send_wall_ns_1"] / row["send_wall_ns_2"]
        row["rate_1"] = statistics.median(
            median(cell["samples"], "rate") for cell in pick(cells, program=program, io=io, workers=1)
        )
        row["rate_2"] = statistics.median(
            median(cell["samples"], "rate") for cell in pick(cells, program=program, io=io, workers=2)
        )
        rows.append(row)
    return {"cells": cells, "rows": rows}


# --- generator: sluice-gen against a bare sender ---------------------------------------------------


def generator(lab, programs, args):
    if not programs.generator.exists():
        raise Failure(f"no {programs.generator}: build sluice-gen, or set SLUICE_GEN")
    link = lab.add_link("immediate drop", cut=True)
    result_file = Path(lab.logs.name) / "generator.json"
    seconds = 1 if args.quick else 2
    trials = []
    for number in range(args.rounds):
        for size in args.size:
            say(f"round {number + 1}/{args.rounds}: size {size}")
            bare = send(programs, link, "--seconds", seconds, size=size)
            result_file.unlink(missing_ok=True)
            code, _, errors = link.run_in_gateway(
                ["taskset", "-c", SEND_CPU, programs.generator, "run", "--interface", link.port,
                 "--target", link.target, "--rate", "max", "--duration", f"{seconds}s",
                 "--size", size, "--flows", 256, "--max-loss", 1, "--json", result_file]
            )  # fmt: skip
            if not result_file.exists():
                raise Failure(f"sluice-gen gave {code}: {errors.strip()}")
            own = json.loads(result_file.read_text())
            trials.append({"size": size, "round": number, "bare_pps": bare["pps"],
                           "own_pps": own["sent"] / own["duration_s"]})  # fmt: skip
    rows = []
    for size in args.size:
        own = pick(trials, size=size)
        rows.append({
            "size": size,
            "own_pps": median(own, "own_pps"),
            "bare_pps": median(own, "bare_pps"),
            "ratio": statistics.median(one["own_pps"] / one["bare_pps"] for one in own),
            "best_ratio": max(one["own_pps"] for one in own) / max(one["bare_pps"] for one in own),
        })  # fmt: skip
    return {"trials": trials, "rows": rows}


PARTS = {
    "table": table,
    "workers": workers,
    "latency": latency,
    "scale": scale,
    "generator": generator,
}
