"""structs.h, links.h, structs_*.c, chains.c: one function per structure and mode."""

import re

from emit_fields import Encoder, Fields
from emit_text import banner, guard, wrap
from plan import ENCODE
from schema import FULL, PARTIAL

# File -> the names (without Vk) that go into it. The first fit counts.
GROUPS = (
    ("structs_physical_device.c", r"PhysicalDevice"),
    ("structs_pipeline.c", r"(Graphics|Compute|RayTracing)?Pipeline|Shader|Vertex"),
    ("structs_a_c.c", r"[A-C]"),
    ("structs_d_h.c", r"[D-H]"),
    ("structs_i_p.c", r"[I-P]"),
    ("structs_q_z.c", r"[Q-Z]"),
)
FILES = tuple(f for f, _ in GROUPS)


def group_of(name):
    return next(f for f, pattern in GROUPS if re.match("Vk(?:" + pattern + ")", name))


def _prefix(mode):
    return {FULL: "decode", PARTIAL: "decode_partial", ENCODE: "encode"}[mode]


def _const(mode):
    return "const " if mode == ENCODE else ""


def _inline(planner, name):
    """Flat structures are read and written in one go, from the header."""
    return planner.flat(name) > 0


def prototype(planner, name, mode):
    extra = ""
    if planner.schema.category(name) == "union" and not planner.untagged(name):
        extra = ", uint32_t selector"
    if mode == FULL and name in planner.captures:
        extra = ", struct object **ret_pool"
    return f"void wire_{_prefix(mode)}_{name}(struct decoder *d, {_const(mode)}{name} *v{extra})"


def _locals(body):
    out = []
    if getattr(body, "uses_p", False):
        out.append("    const uint8_t *p;\n")
    if body.uses_n:
        out.append("    uint64_t n;\n")
    return "".join(out) + ("\n" if out else "")


def _members(planner, name, mode):
    """(locals, statements) for everything behind sType and chain."""
    s, t = planner.schema, planner.reg.types[name]
    members = s.ordered(t.members)
    if mode == ENCODE:
        body = Encoder(planner, name, t.members, "v->")
        body.encode(members)
    else:
        body = Fields(planner, name, t.members, "v->")
        if name in planner.captures:
            body.capture = (planner.captures[name], "*ret_pool")
        body.decode(members, lambda m: s.mode(m, t.members) if mode == PARTIAL else FULL)
    return _locals(body), body.lines.text()


def rule_line(planner, name, mode):
    t = planner.reg.types[name]
    what = {FULL: "in full", PARTIAL: "what the driver fills: sizes and chain only",
            ENCODE: "for a reply"}[mode]
    if planner.schema.category(name) == "union":
        tag = "tag = member index" if planner.untagged(name) else "tag = the selector's value"
        return f"/* Union, {tag}, {what}. */\n"
    n = len([m for m in t.members if m.name not in ("sType", "pNext")])
    links = len(planner.children(name))
    chain = ""
    if t.stype:
        chain = f"sType, chain of {links} types, " if links else "sType, no chain, "
    return f"/* Struct: {chain}{n} members, {what}. */\n"


def _head(planner, name, mode):
    t = planner.reg.types[name]
    if not t.stype:
        return ""
    if mode == ENCODE:
        return f"    wire_encode_head(d, &chain_{name}, v->pNext);\n"
    partial = "true" if mode == PARTIAL else "false"
    return (f"    v->sType = {t.stype};\n"
            f"    v->pNext = wire_head(d, &chain_{name}, {partial});\n")


def _union(planner, name):
    """FULL decoder of a union."""
    s, t = planner.schema, planner.reg.types[name]
    tagged = planner.untagged(name)
    out, uses_p, uses_n = [], False, False
    for i, m in enumerate(t.members):
        cases = [str(i)] if tagged else list(m.selection)
        for c in cases:
            out.append(f"    case {c}:" + (f" /* {m.name} */" if tagged else ""))
        body = Fields(planner, name, t.members, "v->", depth=2)
        body.decode([m], lambda _: FULL)
        uses_p, uses_n = uses_p or body.uses_p, uses_n or body.uses_n
        out.append(body.lines.text().rstrip("\n"))
        out.append("        break;")
    local = "    uint32_t tag = decode_u32(d);\n"
    if uses_p:
        local += "    const uint8_t *p;\n"
    if uses_n:
        local += "    uint64_t n;\n"
    text = rule_line(planner, name, FULL) + wrap(prototype(planner, name, FULL))
    text += "\n{\n" + local + "\n"
    if not tagged:
        text += "    if (UNLIKELY(tag != selector)) {\n"
        text += wrap(f'        wire_bad_value(d, "{name}", tag, "contradicts the selector");')
        text += "\n        return;\n    }\n"
    text += "    switch (tag) {\n" + "\n".join(out) + "\n    default:\n"
    text += wrap(f'        wire_bad_value(d, "{name}", tag, "is no tag of this union");') + "\n"
    return text + "        break;\n    }\n}\n"


