"""The page of `sluice-gen report`: report.py DIRECTORY FILE... (JSON of run, soak, search, compare).

One HTML file that holds its pictures. Errors are one line and an exit code, as in sluice-gen.
"""

import base64
import html
import io
import json
import math
import os
import sys


def fail(code, text):
    sys.stderr.write(f"sluice-gen: {text}\n")
    sys.exit(code)


try:
    import matplotlib
except ImportError:
    fail(71, "report needs matplotlib, which python3 does not have: pip install matplotlib")

matplotlib.use("svg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator  # noqa: E402

# Blue, orange, green, red, purple, brown: told apart without colour vision by their lightness too.
COLORS = ["#2b5c8a", "#d98032", "#4f9153", "#b0413e", "#7c6aa6", "#7a5c46", "#4aa3b5", "#8a8a8a"]
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#333333",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "sluice-gen",
    "svg.fonttype": "path",
}


# --- reading --------------------------------------------------------------------------------------


class Report:
    """One file. `kind` is "run" (also soak), "search" or "compare"."""

    def __init__(self, path, data):
        self.path = path
        self.data = data
        self.config = data.get("config") or {}
        if "sizes" in data:
            self.kind = "search"
        elif "rounds" in data:
            self.kind = "compare"
        elif "latency_ns" in data and "sent" in data:
            self.kind = "run"
        else:
            fail(64, f"{path}: not a report of sluice-gen")
        self.label = os.path.splitext(os.path.basename(path))[0]

    @property
    def size(self):
        return self.config.get("size", "128")


def read(paths):
    reports = []
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                data = json.load(file)
        except OSError as error:
            fail(71, f"{path}: {error.strerror}")
        except ValueError:
            fail(64, f"{path}: not JSON")
        if not isinstance(data, dict):
            fail(64, f"{path}: not a report of sluice-gen")
        reports.append(Report(path, data))
    labels = [report.label for report in reports]
    for report in reports:
        if labels.count(report.label) > 1:
            report.label = report.path
    return reports


# --- text -----------------------------------------------------------------------------------------


def pps(value):
    if value >= 1e6:
        return f"{value / 1e6:.2f} Mpps"
    return f"{value / 1e3:.1f} kpps" if value >= 1e3 else f"{value:.0f} pps"


def bps(value):
    if value >= 1e9:
        return f"{value / 1e9:.2f} Gbit/s"
    return f"{value / 1e6:.0f} Mbit/s" if value >= 1e6 else f"{value / 1e3:.0f} kbit/s"


def duration(nanoseconds):
    for unit, factor in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= factor:
            return f"{nanoseconds / factor:.3g} {unit}"
    return f"{nanoseconds:.0f} ns"


def percent(share):
    if share == 0:
        return "0"
    return f"{share * 100:.2g} %" if share < 0.0995 else f"{share * 100:.1f} %"


def number(value):
    return f"{value:,}".replace(",", "\N{THIN SPACE}")


# --- pictures -------------------------------------------------------------------------------------


def picture(figure, text):
    """An <img> that holds the figure."""
    buffer = io.BytesIO()
    # Without metadata: the page shall be the same for the same files.
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<figure><img alt="{html.escape(text)}" src="data:image/svg+xml;base64,{data}"></figure>'


