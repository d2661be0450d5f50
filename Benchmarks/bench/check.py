"""Whether the contenders do the same work: sluice-gen verifies every packet that comes back."""

import json
from pathlib import Path

from lab import Failure, NotStarted
from measure import appliance_command, need_generator, reference_command, say
from report import grid

TRAFFIC = ["--rate", "5kpps", "--flows", 300, "--both-directions", "--ipv6", 0.3, "--size", "imix",
           "--payload", "neutral=60,drop=20,rewrite=20"]  # fmt: skip


def run(lab, programs, args):
    need_generator(programs)
    rows = []
    for io in [*args.io, "raw1"]:
        contenders = [("c", "pass"), ("c", "blog")] + [("sluice", "blog")] * (io != "raw1")
        for program, policy in contenders:
            say(f"{program} {io}, {policy}")
            cut = program == "c" and io == "packet"
            link = lab.add_link(f"{program} --io {io}", cut=cut, answers_arp=True)
            try:
                link.start(command(programs, link, program, io, policy))
            except NotStarted as failure:
                say(f"bench: left out: {failure}")
                continue
            rows.append({"program": program, "io": io, "policy": policy,
                         **verdict(programs, link, policy, 1000 if args.quick else 10000)})  # fmt: skip
            link.stop()
    return {"rows": rows}


def command(programs, link, program, io, policy):
    workers = 1 if io == "raw1" else 2
    if program == "sluice":
        return appliance_command(programs, link, io, workers=workers)
    return reference_command(programs, io, policy, workers=workers)


def verdict(programs, link, policy, count):
    result_file = Path(link.lab.logs.name) / "check.json"
    link.go_on()
    code, _, errors = link.run_in_gateway(
        [programs.generator, "run", "--interface", link.port, "--target", link.target, *TRAFFIC,
         "--count", count, "--expect", "blog" if policy == "blog" else "reflect",
         "--json", result_file]
    )  # fmt: skip
    if code not in (0, 1):
        raise Failure(f"sluice-gen gave {code}: {errors.strip()}")
    result = json.loads(result_file.read_text())
    faults = {name: count for name, count in result["violations"].items() if count}
    if result["lost"]:
        faults["lost"] = result["lost"]
    # A violation that the report does not name is one, too.
    return {"sent": result["sent"], "received": result["received"],
            "expected_drops": result["expected_drops"],
            "faults": faults or ({"exit": code} if code else {})}  # fmt: skip


def text(result):
    lines = [
        [row["program"], row["io"], row["policy"], str(row["sent"]), str(row["received"]),
         str(row["expected_drops"]),
         ", ".join(f"{count} {name}" for name, count in row["faults"].items()) or "none"]
        for row in result["rows"]
    ]  # fmt: skip
    return grid(["program", "backend", "policy", "sent", "received", "dropped", "faults"], lines)
