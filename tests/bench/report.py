"""The rows of scripts/bench, their goals, and the table and picture made of them."""

import math
import re

# Row: what it is called here, what a person reads, how it is written, the goal (a number in that
# unit, or how many times the better peer's rate), and the machine's own limit (name, factor).
US, MS, NS, RATE, KIB, COUNT = "us", "ms", "ns", "/s", "KiB", ""
ROWS = (
    ("call_back_to_back", "synchronous call, back to back", US, 0.8, ("spin_1000", 1e-3)),
    ("call_after_20us", "the same after 20 us of silence", US, 3, ("spin_1000", 1e-3)),
    ("call_after_50us", "after 50 us", US, 5, ("spin_1000", 1e-3)),
    ("call_after_200us", "after 200 us", US, 5, ("spin_1000", 1e-3)),
    ("call_after_900us", "after 900 us", US, None, ("futex_after_900us", 1)),
    ("call_after_900us_server_cpu", "server CPU of such a call", US, 20, None),
    ("call_after_2ms", "after 2 ms", US, None, ("futex_after_900us", 1)),
    ("call_after_10ms", "after 10 ms (idle ring)", US, 110, ("futex_after_10ms", 1)),
    ("idle_wakeups", "idle context: wake-ups a second", COUNT, 0, None),
    ("idle_pss", "idle context: memory (PSS)", KIB, 6144, None),
    ("idle_threads", "idle context: threads", COUNT, 4, None),
    ("create_instance", "vkCreateInstance", MS, 0.6, ("pass_socket", 1)),
    ("create_device", "vkCreateDevice, with what a client asks before", MS, None, None),
    ("socket_to_device", "context from socket to usable VkDevice", MS, 8, None),
    ("devices_in_a_row", "contexts with a device, made and ended without a pause, each", MS, None,
     None),
    ("exec_to_first_context", "exec of the server to its first context", MS, 5,
     ("fork_exec", 1)),
    ("create_context_answer", "CREATE_CONTEXT answered", MS, 0.2, ("seqpacket", 1)),
    ("contexts_in_a_row_first", "empty contexts in a row: the first tenth, each", MS, None, None),
    ("contexts_in_a_row_last", "empty contexts in a row: the last tenth, each", MS, None, None),
    ("contexts_in_a_row_server_rss", "server's memory after them", KIB, None, None),
    ("draw_server_cpu", "decode, server CPU: draw", NS, 25, None),
    ("push_constants_server_cpu", "pushConstants", NS, 60, None),
    ("bind_descriptor_sets_server_cpu", "bindDescriptorSets", NS, 80, None),
    ("barrier2_server_cpu", "pipelineBarrier2", NS, 75, None),
    ("copy_buffer_server_cpu", "copyBuffer", NS, 75, None),
    ("bind_push_draw_server_cpu", "bind, push and draw", NS, None, None),
    ("draw_processed", "draws recorded and processed", RATE, None, None),
    ("bind_push_draw_processed", "bind, push and draw, processed", RATE, None, None),
    ("update_of_10000_per_item", "updateDescriptorSets of 10,000, per item", NS, 70, None),
    ("update_of_100_per_item", "updateDescriptorSets of 100, per item", NS, 100, None),
    ("submit_and_wait", "empty submit and fence wait", US, 90, ("futex_after_900us", 1)),
    ("alloc_map_4kib", "allocate + map 4 KiB", US, 40, None),
    ("alloc_map_256mib", "allocate + map 256 MiB", US, 100, None),
    ("alloc_map_256mib_free", "free of 256 MiB, all touched", MS, None, None),
    ("first_touch", "first touch of mapped memory, per 4 KiB", US, 1.9,
     ("touch_16mib", 1 / 4096)),
    ("crowd_calls", "clients at once: calls a second, all", RATE, "1.5 x peer",
     ("yielding_pairs", 1)),
    ("matmul_token", "32 matrix products, submitted and waited for", MS, None, None),
    ("gpu_compute_frame", "a frame of compute, three in flight", MS, None, None),
    ("gpu_draw_frame", "a frame of drawing, three in flight", MS, None, None),
)
# The peer's empty context has no driver in it; ours has one, and is sealed. What counts is that the
# last is as the first.
NOT_COMPARED = ("contexts_in_a_row_first", "contexts_in_a_row_last")
# Columns behind the verdict.
BESIDE = ("off", "with_peer11", "with_peer13")
FACTOR = {NS: 1e3, US: 1, MS: 1e-3, RATE: 1, KIB: 1, COUNT: 1}


def derive(rows):
    """Rows that are made of others."""
    if "alloc_map_256mib_first_touch" in rows:
        rows["first_touch"] = (rows["alloc_map_256mib_first_touch"][0] / 65536, "us")
    return rows


def number(value):
    if value == 0:
        return "0"
    if value >= 1e6:
        return f"{value / 1e6:.1f} M"
    if value >= 1e4:
        return f"{value / 1e3:.0f} k"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def written(value, unit):
    if value is None:
        return "-"
    return f"{number(value)} {unit}".replace("M /s", "M/s").replace("k /s", "k/s").strip()


def met(row, goal):
    """Yes or no, and with peers there, whether none of them is ahead."""
    mine, best = row["cordon"], row["best_peer"]
    if mine is None:
        return "-"
    if isinstance(goal, str):
        return "-" if best is None else "yes" if mine >= 1.5 * best else "no"
    return "-" if goal is None else "yes" if mine <= goal else "no"


def ratio(mine, theirs, higher):
    """Above 1: mine is better."""
    return mine / theirs if higher else theirs / mine


