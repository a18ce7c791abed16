"""commands.h, runs.h, commands_*.c, commands.c: one decode-call-reply function per command."""

from emit_fields import Encoder, Fields
from emit_text import banner, c_decl, guard, wrap
from schema import FULL

FILES = ("commands_create.c", "commands_device.c", "commands_host.c", "commands_record.c",
         "commands_set.c")

STREAMS = {"both": "WIRE_STREAM_BOTH", "context": "WIRE_STREAM_CONTEXT",
           "ring": "WIRE_STREAM_RING"}


def group_of(plan):
    if plan.name.startswith(("vkCmdSet", "vkCmdBind")):
        return "commands_set.c"
    if plan.name.startswith("vkCmd"):
        return "commands_record.c"
    if plan.kind not in ("call", "handler"):
        return "commands_create.c"
    first = plan.params[0].type
    if first in ("VkInstance", "VkPhysicalDevice", "VkQueue") or first[:2] != "Vk" or \
            plan.kind == "handler":
        return "commands_host.c"
    return "commands_device.c"


def served(planner):
    return [p for p in planner.plans.values() if p.runs]


def _is_handle(planner, p):
    return planner.schema.category(p.type) == "handle"


def _is_first_handle(planner, plan):
    first = plan.command.params[0]
    return _is_handle(planner, first) and first.stars == 0


def _wants_objects(plan):
    return plan.hand_written or plan.kind == "free"


def struct(planner, plan):
    """The parameters as C: what hand-written parts see."""
    s = planner.schema
    rows = []
    for p in plan.command.params:
        handle = _is_handle(planner, p)
        if handle and s.is_out(p):
            rows.append(f"uint64_t *{p.name};" + (" /* ids */" if p.len else " /* id */"))
            continue
        rows.append(f"{c_decl(p)};")
        if handle and p.stars == 0:
            rows.append(f"struct object *{p.name}_obj;")
        elif handle and _wants_objects(plan):
            rows.append(f"struct object **{p.name}_obj;")
    if plan.kind == "allocate":
        rows.append("struct object *pool_obj;")
    if plan.command.ret != "void":
        rows.append(f"{plan.command.ret} ret;")
    return (f"struct wire_{plan.name} {{\n" + "".join(f"    {r}\n" for r in rows) + "};\n")


def commands_h(planner):
    body = ['#include "wire/mesa.h"', '#include "wire/procs.h"', '#include "worker/decoder.h"',
            '#include "worker/objects.h"', ""]
    last = max(planner.rules.numbers.values())
    body.append("/* Which streams a command may come on. */\n"
                "enum { WIRE_STREAM_BOTH, WIRE_STREAM_CONTEXT, WIRE_STREAM_RING };\n")
    body.append("/* How a command is served; docs/commands.md lists them all. */\nenum {\n"
                + "".join(f"    WIRE_KIND_{k.upper()},\n" for k in _kinds(planner)) + "};\n")
    body.append(f"#define WIRE_COMMAND_COUNT {last + 1}\n")
    body.append("struct wire_command {\n"
                "    const char *name; /* NULL: no command has this number */\n"
                "    void (*run)(struct decoder *d); /* NULL: refused */\n"
                "    uint8_t stream, kind;\n"
                "    const char *reason; /* of a refusal */\n};\n")
    body.append("/* By command number. */\n"
                "extern const struct wire_command wire_commands[WIRE_COMMAND_COUNT];\n")
    for plan in served(planner):
        body.append(struct(planner, plan))
    body.append("/* ---- written by hand: whole commands. They set `ret` and fill outputs. */\n")
    for plan in served(planner):
        if plan.kind == "handler":
            body.append(wrap(f"void cmd_{plan.name}(struct decoder *d, "
                             f"struct wire_{plan.name} *c);"))
    body.append("\n/* ---- written by hand: before a call. May change arguments; false: no call, "
                "`ret` is set. */\n")
    for plan in served(planner):
        if "prepare" in plan.hooks:
            body.append(wrap(f"bool prepare_{plan.name}(struct decoder *d, "
                             f"struct wire_{plan.name} *c);"))
    body.append("\n/* ---- written by hand: an object is about to be inserted. */\n")
    for plan in served(planner):
        if "created" in plan.hooks:
            body.append(wrap(f"void created_{plan.name}(struct decoder *d, "
                             f"struct wire_{plan.name} *c, struct object *o);"))
    return banner("commands of the protocol.") + guard("commands.h", "\n".join(body) + "\n")


