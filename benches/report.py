"""Writes the results of benches/run into docs/performance.md, between its markers."""
import re
import statistics


def middle(launches, *path):
    """The median of a figure over all launches, and its spread."""
    values = []
    for launch in launches:
        for step in path:
            launch = launch[step]
        values.append(launch)
    return statistics.median(values), min(values), max(values)


def spread(values, form="{:.3f}"):
    return f"{form.format(values[0])} ({form.format(values[1])} to {form.format(values[2])})"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def named(rows, name):
    return next(row for row in rows if row["name"] == name)


def of_name(launches, part, name, field):
    values = [named(launch[part], name)[field] for launch in launches]
    return statistics.median(values), min(values), max(values)


def decision(launches):
    rows = []
    for at, row in enumerate(launches[0]["growth"]):
        ratio = middle(launches, "growth", at, "ratio")
        floor = middle(launches, "growth", at, "floor_us")
        most = max(launch["growth"][at]["allocations"] for launch in launches)
        rows.append([f"{row['shares']:,}", spread(ratio), most, spread(floor, "{:.1f}") + " us"])
    text = table(["shares", "decision, of one verification", "allocations", "one verification"], rows)
    last = len(launches[0]["device"]) - 1
    small = middle(launches, "device", last, "ratio")
    text += (
        "\n\nWith 1,000 shares in the release build (`opt-level = \"z\"`), of its own floor: "
        f"{spread(small)}."
    )
    if "avx512" in launches[0]:
        wide = [
            launch["avx512"][last]["us"] / launch["growth"][last]["floor_us"] for launch in launches
        ]
        wide = (statistics.median(wide), min(wide), max(wide))
        text += (
            " Built for processors with AVX-512 (`-C target-feature=+avx512ifma,+avx512vl`), of the floor of "
            f"the usual build, measured immediately before: {spread(wide)}."
        )
    return text


def steps(launches):
    rows = []
    for part in ("refusals", "first_sight", "throughput"):
        for row in launches[0][part]:
            if row["name"] == "one verification":
                continue
            ratio = of_name(launches, part, row["name"], "ratio")
            time = of_name(launches, part, row["name"], "us")
            rows.append([row["name"], f"{time[0]:.2f} us", spread(ratio, "{:.4f}")])
    return table(["case", "time", "of one verification"], rows)


def peers(launches):
    rows = []
    for row in launches[0]["peers"]:
        name = row["name"]
        rows.append(
            [
                name,
                f"{of_name(launches, 'peers', name, 'us')[0]:.0f} us",
                f"{of_name(launches, 'peers', name, 'ratio')[0]:.2f}",
                spread(of_name(launches, "peers", name, "of_ours"), "{:.2f}"),
                f"{row['allocations']:,}",
            ]
        )
    return table(["the same decision with", "time", "of one verification", "of ours", "allocations"], rows)


def roundtrip(found):
    rows = []
    for row in found["latencies"]:
        many = [it for it in found["sustained"] if it["name"] == row["name"]]
        rate = f"{many[0]['per_second']:,.0f}" if many else ""
        work = f"{many[0]['cpu_us']:.0f} us" if many else ""
        memory = f"{many[0]['memory'] / 2**20:.1f} MiB" if many else ""
        latency = [f"{row[at]:,.0f} us" for at in ("p50_us", "p99_us", "max_us")]
        rows.append([row["name"], *latency, rate, work, memory])
    text = table(
        ["responder", "p50", "p99", "slowest", "commands/s, 256 in flight", "processor time for a command", "memory"],
        rows,
    )
    flood, flash = found["flood"], found["flash"]
    text += "\n\n" + table(
        ["the owner on one link", "p50", "p99"],
        [
            [name, *(f"{flood[key][at]:,.0f} us" for at in ("p50_us", "p99_us"))]
            for name, key in (
                ("quiet", "quiet"),
                ("20,000 forged commands a second on the other link", "flooded"),
            )
        ],
    )
    text += (
        f"\n\nOne `status.read` writes {flash['command']:,.0f} bytes to the disk, ten idle seconds "
        f"{flash['idle']:,}."
    )
    grown = found["growth"]
    first, last = grown[min(9, len(grown) - 1)], grown[-1]
    text += (
        f" Memory after {first[0]:,} commands: {first[1] / 2**20:.1f} MiB; after {last[0]:,}: "
        f"{last[1] / 2**20:.1f} MiB."
    )
    return text


