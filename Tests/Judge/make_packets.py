#!/usr/bin/env python3
"""The outside judge: packets that scapy builds, with what the appliance must make of each.

Prints a JSON array, or writes it to a file. A record has `name`; `input`, the whole outer IPv4
packet in hex; `verdict`, "forward" or "drop"; `reason`, the name of a drop reason, or null;
`output`, the expected answer in hex, or null; `wrong`, the checksums that are meant to be wrong in
the answer. Expected is the answer of a backend that keeps the outer header, under the
blog policy with default settings, where nothing has vouched for any checksum.
"""

import argparse
import json
import logging
import sys
from collections import Counter

logging.getLogger("scapy").setLevel(logging.ERROR)

from cases import whole_packets  # noqa: E402
from check import check  # noqa: E402
from dice import Dice  # noqa: E402
from malformed import malformed_packets  # noqa: E402

SEED = 6081


def make():
    dice = Dice(SEED)
    return [*whole_packets(dice), *malformed_packets(dice)]


def summary(records):
    verdicts = Counter(record["reason"] or "forward" for record in records)
    return f"{len(records)} records: " + ", ".join(f"{n} {name}" for name, n in verdicts.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", help="where to write, as -o")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: standard output")
    parser.add_argument("--check", metavar="FILE", help="verify the records of a file, make none")
    arguments = parser.parse_args()
    if arguments.check:
        with open(arguments.check, encoding="utf-8") as file:
            records = json.load(file)
    else:
        records = make()
    check(records)
    print(summary(records), file=sys.stderr)
    if arguments.check:
        return
    path = arguments.output or arguments.file
    with open(path, "w", encoding="utf-8") if path else sys.stdout as file:
        file.write("[\n" + ",\n".join(map(json.dumps, records)) + "\n]\n")


if __name__ == "__main__":
    main()