def _kinds(planner):
    return sorted({p.kind for p in planner.plans.values()} | {"refuse"})


def runs_h(planner):
    body = "struct decoder;\n\n" + "".join(
        f"void wire_run_{p.name}(struct decoder *d);\n" for p in served(planner))
    return banner("what decodes and runs each command.") + guard("runs.h", body)


def commands_c(planner):
    numbers = {}
    for name, number in planner.rules.numbers.items():
        numbers.setdefault(number, name)
    rows = []
    for number in range(max(numbers) + 1):
        plan = planner.plans.get(number)
        if plan is None:
            name = numbers.get(number)
            reason = ("its extension is unknown to the registry of this build" if name else
                      "no command of the protocol has this number")
            name = f'"{name}"' if name else "NULL"
            rows.append(wrap(f"    [{number}] = {{ {name}, NULL, WIRE_STREAM_BOTH, "
                             f'WIRE_KIND_REFUSE, "{reason}" }},', 8))
            continue
        run = f"wire_run_{plan.name}" if plan.runs else "NULL"
        reason = "NULL" if plan.runs else f'"{plan.reason}"'
        rows.append(wrap(f'    [{number}] = {{ "{plan.name}", {run}, '
                         f"{STREAMS[plan.command.stream]}, WIRE_KIND_{plan.kind.upper()}, "
                         f"{reason} }},", 8))
    return (banner("commands of the protocol.") +
            '#include "wire/commands.h"\n#include "wire/runs.h"\n\n'
            "const struct wire_command wire_commands[WIRE_COMMAND_COUNT] = {\n"
            + "\n".join(rows) + "\n};\n")


# ---- run functions


