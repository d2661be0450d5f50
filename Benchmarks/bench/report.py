"""Tables for people, JSON for programs, a plot."""

import json
import os
import platform
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def grid(headings, rows):
    """Text columns: the first ones to the left, figures to the right."""
    cells = [headings, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    lines = []
    for row in cells:
        line = [
            text.ljust(width) if i < 2 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(line).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def share(loss):
    return "0" if loss == 0 else f"{loss:.4%}"


def machine():
    """What the figures depend on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    commit = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    return {"cpu": model, "cpus": os.cpu_count(), "kernel": platform.release(), "commit": commit,
            "date": time.strftime("%Y-%m-%d", time.gmtime())}  # fmt: skip


def write(part, text, result, settings, folder):
    """The text, the JSON and, for the table, the plot."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"part": part, "machine": machine(), "settings": settings, **rounded(result)}
    (folder / f"{part}.json").write_text(json.dumps(document, indent=1) + "\n")
    (folder / f"{part}.txt").write_text(text + "\n")
    if part == "table":
        plot(result["rows"], folder / "table.png")


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def plot(rows, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    policies = list(dict.fromkeys(row["policy"] for row in rows))
    figure, axes = pyplot.subplots(
        len(policies), 2, figsize=(11, 3.6 * len(policies)), squeeze=False, layout="constrained"
    )
    for line, policy in zip(axes, policies):
        own = [row for row in rows if row["policy"] == policy and row["program"] == "sluice"]
        labels = [f"{row['io']}\n{row['size']}" for row in own]
        for offset, program, colour in ((-0.2, "sluice", "tab:orange"), (0.2, "c", "tab:grey")):
            cells = [
                next(r for r in rows if (r["program"], r["policy"], r["io"], r["size"])
                     == (program, policy, row["io"], row["size"]))
                for row in own
            ]  # fmt: skip
            places = [i + offset for i in range(len(own))]
            name = "Sluice" if program == "sluice" else "C reference"
            line[0].bar(places, [r["rate"] / 1000 for r in cells], 0.4, label=name, color=colour)
            soft = [r["softirq_ns"] for r in cells]
            line[1].bar(places, soft, 0.4, color=colour, alpha=0.45)
            line[1].bar(places, [r["process_ns"] for r in cells], 0.4, bottom=soft, color=colour)
        what = "pass-through" if policy == "pass" else "blog policy"
        line[0].set_title(f"Service rate of one worker, {what}")
        line[0].set_ylabel("thousand packets/s")
        line[0].legend()
        line[1].set_title("CPU per packet: receive softirq (pale) + process")
        line[1].set_ylabel("ns")
        for axis in line:
            axis.set_xticks(range(len(own)), labels, fontsize=7)
            axis.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
