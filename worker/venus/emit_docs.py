"""docs/commands.md: every command of the protocol, and how it is served."""

import re

HOW = {
    "call": "decoded and passed to the host driver",
    "create": "host call; the object enters the table under the guest's id",
    "allocate": "host call; all objects enter the table below their pool, or none does",
    "pipelines": "host call; each pipeline made enters the table",
    "destroy": "leaves the table, then the host object ends",
    "free": "those still in the table leave it, then one host call",
    "reset": "host call; the pool's children leave the table",
    "handler": "by hand",
}


def commands_md(planner):
    schema, rules = planner.schema, planner.rules
    runs = [p for p in planner.plans.values() if p.runs]
    refused = [p for p in planner.plans.values() if not p.runs]
    serializable = [p for p in planner.plans.values()
                    if not p.reason.startswith("no wire form")]
    version = ".".join(str(v) for v in planner.reg.version)
    out = [
        "# Commands of the Venus protocol, and how Cordon serves them",
        "",
        "Written by `worker/venus/generate.py --docs`; a test compares it with what the generator "
        "says. Not to be edited: `ninja update-commands-md` rewrites it.",
        "",
        f"Registry {version}; {len(schema.extensions)} extensions, {len(planner.plans)} commands "
        f"({len(serializable)} with a wire form), {len(schema.structs)} structures, "
        f"{len(schema.unions)} unions. {len(runs)} commands are served, {len(refused)} are "
        "refused: a guest that sends one of those loses its context.",
        "",
    ]
    if schema.missing_extensions:
        out += ["Extensions that this registry does not know, and that are left out: "
                + ", ".join(schema.missing_extensions) + ".", ""]
    out += ["| No. | Command | Kind | How it is served, or why it is refused | Stream | From |",
            "|---|---|---|---|---|---|"]
    names = {}
    for name, number in rules.numbers.items():
        names.setdefault(number, name)
    for number in range(max(names) + 1):
        plan = planner.plans.get(number)
        if plan is None:
            reason = ("unknown to this registry" if number in names
                      else "no command has this number")
            out.append(f"| {number} | {names.get(number, '-')} | refuse | {reason} | - | - |")
            continue
        how = plan.reason if not plan.runs else HOW[plan.kind]
        if plan.hooks and plan.runs:
            how += "; by hand: " + ", ".join(
                {"prepare": "checks before the call",
                 "created": "notes on the new object"}[h] for h in plan.hooks)
        origin = re.sub(r"VK_(?:[A-Z]+_)?VERSION_(\d)_(\d)", r"Vulkan \1.\2",
                        schema.origin.get(plan.name, "-"))
        out.append(f"| {number} | {plan.name} | {plan.kind} | {how} | "
                   f"{plan.command.stream} | {origin} |")
    return "\n".join(out) + "\n"