def like_with_like(row, higher):
    """(How many times better Cordon is than the peer that comes nearest, whether the rounds of the
    two overlap, so that nothing is shown); the two on the same host driver if that was measured."""
    peers = [peer for peer in ("peer11", "peer13") if row.get(peer)]
    pairs = [(f"with_{peer}", peer) for peer in peers if row.get(f"with_{peer}")]
    pairs = pairs or [("cordon", peer) for peer in peers if row["cordon"]]
    if not pairs or row["name"] in NOT_COMPARED:
        return None
    mine, theirs = min(pairs, key=lambda pair: ratio(row[pair[0]], row[pair[1]], higher))
    (low, high), (their_low, their_high) = row["ranges"][mine], row["ranges"][theirs]
    return ratio(row[mine], row[theirs], higher), low <= their_high and their_low <= high


def table(samples, limits, columns):
    """samples: {column: [{name: (value, unit)} per round]}. A list of rows, each a dictionary."""
    rows = []
    for name, label, unit, goal, limit in ROWS:
        row = {"name": name, "label": label, "unit": unit, "ranges": {}}
        for column in columns:
            values = sorted(sample[name][0] * FACTOR[unit] for sample in samples[column]
                            if name in sample)
            row[column] = values[len(values) // 2] if values else None
            row["ranges"][column] = (values[0], values[-1]) if values else None
        if all(row[column] is None for column in columns):
            continue
        peers = [row[c] for c in columns if c.startswith("peer") and row[c] is not None]
        higher = unit == RATE
        row["best_peer"] = (max if higher else min)(peers) if peers else None
        row["limit"] = (limits[limit[0]][0] * limit[1] * FACTOR[unit]
                        if limit and limit[0] in limits else None)
        row["goal"] = goal if isinstance(goal, str) else None if goal is None else (
            "0" if goal == 0 else f"<= {number(goal)} {unit}".strip())
        row["met"] = met(row, goal)
        row["ratio"] = like_with_like(row, higher)
        if row["cordon"] and row["limit"]:
            row["distance"] = ratio(row["limit"], row["cordon"], higher)
        rows.append(row)
    return rows


def cells(row, columns):
    """The row as text, in the order of `heads`."""
    low, high = row["ranges"]["cordon"] or (0, 0)
    spread = f"{number(low)}-{number(high)}" if low != high else ""
    versus = f"{row['ratio'][0]:.2f}x{' ~' * row['ratio'][1]}" if row["ratio"] else "-"
    return [row["label"], *(written(row[c], row["unit"]) for c in columns if c not in BESIDE), spread,
            versus,
            written(row["limit"], row["unit"]),
            f"{row['distance']:.1f}x" if "distance" in row else "-",
            row["goal"] or "-", row["met"],
            *(written(row[c], row["unit"]) for c in columns if c in BESIDE)]


def heads(columns, labels):
    return ["", *(labels[c] for c in columns if c not in BESIDE), "spread", "vs peer", "limit",
            "distance", "goal", "met", *(labels[c] for c in columns if c in BESIDE)]


def as_text(rows, columns, labels):
    lines = [heads(columns, labels), *(cells(row, columns) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(line, widths))).rstrip()
                     for line in lines)


def as_markdown(rows, columns, labels):
    head = heads(columns, labels)
    lines = ["| " + " | ".join(head) + " |", "| --- " + "| ---: " * (len(head) - 1) + "|"]
    lines += ["| " + " | ".join(cells(row, columns)) + " |" for row in rows]
    return "\n".join(lines)


def stages_markdown(stages):
    return "\n".join(["| stage of a worker's start | us |", "| --- | ---: |",
                      *(f"| {name} | {value:.0f} |" for name, value in stages)])


BAR, HEIGHT, LEFT = 420, 11, 300
COLORS = {"lavapipe": "#9aa5b1", "peer11": "#e8b37d", "peer13": "#d98c3f", "cordon": "#2f6fb0"}


def picture(rows, labels):
    """An SVG with a bar for each measurement, in logarithmic scale within its row's own range."""
    parts, y = [], 40
    for row in rows:
        values = {who: row[who] for who in COLORS if row.get(who)}
        if "cordon" not in values or row["unit"] == COUNT:
            continue
        low = min(values.values()) / 2
        span = math.log(max(values.values()) / low)
        middle = y + HEIGHT * len(values) // 2 + 4
        parts.append(f'<text x="{LEFT - 10}" y="{middle}" text-anchor="end">{row["label"]}</text>')
        for who, value in values.items():
            width = BAR * math.log(value / low) / span
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.0f}" height="{HEIGHT}" '
                         f'fill="{COLORS[who]}"/><text x="{LEFT + width + 6:.0f}" y="{y + 10}">'
                         f'{written(value, row["unit"])}</text>')
            y += HEIGHT + 2
        y += 10
    shown = [who for who in COLORS if any(row.get(who) for row in rows)]
    legend = "".join(f'<rect x="{LEFT + 130 * i}" y="12" width="11" height="11" '
                     f'fill="{COLORS[who]}"/><text x="{LEFT + 16 + 130 * i}" y="22">'
                     f'{labels[who]}</text>' for i, who in enumerate(shown))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + BAR + 110}" height="{y}" '
            'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" '
            f'fill="white"/>{legend}{"".join(parts)}</svg>\n')


def put_between(text, name, content):
    """`text` with what stands between the marks of this name replaced."""
    pattern = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no marks <!-- {name}: begin --> and end")
    return pattern.sub(lambda found: found[1] + content.rstrip() + "\n" + found[2], text)