class Run:
    """Writes wire_run_vkX."""

    def __init__(self, planner, plan):
        self.planner, self.plan, self.schema = planner, plan, planner.schema
        self.body = Fields(planner, plan.name, plan.command.params, "c.",
                           required=plan.required, command=plan)
        self.lines = self.body.lines
        self.first = plan.command.params[0]
        self.out = next((p for p in plan.params if self.schema.is_out(p)
                         and _is_handle(planner, p)), None)

    def text(self):
        plan = self.plan
        self.body.decode(plan.params, self.mode)
        self.stop_if_failed()
        self.lines.add("")
        getattr(self, plan.kind)()
        self.reply()
        head = f"/* {self.rule()} */\nvoid wire_run_{plan.name}(struct decoder *d)\n{{\n"
        decls = [f"struct wire_{plan.name} c;"]
        if self.body.uses_p:
            decls.append("const uint8_t *p;")
        if self.body.uses_n:
            decls.append("uint64_t n;")
        decls += self.body.locals
        return head + "".join(f"    {d}\n" for d in decls) + "\n" + self.lines.text() + "}\n"

    def rule(self):
        hooks = "".join(f", {h} by hand" for h in self.plan.hooks)
        return f"{self.plan.number}, {self.plan.kind}{hooks}."

    def mode(self, p):
        if self.schema.is_out(p) and not self.schema.is_in_out(self.plan.command, p):
            return self.schema.mode(p, self.plan.command.params)
        return FULL

    def stop_if_failed(self):
        self.lines.open("if (UNLIKELY(d->failed))")
        self.lines.add("return;")
        self.lines.close()

    # The host call.

    def proc(self):
        """A pointer to the host's function, checked."""
        name = self.plan.name
        obj = f"c.{self.first.name}_obj"
        self.body.locals.append(f"PFN_{name} call;")
        self.lines.add(f"call = {obj}->vk->{name[2:]};")
        self.lines.open("if (UNLIKELY(!call))")
        self.lines.add("wire_no_proc(d);")
        self.lines.add("return;")
        self.lines.close()

    def call(self, out=None):
        """Decoded, proc there: the call itself, with its prepare hook."""
        self.proc()
        self.invoke(out)

    def invoke(self, out=None):
        plan = self.plan
        prepared = "prepare" in plan.hooks
        if prepared:
            self.lines.open(f"if (prepare_{plan.name}(d, &c))")
        args = []
        for p in plan.command.params:
            if p.type == "VkAllocationCallbacks":
                args.append("NULL")
            elif out is not None and p is self.out:
                args.append(out)
            else:
                args.append(f"c.{p.name}")
        ret = "c.ret = " if plan.command.ret != "void" else ""
        self.lines.add(f"{ret}call({', '.join(args)});")
        if prepared:
            self.lines.close()
            self.stop_if_failed()

    # Kinds.

    def handler(self):
        self.lines.add(f"cmd_{self.plan.name}(d, &c);")
        self.stop_if_failed()

    def created(self, what):
        if "created" in self.plan.hooks:
            self.lines.add(f"created_{self.plan.name}(d, &c, {what});")

    def create(self):
        out, type_ = self.out, self.body.object_type(self.out)
        parent = f"c.{self.first.name}_obj"
        self.lines.open(f"if (!wire_id_free(d, *c.{out.name}, {self.body.label(out)}))")
        self.lines.add("return;")
        self.lines.close()
        self.body.locals.append(f"{out.type} host = VK_NULL_HANDLE;")
        self.call("&host")
        self.lines.open("if (c.ret >= 0 && host != VK_NULL_HANDLE)")
        self.lines.add(f"struct object *o = wire_new_object(d, *c.{out.name}, {type_}, "
                       f"(uint64_t)(uintptr_t)host, {parent});")
        self.lines.add("")
        self.lines.open("if (!o)")
        self.lines.add("return;")
        self.lines.close()
        self.created("o")
        self.lines.open("if (!wire_insert_object(d, o))")
        self.lines.add("return;")
        self.lines.close()
        self.lines.close()

    def many(self, parent, partial):
        """An array of new objects: all or nothing, or (pipelines) each for itself."""
        out, type_ = self.out, self.body.object_type(self.out)
        n = f"n_{out.name}"
        self.lines.open(f"if (!wire_ids_free(d, c.{out.name}, {n}, {self.body.label(out)}))")
        self.lines.add("return;")
        self.lines.close()
        self.body.locals.append(f"{out.type} *host;")
        self.lines.add(f"host = decode_alloc(d, {n}, sizeof(*host));")
        self.body.stop_unless("host")
        self.call("host")
        self.lines.open(f"for (uint64_t i = 0; i < {n}; i++)")
        self.lines.add("struct object *o;")
        self.lines.add("")
        if partial:
            self.failed_pipeline(n, type_, parent)
        else:
            self.lines.open("if (c.ret < 0)")
            self.lines.add(f"c.{out.name}[i] = 0;")
            self.lines.add("continue;")
            self.lines.close()
        self.lines.add(f"o = wire_new_object(d, c.{out.name}[i], {type_}, "
                       f"(uint64_t)(uintptr_t)host[i], {parent});")
        self.lines.open("if (!o)")
        self.lines.add("return;")
        self.lines.close()
        self.created("o")
        self.lines.open("if (!wire_insert_object(d, o))")
        self.lines.add("return;")
        self.lines.close()
        self.lines.close()

    def failed_pipeline(self, n, type_, parent):
        out = self.out
        self.lines.open("if (c.ret < 0 && host[i] != VK_NULL_HANDLE)")
        self.lines.add("/* The guest is told of none, so those that were made end here. */")
        self.lines.add(f"wire_destroy_host((uint64_t)(uintptr_t)host[i], {type_}, {parent});")
        self.lines.close()
        self.lines.open("if (c.ret < 0 || host[i] == VK_NULL_HANDLE)")
        self.lines.add(f"c.{out.name}[i] = 0;")
        self.lines.add("continue;")
        self.lines.close()

    def pipelines(self):
        self.many(f"c.{self.first.name}_obj", True)

    def allocate(self):
        self.lines.open("if (UNLIKELY(!c.pool_obj))")
        self.lines.add('wire_bad_value(d, "pool", 0, "is NULL and must not be");')
        self.lines.add("return;")
        self.lines.close()
        self.many("c.pool_obj", False)

    def destroy(self):
        victim = self.plan.params[1]
        if "prepare" in self.plan.hooks:
            self.lines.open(f"if (c.{victim.name}_obj && prepare_{self.plan.name}(d, &c))")
        else:
            self.lines.open(f"if (c.{victim.name}_obj)")
        self.lines.add(f"wire_remove_object(d, c.{victim.name}_obj);")
        self.lines.close()

    def free(self):
        """Of a pool: those that we got out of the table are freed in one call."""
        pool = self.plan.params[1]
        array = next(p for p in self.plan.params if p.len)
        count = array.len[0]
        name = self.plan.name
        self.lines.open(f"if (UNLIKELY(!c.{pool.name}_obj))")
        self.lines.add(f'wire_bad_value(d, {self.body.label(pool)}, 0, '
                       '"is NULL and must not be");')
        self.lines.add("return;")
        self.lines.close()
        self.body.locals.append(f"{array.type} *host;")
        self.body.locals.append("uint32_t won = 0;")
        self.lines.add(f"host = decode_alloc(d, c.{count}, sizeof(*host));")
        self.body.stop_unless("host")
        self.lines.open(f"for (uint32_t i = 0; i < c.{count}; i++)")
        self.lines.add(f"struct object *o = c.{array.name}_obj[i];")
        self.lines.add("")
        self.lines.open(f"if (o && UNLIKELY(o->parent != c.{pool.name}_obj))")
        self.lines.add(f'wire_bad_value(d, {self.body.label(array)}, o->id, '
                       '"is not of this pool");')
        self.lines.add("return;")
        self.lines.close()
        self.lines.close()
        self.lines.open(f"for (uint32_t i = 0; i < c.{count}; i++)")
        self.lines.add(f"struct object *o = c.{array.name}_obj[i];")
        self.lines.add("")
        self.lines.open("if (o && wire_forget_object(d, o))")
        self.lines.add("/* Named twice, or freed by another ring: only one wins. */")
        self.lines.add(f"host[won++] = ({array.type})(uintptr_t)o->handle;")
        self.lines.close()
        self.lines.close()
        if self.plan.command.ret != "void":
            self.lines.add("c.ret = VK_SUCCESS;")
        self.lines.open("if (won > 0)")
        self.proc()
        self.lines.add(f"{'(void)' if self.plan.command.ret != 'void' else ''}"
                       f"call(c.{self.first.name}, c.{pool.name}, won, host);")
        self.lines.close()

    def reset(self):
        pool = self.plan.params[1]
        self.lines.open(f"if (UNLIKELY(!c.{pool.name}_obj))")
        self.lines.add(f'wire_bad_value(d, {self.body.label(pool)}, 0, '
                       '"is NULL and must not be");')
        self.lines.add("return;")
        self.lines.close()
        self.call()
        self.lines.open("if (c.ret >= 0)")
        self.lines.add(f"wire_forget_children(d, c.{pool.name}_obj);")
        self.lines.close()

    # The reply.

    def reply(self):
        plan, s = self.plan, self.schema
        command = plan.command
        self.lines.open("if (wire_reply(d))")
        out = Encoder(self.planner, plan.name, command.params, "c.", self.lines.depth, plan)
        if command.ret == "VkResult":
            out.lines.add("encode_i32(d, c.ret);")
        elif command.ret != "void":
            out.lines.add({8: "encode_u64(d, c.ret);", 4: "encode_u32(d, c.ret);"}
                          [s.scalar(command.ret)[1]])
        for p in command.params:
            if s.is_out(p) and not s.absent(p):
                out.field(p)
        self.lines.out += out.lines.out
        self.lines.add("reply_end(d);")
        if "VK_ERROR_DEVICE_LOST" in command.errors and command.ret == "VkResult":
            self.lines.close("} else if (UNLIKELY(c.ret == VK_ERROR_DEVICE_LOST)) {")
            self.lines.depth += 1
            self.lines.add("wire_lost(d);")
        self.lines.close()


def commands_group_c(planner, file):
    out = [banner("decodes and runs commands."), '#include "wire/commands.h"\n'
           '#include "wire/objects.h"\n#include "wire/runs.h"\n#include "wire/structs.h"\n']
    for plan in served(planner):
        if group_of(plan) == file:
            out.append(Run(planner, plan).text())
    return "\n".join(out)