def beside(axes):
    """The legend beside the curves, where it hides none."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8.5)


def by_size(key):
    """Fixed sizes in their order, then mixes."""
    return (0, int(key)) if str(key).isdigit() else (1, str(key))


def throughput_bars(reports):
    """Series of (name, {size: (packets/s, bit/s, limited by the generator)})."""
    series = []
    searches = [report for report in reports if report.kind == "search"]
    for report in searches:
        for goal in ("ndr", "pdr", "rate"):
            rows = {str(row["size"]): row[goal] for row in report.data["sizes"] if row.get(goal)}
            if not rows:
                continue
            prefix = f"{report.label}: " if len(searches) > 1 else ""
            name = {"ndr": "NDR, no loss", "pdr": "PDR, up to 0.5 % loss"}.get(goal)
            name = name or f"loss up to {percent(next(iter(rows.values()))['loss_bound'])}"
            series.append((prefix + name, {size: bar(row) for size, row in rows.items()}))
    runs = [report for report in reports if report.kind == "run"]
    if runs:
        carried = {}
        for report in runs:
            data = report.data
            share = 1 - data["loss"]
            value = data["rate_pps"] * share, data["rate_bps"] * share, data["generator_limited"]
            carried[report.size] = max(value, carried.get(report.size, (0, 0, False)))
        series.append(("carried in runs", carried))
    return series


def bar(row):
    return row["rate_pps"], row["rate_bps"], row.get("generator_limited", False)


def plot_throughput(reports):
    series = throughput_bars(reports)
    sizes = sorted({size for _, values in series for size in values}, key=by_size)
    if not sizes:
        return ""
    figure, (packets, bits) = plt.subplots(1, 2, figsize=(9.6, 3.6))
    width = 0.8 / len(series)
    for axes, index, unit, title in (
        (packets, 0, 1e3, "Throughput in packets"),
        (bits, 1, 1e9, "Throughput in bits"),
    ):
        for i, (name, values) in enumerate(series):
            for j, size in enumerate(sizes):
                if size not in values:
                    continue
                value = values[size][index] / unit
                limited = values[size][2]
                drawn = axes.bar(
                    j - 0.4 + width * (i + 0.5),
                    value,
                    width * 0.92,
                    color=COLORS[i % len(COLORS)],
                    hatch="///" if limited else None,
                    edgecolor="white",
                    linewidth=0,
                    label=name if j == next(k for k, s in enumerate(sizes) if s in values) else None,
                )
                if len(series) * len(sizes) <= 14:
                    axes.bar_label(drawn, fmt=f"{value:.3g}", fontsize=7, padding=2, color="#555555")
        axes.set_xticks(range(len(sizes)), sizes)
        axes.set_xlim(-0.6, max(len(sizes), 3) - 0.4)
        axes.grid(axis="x", visible=False)
        axes.set_xlabel("inner packet, bytes")
        axes.set_title(title)
        axes.margins(y=0.12)
    packets.set_ylabel("thousand packets/s")
    bits.set_ylabel("Gbit/s of outer IP")
    beside(bits)
    text = picture(figure, "Throughput by packet size")
    if any(value[2] for _, values in series for value in values.values()):
        text += "<p class=note>Hatched: the generator, not the target, was the limit.</p>"
    return text


def plot_latency(reports):
    """The distribution, and its tail where one in ten thousand can be seen."""
    curves = []
    for report in reports:
        for name, latency in latencies(report):
            points = [(share, ns) for share, ns in latency.get("distribution", []) if ns > 0]
            if len(points) > 1:
                curves.append((name, latency, points))
    if not curves:
        return ""
    figure, (whole, tail) = plt.subplots(1, 2, figsize=(9.6, 3.6), sharex=True)
    for i, (name, latency, points) in enumerate(curves):
        color = COLORS[i % len(COLORS)]
        x = [ns / 1e3 for _, ns in points]
        shares = [share for share, _ in points]
        whole.plot(x, [share * 100 for share in shares], color=color, label=name)
        least = 1 / max(latency.get("samples", 0), 1)
        # The last point is all packets: it stands where the one slowest packet does.
        tail.plot(x, [max(1 - share, least) for share in shares], color=color)
    whole.set_xscale("log")
    whole.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value * 1e3)))
    whole.set_ylim(0, 102)
    whole.set_ylabel("% of packets")
    whole.set_title("Latency: share of packets at or below")
    tail.set_yscale("log")
    tail.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g} %"))
    tail.set_title("Tail: share of packets above")
    for axes in (whole, tail):
        axes.set_xlabel("latency")
        axes.tick_params(axis="x", labelrotation=0, labelsize=8.5)
    handles, names = whole.get_legend_handles_labels()
    tail.legend(handles, names, loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8.5)
    return picture(figure, "Latency distribution")


def latencies(report):
    """(name, latency) of what a file holds."""
    if report.kind == "run":
        return [(report.label, report.data["latency_ns"])]
    if report.kind == "search":
        found = []
        for row in report.data["sizes"]:
            goal = row.get("ndr") or row.get("rate")
            if goal and goal.get("latency_ns"):
                found.append((f"{report.label}, {row['size']} bytes at NDR", goal["latency_ns"]))
        return found
    return []


def whole_intervals(report):
    """The intervals; a short one at the end, with what came back last, is part of the one before."""
    intervals, begin = [], 0.0
    for entry in report.data.get("intervals") or []:
        length = entry["second"] - begin
        if intervals and length < 0.5 * (intervals[0]["second"]):
            last = intervals[-1]
            for key in ("sent", "received", "lost", "expected_drops"):
                last[key] = last.get(key, 0) + entry.get(key, 0)
            last["second"] = max(last["second"], entry["second"])
        else:
            intervals.append(dict(entry))
        begin = intervals[-1]["second"]
    return intervals


def plot_time(report):
    """Rates and loss of one run or soak over time."""
    intervals = whole_intervals(report)
    if len(intervals) < 2:
        return ""
    times, sent, received, drops, loss, before = [], [], [], [], [], 0.0
    for entry in intervals:
        length = entry["second"] - before
        if length <= 0:
            continue
        before = entry["second"]
        times.append(before)
        sent.append(entry["sent"] / length / 1e3)
        received.append(entry["received"] / length / 1e3)
        dropped = entry.get("expected_drops", 0)
        drops.append(dropped / length / 1e3)
        wanted = entry["sent"] - dropped
        loss.append(100 * entry["lost"] / wanted if wanted > 0 else 0)
    unit, factor = ("hours", 3600) if times[-1] > 2 * 3600 else ("minutes", 60)
    if times[-1] <= 180:
        unit, factor = "seconds", 1
    times = [time / factor for time in times]
    figure, (rates, losses) = plt.subplots(
        2, 1, figsize=(9.6, 4.2), sharex=True, height_ratios=[3, 2]
    )
    marker = "." if len(times) <= 60 else None
    rates.plot(times, sent, color=COLORS[7], label="sent", linewidth=2.5, marker=marker)
    rates.plot(times, received, color=COLORS[0], label="received", linewidth=1.2, marker=marker)
    if any(drops):
        # Apart from loss: what should not come back.
        rates.plot(times, drops, color=COLORS[1], label="expected drops", linewidth=1.2, marker=marker)
    rates.set_ylim(bottom=0, top=1.15 * max(max(sent), max(received), 0.001))
    rates.set_ylabel("thousand packets/s")
    rates.set_title(f"{report.label}: rate and loss over time")
    beside(rates)
    losses.plot(times, loss, color=COLORS[3], marker=marker, linewidth=1.2)
    losses.fill_between(times, loss, color=COLORS[3], alpha=0.15)
    losses.set_ylim(bottom=0, top=max(1.15 * max(loss), 0.1))
    losses.yaxis.set_major_locator(MaxNLocator(4))
    losses.set_ylabel("loss, %")
    losses.set_xlabel(unit)
    return picture(figure, f"Rate and loss of {report.label} over time")


RATIO_NAMES = {
    "rate": "highest rate",
    "latency_p50": "median latency",
    "latency_p99": "99th percentile of latency",
    "loss": "loss",
}


def plot_compare(report):
    ratios = report.data.get("ratios") or {}
    if not ratios:
        return ""
    figure, axes = plt.subplots(figsize=(9.6, 1.1 + 0.6 * len(ratios)))
    names = list(ratios)
    for i, name in enumerate(names):
        ratio = ratios[name]
        axes.plot([ratio["min"], ratio["max"]], [i, i], color=COLORS[7], linewidth=2, zorder=1)
        axes.scatter(ratio.get("rounds", []), [i] * len(ratio.get("rounds", [])), s=18,
                     color=COLORS[0], alpha=0.6, zorder=2, label="one round" if i == 0 else None)
        axes.scatter([ratio["median"]], [i], marker="|", s=260, linewidths=2.5, color=COLORS[1],
                     zorder=3, label="median" if i == 0 else None)
    axes.axvline(1, color="#555555", linewidth=1, linestyle=":")
    axes.set_yticks(range(len(names)), [RATIO_NAMES.get(name, name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    a, b = report.data.get("a", "A"), report.data.get("b", "B")
    axes.set_xlabel(f"{a} as a multiple of {b}")
    axes.set_title(f"{report.label}: {a} against {b}, round by round")
    beside(axes)
    # Twice and half are equally far from 1.
    axes.set_xscale("log")
    # Powers alone would leave a narrow range without a tick.
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    return picture(figure, f"Comparison {report.label}")


# --- tables ---------------------------------------------------------------------------------------


def table(headings, rows):
    head = "".join(f"<th>{html.escape(text)}</th>" for text in headings)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f"<div class=wide><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"


def faults(report):
    """What was not as it should be, in words; empty = the report passed."""
    data = report.data
    if report.kind == "compare":
        return []
    if report.kind == "search":
        wrong = [f"{row['size']} bytes: {name} {count}" for row in data["sizes"]
                 for name, count in (row.get("violations") or {}).items() if count]  # fmt: skip
        nothing = [f"{row['size']} bytes: lost at every rate" for row in data["sizes"]
                   if not any((row.get(goal) or {}).get("rate_pps") for goal in ("ndr", "pdr", "rate"))]  # fmt: skip
        return wrong or nothing
    wrong = [f"{name} {number(count)}" for name, count in data["violations"].items() if count]
    if data["loss"] > share(report.config.get("max-loss", "0")):
        wrong.append(f"loss {percent(data['loss'])}")
    return wrong


def share(text):
    """A share as flags have it: 0.5%, 0.005."""
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def verdicts(reports):
    """A line for each report: passed or not, when and where it was made."""
    rows = []
    for report in reports:
        wrong = faults(report)
        verdict = f"<b class=bad>failed: {html.escape(', '.join(wrong))}</b>" if wrong else "<b>passed</b>"
        if report.data.get("stopped"):
            verdict += " <small>stopped early</small>"
        about = report.data.get("about") or {}
        facts = (about.get(key, "") for key in ("date", "host", "version", "kernel"))
        rows.append([html.escape(report.label), verdict, *map(html.escape, facts)])
    return table(["report", "verdict", "date", "host", "sluice-gen", "kernel"], rows)


def run_row(report):
    data, latency = report.data, report.data["latency_ns"]
    wrong = {name: count for name, count in data["violations"].items() if count}
    violations = ", ".join(f"{html.escape(name)} {number(n)}" for name, n in wrong.items()) or "none"
    if wrong:
        violations = f"<b class=bad>{violations}</b>"
    limited = " <small>generator limited</small>" if data["generator_limited"] else ""
    loss = percent(data["loss"])
    return [
        html.escape(report.label), html.escape(str(report.size)), pps(data["rate_pps"]) + limited,
        bps(data["rate_bps"]), number(data["sent"]), number(data["expected_drops"]), number(data["lost"]),
        f"<b class=bad>{loss}</b>" if data["lost"] else loss, violations,
        *(duration(latency[key]) for key in ("p50", "p99", "p999", "max")),
    ]  # fmt: skip


def search_rows(report):
    for row in report.data["sizes"]:
        for goal, name in (("ndr", "NDR"), ("pdr", "PDR"), ("rate", "loss bound")):
            found = row.get(goal)
            if not found:
                continue
            note = "generator limited" if found["generator_limited"] else ""
            note = note or ("at --max-rate" if found.get("at_max_rate") else "")
            latency = found.get("latency_ns") or {}
            yield [
                html.escape(report.label), html.escape(str(row["size"])), name,
                ("≥ " if note else "") + pps(found["rate_pps"]), bps(found["rate_bps"]), percent(found["loss"]),
                *(duration(latency[key]) if latency else "" for key in ("p50", "p99", "max")), note,
            ]  # fmt: skip


def compare_rows(report):
    for name, ratio in (report.data.get("ratios") or {}).items():
        yield [
            html.escape(report.label), RATIO_NAMES.get(name, html.escape(name)),
            f"<b>{ratio['median']:.3f}</b>", f"{ratio['min']:.3f}", f"{ratio['max']:.3f}",
            number(len(report.data["rounds"])),
        ]  # fmt: skip


def settings(reports):
    parts = []
    for report in reports:
        words = " ".join(f"--{name} {value}" for name, value in sorted(report.config.items()))
        parts.append(f"<dt>{html.escape(report.label)}</dt><dd><code>{html.escape(words)}</code></dd>")
    return "<dl>" + "\n".join(parts) + "</dl>"


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff;
       max-width: 62rem; margin: 2.5rem auto; padding: 0 1.25rem }}
h1 {{ font-size: 1.5rem; margin: 0 0 .25rem }}
h2 {{ font-size: 1.1rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid #ddd; padding-bottom: .25rem }}
p.note, p.lead {{ color: #666; margin: .25rem 0 }}
figure {{ margin: 1rem 0 }} img {{ max-width: 100%; height: auto }}
.wide {{ overflow-x: auto }}
table {{ border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums }}
th {{ text-align: left; font-weight: 600; color: #555; border-bottom: 1px solid #bbb }}
th, td {{ padding: .3rem .8rem .3rem 0; white-space: nowrap; vertical-align: top }}
td {{ border-bottom: 1px solid #eee }}
small {{ color: #a06020 }} .bad {{ color: #b0413e }}
dt {{ font-weight: 600; margin-top: .5rem }} dd {{ margin: 0 }} code {{ font-size: .85rem; color: #444 }}
</style></head><body>
<h1>{title}</h1>
<p class=lead>{lead}</p>
{body}
</body></html>
"""