def function(planner, name, mode):
    """The functions of one struct in one mode."""
    if planner.schema.category(name) == "union":
        return _union(planner, name)
    local, body = _members(planner, name, mode)
    text, line = "", rule_line(planner, name, mode)
    direct = (name, mode) in planner.direct
    if name in planner.links and body:
        # As a chain link the members come alone, behind all the sTypes.
        text += line + wrap(f"void wire_members_{_prefix(mode)}_{name}(struct decoder *d, "
                            f"{_const(mode)}void *members)")
        text += f"\n{{\n    {_const(mode)}{name} *v = members;\n"
        text += local + ("" if local else "\n") + body + "}\n"
        local, body = "", f"    wire_members_{_prefix(mode)}_{name}(d, v);\n"
        line = "/* The same with its head. */\n"
        if direct:
            text += "\n"
    if direct:
        statements = _head(planner, name, mode) + body
        if "v->" not in statements and ", v)" not in statements:
            statements = "    (void)v;\n" + statements
        text += line + wrap(prototype(planner, name, mode)) + "\n{\n" + local
        text += statements + "}\n"
    return text


def chain_table(planner, name):
    """What may stand in the chain of a struct."""
    t = planner.reg.types[name]
    if not t.stype or not any((name, m) in planner.direct for m in planner.modes[name]):
        return ""
    links = sorted(planner.children(name), key=planner.stype_value)
    head = f'"{name}", {t.stype}'
    if not links:
        return (f"static const struct wire_chain chain_{name} = {{\n" +
                wrap(f"    {head}, 0, NULL", 4) + "\n};\n")
    rows = "".join(f"    WIRE_LINK_{c},\n" for c in links)
    return (f"static const uint16_t links_{name}[] = {{\n{rows}}};\n" +
            f"static const struct wire_chain chain_{name} = {{\n" +
            wrap(f"    {head}, ARRAY_SIZE(links_{name}), links_{name}", 4) + "\n};\n")


def _modes(planner, name):
    return [m for m in (FULL, PARTIAL, ENCODE) if m in planner.modes[name]]


def _skip(planner, name, mode):
    return mode == PARTIAL and planner.schema.category(name) == "struct" and \
        planner.partial_empty(name)


def structs_h(planner):
    out = [banner("structures and unions of the protocol."), ""]
    body = ['#include "wire/mesa.h"', '#include "worker/venus/wire.h"', ""]
    for name in sorted(planner.modes):
        for mode in _modes(planner, name):
            if (name, mode) not in planner.direct or _skip(planner, name, mode):
                continue
            if _inline(planner, name):
                body.append(_flat(planner, name, mode))
            else:
                body.append(wrap(prototype(planner, name, mode) + ";"))
    return out[0] + guard("structs.h", "\n".join(body) + "\n")


def _flat(planner, name, mode):
    size = planner.flat(name)
    head = wrap(f"static inline {prototype(planner, name, mode)}") + "\n{\n"
    if mode == ENCODE:
        return head + f"    encode_bytes(d, v, {size});\n}}"
    size_check = wrap(f'_Static_assert(sizeof({name}) == {size}, "its memory is its wire form");')
    return (f"{size_check}\n{head}"
            f"    const void *p = decode_bytes(d, {size});\n\n"
            f"    if (LIKELY(p != NULL)) {{\n        memcpy(v, p, {size});\n    }}\n}}")


def links_h(planner):
    """Private: indexes of chain links and their members' functions."""
    rows = "".join(f"    WIRE_LINK_{n},\n" for n in planner.links)
    body = ('#include "wire/structs.h"\n\n'
            f"/* By sType, as wire_links. */\nenum wire_link_index {{\n{rows}}};\n\n")
    for name in planner.links:
        for mode in _modes(planner, name):
            if _members(planner, name, mode)[1]:
                body += wrap(f"void wire_members_{_prefix(mode)}_{name}(struct decoder *d, "
                             f"{_const(mode)}void *members);") + "\n"
    return banner("what may stand in a pNext chain.") + guard("links.h", body)


def chains_c(planner):
    out = [banner("what may stand in a pNext chain."), '#include "wire/links.h"\n']
    out.append("/* A link without members in this mode. */\n"
               "static void nothing(struct decoder *d, void *members)\n{\n"
               "    (void)d;\n    (void)members;\n}\n")
    out.append("const struct wire_link wire_links[] = {")
    for name in planner.links:
        slots = []
        for mode in (FULL, PARTIAL, ENCODE):
            if mode not in planner.modes[name]:
                slots.append("NULL")
            elif _members(planner, name, mode)[1]:
                slots.append(f"wire_members_{_prefix(mode)}_{name}")
            elif mode == ENCODE:
                raise NotImplementedError(f"{name}: a reply without members")
            else:
                slots.append("nothing")
        out.append(f"    {{\n        {planner.reg.types[name].stype},\n"
                   f"        sizeof({name}), \"{name}\",\n"
                   + "".join(f"        {s},\n" for s in slots) + "    },")
    out.append("};")
    return "\n".join(out) + "\n"


def structs_c(planner, file):
    names = [n for n in sorted(planner.modes) if group_of(n) == file]
    out = [banner("structures and unions of the protocol."), '#include "wire/links.h"\n']
    for name in names:
        if _inline(planner, name) and name not in planner.links:
            continue
        parts = [chain_table(planner, name)]
        for mode in _modes(planner, name):
            if _skip(planner, name, mode):
                continue
            parts.append(function(planner, name, mode))
        out += [p for p in parts if p]
    return "\n".join(out)
