"""What tools/bench runs: options, and one part after the other."""

import argparse
import os
import signal
import sys
from pathlib import Path

import check
import generator
import latency
import report
import scale
import table
import workers
from lab import Failure, Lab
from measure import BACKENDS, PORTS, SIZES, Programs

PARTS = {
    "check": check,
    "table": table,
    "workers": workers,
    "latency": latency,
    "scale": scale,
    "generator": generator,
}
SHORT = {"workers": 3}  # parts that take long: fewer rounds


def choices(allowed):
    def parse(text):
        words = text.split(",")
        for word in words:
            if word not in allowed:
                raise argparse.ArgumentTypeError(f"{word!r} is not one of {', '.join(allowed)}")
        return words

    return parse


class Parser(argparse.ArgumentParser):
    def error(self, message):
        print(f"bench: {message} (tools/bench --help says more)", file=sys.stderr)
        sys.exit(64)


def arguments():
    parser = Parser(
        prog="tools/bench",
        description="Measures sluice against a C reference with the same I/O, interleaved, by the "
        "drain test: stop the process, send a burst that its queues hold, let it go on, time the "
        "emptying. Prints tables; writes JSON and a plot.",
    )
    parser.add_argument("part", nargs="*", metavar="PART",
                        help=f"{', '.join(PARTS)}, or all (default: table)")  # fmt: skip
    parser.add_argument("--io", type=choices(BACKENDS), default=list(BACKENDS), metavar="LIST",
                        help="backends (default: packet,udp,raw)")  # fmt: skip
    parser.add_argument("--size", type=choices(SIZES), metavar="LIST",
                        help="inner bytes: 128, imix, 1500, 8500 (default: all)")  # fmt: skip
    parser.add_argument("--policy", type=choices(PORTS), default=list(PORTS), metavar="LIST",
                        help="pass, blog (default: both)")  # fmt: skip
    parser.add_argument("--rounds", type=int, help="interleaved repetitions (default: 5)")
    parser.add_argument("--drains", type=int, help="drains of one cell in a round (default: 5)")
    parser.add_argument("--quick", action="store_true", help="one round, few drains, fewer cells")
    parser.add_argument("--softirq", choices=("rps", "local"), default="local",
                        help="latency: receive work on the core of whoever receives (RPS), or of "
                        "whoever sends (default: local)")  # fmt: skip
    parser.add_argument("--also", action="append", default=[], metavar="NAME=COMMAND",
                        help="another program in the table's pass-through rows; {namespace}, "
                        "{interface} and {cpu} are filled in")  # fmt: skip
    parser.add_argument("--also-cut", action="append", default=[], metavar="NAME=COMMAND",
                        help="the same, with all packets dropped behind the AF_PACKET tap")  # fmt: skip
    parser.add_argument("--out", type=Path, default=report.ROOT / "results" / "scratch",
                        help="where results go (default: results/scratch)")  # fmt: skip
    args = parser.parse_args()
    if "all" in args.part:
        args.part = list(PARTS)
    args.part = args.part or ["table"]
    for part in args.part:
        if part not in PARTS:
            parser.error(f"unknown part {part!r}: one of {', '.join(PARTS)}, all")
    args.size = args.size or (["128", "1500"] if args.quick else list(SIZES))
    args.drains = args.drains or (2 if args.quick else 5)
    if args.drains < 1 or (args.rounds is not None and args.rounds < 1):
        parser.error("--rounds and --drains are at least 1")
    return args


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    programs = Programs(
        sluice=Path(os.environ["BENCH_SLUICE"]),
        generator=Path(os.environ["BENCH_GEN"]),
        reference=Path(os.environ["BENCH_REFERENCE"]),
    )
    chosen = args.rounds
    try:
        for part in args.part:
            args.rounds = chosen or (1 if args.quick else SHORT.get(part, 5))
            with Lab() as lab:
                result = PARTS[part].run(lab, programs, args)
            text = PARTS[part].text(result)
            settings = {"rounds": args.rounds, "drains": args.drains, "sizes": args.size}
            report.write(part, text, result, settings, args.out)
            print(f"{text}\n\nresults: {args.out}/{part}.json\n", flush=True)
    except Failure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 71
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