def fleet(found):
    rows = []
    for it in found:
        devices, bare = it["fleet"], statistics.median(it["bare"]["lasts_ms"])
        last = statistics.median(devices["lasts_ms"])
        first, half, _ = devices["ms"]
        after = ", ".join(f"{count:,} {said}" for said, count in devices["after"].items())
        rows.append(
            [
                f"{devices['devices']:,}",
                f"{bare:.0f} ms",
                f"{first:.0f}, {half:.0f}, {last:.0f} ms",
                f"{last / bare:.1f}",
                after,
                f"{devices['storm']['last_s']:.1f} s",
                f"{devices['memory'] / devices['devices'] / 2**20:.2f} MiB",
            ]
        )
    return table(
        [
            "devices",
            "bare clients, last answer",
            "first, median, last verified confirmation",
            "ratio",
            "the guest's next command",
            "all reconnected after a broker restart",
            "memory of each",
        ],
        rows,
    )


def counted(found):
    rows = [[what, f"{found[what]:,}"] for what in ("decision", "step")]
    return table(["instructions", "of one"], rows) + f"\n\nCounted with {found['compiler']}, {found['processor']}."


def goals(kept):
    launches, trip = kept["decide"]["found"], kept["roundtrip"]["found"]
    latency = {row["name"]: row for row in trip["latencies"]}
    rate = {row["name"]: row for row in trip["sustained"]}
    memory, disk = "doorward, state in memory", "doorward"
    rows = []

    def goal(what, value, limit, form="{:.2f}", least=False):
        kept_it = value >= limit if least else value <= limit
        sign = "&ge;" if least else "&le;"
        rows.append([what, form.format(value), f"{sign} {limit:g}", "met" if kept_it else "**missed**"])

    sizes = [row["shares"] for row in launches[0]["growth"]]
    ratio = {size: middle(launches, "growth", at, "ratio")[0] for at, size in enumerate(sizes)}
    typical = 10_000 if 10_000 in ratio else sizes[-1]
    goal(f"a decision with {typical:,} shares, of one verification", ratio[typical], 1.08, "{:.3f}")
    most = max(row["allocations"] for launch in launches for row in launch["growth"])
    goal("allocations in it", most, 0, "{}")
    goal(f"with {sizes[-1]:,} shares, of that", ratio[sizes[-1]] / ratio[typical], 1.05, "{:.3f}")
    for name in ("retained", "too large", "unknown key"):
        goal(f"refused: {name}, of one verification", of_name(launches, "refusals", name, "ratio")[0], 0.01, "{:.4f}")
    step = of_name(launches, "throughput", "agent's step", "us")[0]
    over = of_name(launches, "throughput", "with ten over their bucket", "us")[0]
    strange = of_name(launches, "throughput", "with ten of unknown keys", "us")[0]
    floor = of_name(launches, "throughput", "one verification", "us")[0]
    goal("refused: over its rate limit, the whole step", max(0, (over - step) / 10 / floor), 0.01, "{:.4f}")
    goal("throughput with ten times as many messages of unknown keys", step / strange, 0.9, least=True)
    goal("throughput with ten times as many messages over their rate limit", step / over, 0.9, least=True)
    goal("a share seen for the first time, of one verification", of_name(launches, "first_sight", "a share that is new", "ratio")[0], 1.3)
    for name, limit in (
        ("biscuit, holder-signed", 5),
        ("JWT, JWT, Cedar with 1 policy", 2),
        ("JWT, JWT, Cedar with 1,000 policies", 15),
    ):
        goal(f"{name}, of ours", of_name(launches, "peers", name, "of_ours")[0], limit, least=True)
    python = rate["an agent in Python"]
    goal("commands/s, of the agent in Python (which keeps no records)", rate[disk]["per_second"] / python["per_second"], 3, least=True)
    goal("processor time of the agent in Python for a command, of ours", python["cpu_us"] / rate[disk]["cpu_us"], 3, least=True)
    signed = latency["verified, receipt signed"]
    goal("p50 without the disk, of a responder that verifies and signs", latency[memory]["p50_us"] / signed["p50_us"], 1.1)
    goal("p99 without the disk, of the echo's", latency[memory]["p99_us"] / latency["bare echo"]["p99_us"], 2)
    sync = latency["one durable write"]["p50_us"]
    goal("the disk's share of p50, in durable writes", (latency[disk]["p50_us"] - latency[memory]["p50_us"]) / sync, 1.3)
    goal("the slowest command, in ms: no 40 ms delay", latency[disk]["max_us"] / 1000, 40, "{:.1f}")
    goal("commands/s with the disk, of those without", rate[disk]["per_second"] / rate[memory]["per_second"], 0.75, least=True)
    goal("p99 during a flood on the other link, of p99 without", trip["flood"]["flooded"]["p99_us"] / trip["flood"]["quiet"]["p99_us"], 2)
    goal("bytes on the disk for one command, in blocks of 4 KiB", trip["flash"]["command"] / 4096, 1.5)
    goal("bytes written in ten idle seconds", trip["flash"]["idle"], 0, "{}")
    grown = trip["growth"]
    goal(f"memory after {grown[-1][0]:,} commands, of that after {grown[min(9, len(grown) - 1)][0]:,}", grown[-1][1] / grown[min(9, len(grown) - 1)][1], 1.05, "{:.3f}")
    if "avx512" in launches[0]:
        at = len(launches[0]["avx512"]) - 1
        wide = [it["avx512"][at]["us"] / it["growth"][at]["floor_us"] for it in launches]
        goal("built for AVX-512, of the usual floor", statistics.median(wide), 0.75, "{:.3f}")
    for it in kept["fleet"]["found"]:
        last = statistics.median(it["fleet"]["lasts_ms"]) / statistics.median(it["bare"]["lasts_ms"])
        goal(f"{it['fleet']['devices']:,} devices have verified and stored a list, of bare clients' answers", last, 2.5, "{:.1f}")
    start = next((row for row in kept["footprint"]["found"] if row[0] == "ratio of both"), None)
    if start:
        goal("start time with 10,000 shares, of the start without", float(start[1]), 3, "{:.1f}")
    return table(["goal", "measured", "limit", ""], rows)


def measured(part):
    quick = ", quick run" if part["quick"] else ""
    return f"\n\nMeasured on {part['when']}, {part['machine']}{quick}."


def write(docs, kept):
    launches = kept["decide"]["found"]
    texts = {
        "goals": goals(kept),
        "decision": decision(launches) + measured(kept["decide"]),
        "steps": steps(launches),
        "peers": peers(launches),
        "roundtrip": roundtrip(kept["roundtrip"]["found"]) + measured(kept["roundtrip"]),
        "fleet": fleet(kept["fleet"]["found"]) + measured(kept["fleet"]),
        "footprint": table(["quantity", "measured", "budget"], kept["footprint"]["found"])
        + measured(kept["footprint"]),
        "instructions": counted(kept["instructions"]["found"]) + measured(kept["instructions"]),
    }
    path = docs / "performance.md"
    document = path.read_text()
    for name, text in texts.items():
        begin, end = f"<!-- measured: {name} -->", f"<!-- end: {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if not pattern.search(document):
            raise SystemExit(f"benches: docs/performance.md has no marker for {name}")
        document = pattern.sub(lambda _, t=text: f"{begin}\n\n{t}\n\n{end}", document)
    path.write_text(document)
