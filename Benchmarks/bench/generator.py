"""sluice-gen, flat out, against a bare sender: both against an immediate drop."""

import json
import statistics
from pathlib import Path

from lab import SEND_CPU, Failure
from measure import median, need_generator, pick, say, send
from report import grid


def run(lab, programs, args):
    need_generator(programs)
    link = lab.add_link("immediate drop", cut=True, answers_arp=True)
    result_file = Path(lab.logs.name) / "generator.json"
    seconds = 1 if args.quick else 2
    trials = []
    for number in range(args.rounds):
        for size in args.size:
            say(f"round {number + 1}/{args.rounds}: size {size}")
            bare = send(programs, link, "--seconds", seconds, size=size)
            code, _, errors = link.run_in_gateway(
                ["taskset", "-c", SEND_CPU, programs.generator, "run", "--interface", link.port,
                 "--target", link.target, "--rate", "max", "--duration", f"{seconds}s",
                 "--size", size, "--flows", 256, "--max-loss", 1, "--json", result_file]
            )  # fmt: skip
            if code not in (0, 1):  # 1: everything is lost, as it must be
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


def text(result):
    lines = [
        ["sluice-gen", row["size"], f"{row['own_pps']:.0f}", f"{row['bare_pps']:.0f}",
         f"{row['ratio']:.2f}", f"{row['best_ratio']:.2f}"]
        for row in result["rows"]
    ]  # fmt: skip
    return grid(["program", "size", "packets/s", "bare sender", "ratio", "best"], lines)
