"""Plots the results of benches/run: plots.py JSON-DIRECTORY OUT-DIRECTORY."""
import json
import pathlib
import statistics
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402 (after the backend is set)
from matplotlib import ticker  # noqa: E402

# Reproducible output: the same figures give the same file.
matplotlib.rcParams["svg.hashsalt"] = "doorward"
matplotlib.rcParams["font.size"] = 9


def figure(title, x, y):
    made, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return made, axes


def save(made, path):
    made.savefig(path, metadata={"Date": None})
    plt.close(made)


def growth(launches, path):
    made, axes = figure(
        "Time of a decision by number of shares in memory", "shares", "one verification = 1"
    )
    shares = [row["shares"] for row in launches[0]["growth"]]
    ratios = [[it["growth"][at]["ratio"] for it in launches] for at in range(len(shares))]
    middles = [statistics.median(row) for row in ratios]
    axes.plot(shares, middles, marker="o", label="decision, from the bytes of a command")
    axes.fill_between(shares, [min(r) for r in ratios], [max(r) for r in ratios], alpha=0.2)
    axes.axhline(1, color="grey", linewidth=1, label="floor: one strict verification")
    axes.axhline(1.08, color="tab:red", linestyle=":", label="goal, 1.08")
    axes.set_xscale("log")
    axes.set_ylim(0.9, 1.15)
    axes.legend(loc="lower right")
    save(made, path)


def latencies(rows, path):
    made, axes = figure(
        "From a command to its receipt, over mosquitto", "per cent of commands", "microseconds"
    )
    for row in rows:
        style = ":" if row["name"] == "one durable write" else "-"
        percents, times = zip(*row["curve"])
        axes.plot(percents, times, style, marker=".", label=row["name"])
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_ylim(50, 2000)
    axes.legend(fontsize=7, ncol=2, loc="upper left")
    save(made, path)


def storm(fleets, path):
    made, axes = figure(
        "Reconnection of a fleet after a broker restart", "seconds since the broker restarted", "devices"
    )
    for found in reversed(fleets):
        bins = found["fleet"]["storm"]["quarter_seconds"]
        name = f"{found['fleet']['devices']:,} devices"
        axes.bar([at / 4 for at in range(len(bins))], bins, width=0.25, align="edge", label=name)
    axes.legend()
    save(made, path)


def main():
    kept, out = map(pathlib.Path, sys.argv[1:])
    out.mkdir(exist_ok=True)
    found = {part.stem: json.loads(part.read_text())["found"] for part in kept.glob("*.json")}
    growth(found["decide"], out / "growth.svg")
    latencies(found["roundtrip"]["latencies"], out / "latencies.svg")
    storm(found["fleet"], out / "storm.svg")


if __name__ == "__main__":
    main()
