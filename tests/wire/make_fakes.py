#!/usr/bin/env python3
"""Writes fakes.c for the wire tests: a host driver and hand-written parts that do nothing.

    make_fakes.py GENERATOR_DIR vk.xml OUT
"""

import sys

sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True

import emit_headers  # noqa: E402
import generate  # noqa: E402
from emit_text import banner, c_decl  # noqa: E402


def parameter(p):
    return c_decl(p) if not (p.dims and p.const) else f"const {c_decl(p)}"


def host_call(planner, plan):
    """A function of the host: outputs of handles get numbers, the rest is up to `fake_fill`."""
    schema, command = planner.schema, plan.command
    args = ", ".join(parameter(p) for p in command.params)
    body = [f"    struct wire_{plan.name} c = {{ 0 }};", ""]
    for p in command.params:
        if p.type == "VkAllocationCallbacks":
            continue
        if schema.is_out(p) and schema.category(p.type) == "handle":
            n = f"{p.name}_count"
            expr = p.len[0] if p.len else "1"
            body += [f"    uint64_t {n} = {expr};", "",
                     f"    for (uint64_t i = 0; i < {n}; i++) {{",
                     f"        {p.name}[i] = ({p.type})(uintptr_t)fake_handle();", "    }"]
        elif p.dims:
            body.append(f"    memcpy(c.{p.name}, {p.name}, sizeof(c.{p.name}));")
        else:
            body.append(f"    c.{p.name} = {p.name};")
    unused = [p.name for p in command.params if p.type == "VkAllocationCallbacks"]
    body += [f"    (void){n};" for n in unused]
    body.append(f"    fake_run({plan.number}, &c);")
    if command.ret != "void":
        body.append("    return c.ret;")
    return (f"static VKAPI_ATTR {command.ret} VKAPI_CALL host_{plan.name}({args})\n{{\n"
            + "\n".join(body) + "\n}\n")


def main():
    planner = generate.load(sys.argv[2], sys.argv[1])
    plans = [p for p in planner.plans.values() if p.runs]
    out = [banner("a host and hand-written parts for tests."),
           '#include "tests/wire/fakes.h"\n\n#include <string.h>\n\n#include "wire/commands.h"\n']
    procs = {name for name, _, _ in emit_headers._procs(planner)}
    hosted = [p for p in plans if p.name in procs and p.kind != "handler"]
    for plan in hosted:
        out.append(host_call(planner, plan))
    rows = "".join(f"    .{p.name[2:]} = host_{p.name},\n" for p in hosted)
    out.append(f"const struct wire_procs fake_procs = {{\n{rows}}};\n")
    for plan in plans:
        if plan.kind == "handler":
            out.append(f"void cmd_{plan.name}(struct decoder *d, struct wire_{plan.name} *c)\n{{\n"
                       "    (void)d;\n"
                       + ("    c->ret = 0;\n" if plan.command.ret != "void" else "")
                       + f"    fake_run({plan.number}, c);\n}}\n")
        if "prepare" in plan.hooks:
            out.append(f"bool prepare_{plan.name}(struct decoder *d, struct wire_{plan.name} *c)\n"
                       "{\n    (void)d;\n    (void)c;\n    return true;\n}\n")
        if "created" in plan.hooks:
            out.append(f"void created_{plan.name}(struct decoder *d, struct wire_{plan.name} *c,\n"
                       "    struct object *o)\n{\n    (void)d;\n    (void)c;\n    (void)o;\n}\n")
    with open(sys.argv[3], "w", encoding="utf-8") as f:
        f.write("\n".join(out))


main()
