"""Latency at half the highest rate."""

import statistics

from lab import SEND_CPU, SERVE_CPU, NotStarted
from measure import add_appliance, add_reference, median, pick, say, send
from report import grid, share


def run(lab, programs, args):
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


def text(result):
    lines = [
        [row["io"], row["mode"], f"{row['rate']:.0f}",
         f"{row['sluice_p50_ns'] / 1000:.1f}", f"{row['c_p50_ns'] / 1000:.1f}",
         f"{row['ratio']:.2f}", f"{row['sluice_p99_ns'] / 1000:.0f}",
         f"{row['c_p99_ns'] / 1000:.0f}", share(row["sluice_loss"]), share(row["c_loss"])]
        for row in result["rows"]
    ]  # fmt: skip
    headings = ["backend", "mode", "packets/s", "p50 µs", "C", "ratio", "p99 µs", "C", "loss", "C"]
    return grid(headings, lines)