def section(title, *parts):
    text = "\n".join(part for part in parts if part)
    return f"<h2>{title}</h2>\n{text}\n" if text else ""


def page(reports):
    runs = [report for report in reports if report.kind == "run"]
    searches = [report for report in reports if report.kind == "search"]
    compares = [report for report in reports if report.kind == "compare"]
    run_table = search_table = compare_table = ""
    if runs:
        headings = ["run", "size", "offered", "", "sent", "expected drops", "lost", "loss", "violations",
                    "p50", "p99", "p99.9", "max"]  # fmt: skip
        run_table = table(headings, map(run_row, runs))
    if searches:
        headings = ["search", "size", "goal", "rate", "", "loss", "p50", "p99", "max", ""]
        search_table = table(headings, [row for report in searches for row in search_rows(report)])
    if compares:
        headings = ["comparison", "ratio of", "median", "min", "max", "rounds"]
        compare_table = table(headings, [row for report in compares for row in compare_rows(report)])
    targets = sorted({str(report.config["target"]) for report in reports if "target" in report.config})
    lead = f"{len(reports)} report{'s' if len(reports) > 1 else ''} of sluice-gen"
    if targets:
        lead += f", target {', '.join(targets)}"
    body = section("Verdict", verdicts(reports))
    body += section("Throughput", search_table, plot_throughput(reports))
    body += section("Comparison", compare_table, *map(plot_compare, compares))
    body += section("Runs", run_table)
    body += section("Latency", plot_latency(reports))
    body += section("Over time", *map(plot_time, runs))
    body += section("Options", settings(reports))
    return PAGE.format(title="Load test", lead=html.escape(lead), body=body)


def main():
    directory, paths = sys.argv[1], sys.argv[2:]
    reports = read(paths)
    with plt.rc_context(STYLE):
        text = page(reports)
    file = os.path.join(directory, "index.html")
    try:
        os.makedirs(directory, exist_ok=True)
        with open(file, "w", encoding="utf-8") as output:
            output.write(text)
    except OSError as error:
        fail(71, f"{file}: {error.strerror}")
    print(file)


try:
    main()
except (KeyError, TypeError, AttributeError, ValueError) as error:
    fail(64, f"a file is not a report of sluice-gen ({type(error).__name__}: {error})")
