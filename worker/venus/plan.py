"""What is to be generated: each command's kind, each struct's modes, layouts, sizes."""

import fnmatch
from dataclasses import dataclass, field

from registry import BadInput
from rules import rule_for
from schema import FULL, PARTIAL, SIZE, UNTAGGED

ENCODE = "encode"

# Types whose objects live in the table. Others have no commands that we serve.
NO_OBJECTS = {"VkDeferredOperationKHR", "VkPrivateDataSlot"}


@dataclass
class Plan:
    """One command with a number."""

    command: object
    number: int
    kind: str
    hooks: tuple = ()
    required: tuple = ()
    reason: str = ""
    params: list = field(default_factory=list)  # wire order

    @property
    def name(self):
        return self.command.name

    @property
    def runs(self):
        return self.kind != "refuse"

    @property
    def hand_written(self):
        """Does a hand-written part see the wire_vkX structure?"""
        return self.kind == "handler" or bool(self.hooks)


class Planner:
    def __init__(self, schema):
        self.schema = schema
        self.reg = schema.reg
        self.rules = schema.rules
        self.plans = self._plans()
        self.modes = {}  # struct or union -> set of FULL, PARTIAL, ENCODE
        self.direct = set()  # (struct, mode) used otherwise than as a chain link
        self.captures = self._captures()
        self._need_all()
        self.links = sorted(
            {child for parent in self.modes for child in self.children(parent)},
            key=lambda n: self.stype_value(n))

    # ---- commands

    def _plans(self):
        s, plans = self.schema, {}
        for name in s.commands:
            if name not in self.rules.numbers:
                raise BadInput("commands.csv", name, "a supported command has no number")
        used = {}
        for name, number in self.rules.numbers.items():
            place = f"row {self.rules.places[name]}"
            target = self.reg.type_name(name)
            if target in used and used[target] != number:
                raise BadInput("commands.csv", place,
                               f"{name} has number {number}, but {target} has {used[target]}")
            used[target] = number
            if target not in s.commands:
                continue
            if number in plans and plans[number].name != target:
                raise BadInput("commands.csv", place,
                               f"number {number} is already {plans[number].name}")
            if number not in plans:
                plans[number] = self._plan(s.commands[target], number)
        for r in self.rules.rules:
            if not r.used and not any(fnmatch.fnmatchcase(n, r.pattern)
                                      for n in self.rules.numbers):
                raise BadInput("rules.csv", f"row {r.line}", f"no command is called {r.pattern}")
        return dict(sorted(plans.items()))

    def _plan(self, command, number):
        s = self.schema
        rule = rule_for(self.rules, command.name)
        why_not = s.command_why_not(command)
        if why_not and not (rule and rule.kind == "refuse"):
            if rule:
                raise BadInput("rules.csv", f"row {rule.line}",
                               f"{command.name} has no wire form: {why_not}")
            return Plan(command, number, "refuse", reason=f"no wire form: {why_not}")
        kind = rule.kind if rule and rule.kind else self._default_kind(command, rule)
        params = s.ordered(command.params)
        if rule:
            for name in rule.required:
                if name not in [p.name for p in params]:
                    raise BadInput("rules.csv", f"row {rule.line}",
                                   f"{command.name} has no parameter {name}")
        plan = Plan(command, number, kind, rule.hooks if rule else (),
                    rule.required if rule else (), rule.reason if rule else "", params)
        self._check(plan, rule)
        return plan

    def _default_kind(self, command, rule):
        s, params = self.schema, command.params
        outs = [p for p in params if s.is_out(p) and s.category(p.type) == "handle"]
        if s.category(params[0].type) != "handle" or params[0].stars:
            raise BadInput("rules.csv", command.name,
                           "no object to call it on: it needs a row with a handler")
        if params[0].type == "VkQueue":
            raise BadInput("rules.csv", command.name,
                           "a queue must be locked: it needs a row with a handler")
        if outs and outs[0].len:
            return "pipelines"
        if outs:
            return "create"
        if any(p.type == "VkAllocationCallbacks" for p in params):
            return "destroy"
        return "call"

    def _check(self, plan, rule):
        """The kind must fit the command."""
        s, where = self.schema, f"row {rule.line}" if rule else plan.name
        outs = [p for p in plan.params if s.is_out(p) and s.category(p.type) == "handle"]

        def must(condition, text):
            if not condition:
                raise BadInput("rules.csv", where, f"{plan.name} cannot be `{plan.kind}`: {text}")

        if plan.kind in ("create", "allocate", "pipelines"):
            must(len(outs) == 1, "it has no single output of handles")
            must(outs[0].type not in NO_OBJECTS, f"{outs[0].type} is no type of our table")
        elif plan.kind == "destroy":
            must(len(plan.params) >= 3 and s.category(plan.params[1].type) == "handle",
                 "its second parameter is no handle")
        elif plan.kind == "call":
            must(not outs, "it makes objects")

    def _captures(self):
        """Input structs of `allocate` commands -> their member that names the pool."""
        out = {}
        for plan in self.plans.values():
            if plan.kind == "allocate":
                info = next(p for p in plan.params if not self.schema.is_out(p) and p.stars)
                out[info.type] = next(m.name for m in self.reg.types[info.type].members
                                      if m.type.endswith("Pool"))
        return out

    # ---- which struct in which mode

    def children(self, parent):
        return self.schema.chains.get(parent, ())

    def _need_all(self):
        s = self.schema
        for plan in self.plans.values():
            if not plan.runs:
                continue
            for p in plan.params:
                if s.absent(p):
                    continue
                if s.is_out(p):
                    if s.is_in_out(plan.command, p):
                        self.need(p.type, FULL)
                    elif s.mode(p, plan.command.params) == PARTIAL:
                        self.need(p.type, PARTIAL)
                    self.need(p.type, ENCODE)
                else:
                    self.need(p.type, FULL)

    def need(self, name, mode, link=False):
        s = self.schema
        if s.category(name) not in ("struct", "union"):
            return
        if not link:
            self.direct.add((name, mode))
        have = self.modes.setdefault(name, set())
        if mode in have:
            return
        have.add(mode)
        t = self.reg.types[name]
        for m in t.members:
            if m.name == "pNext":
                for child in self.children(name):
                    self.need(child, mode, link=True)
            elif m.bits:
                raise BadInput("vk.xml", name, f"{m.name} is a bit-field on the wire")
            elif s.absent(m):
                continue
            elif mode == PARTIAL:
                sub = s.mode(m, t.members)
                if sub != SIZE:
                    self.need(m.type, sub)
            else:
                self.need(m.type, mode)

    # ---- layouts: of C, and of flat structures on the wire

    def layout(self, name):
        """(size, alignment) of a C type on a 64-bit machine."""
        s = self.schema
        scalar = s.scalar(name)
        if scalar:
            return scalar[0], scalar[0]
        if s.category(name) == "handle":
            return 8, 8
        size, align = 0, 1
        union = s.category(name) == "union"
        for m in self.reg.types[name].members:
            m_size, m_align = (8, 8) if m.stars else self.layout(m.type)
            for d in m.dims:
                m_size *= s.dim(d)
            align = max(align, m_align)
            if union:
                size = max(size, m_size)
            else:
                size = (size + m_align - 1) // m_align * m_align + m_size
        return (size + align - 1) // align * align, align

    def flat(self, name):
        """Bytes of a struct whose wire form is its memory: values of 4 or 8 bytes, no holes.
        0 if it is none."""
        s = self.schema
        if s.category(name) != "struct":
            return 0
        size = 0
        for m in self.reg.types[name].members:
            if m.stars or m.dims or m.bits:
                return 0
            scalar = s.scalar(m.type)
            step = scalar[1] if scalar and scalar[0] == scalar[1] else self.flat(m.type)
            if not step or size % self.layout(m.type)[1]:
                return 0
            size += step
        return size if size == self.layout(name)[0] else 0

    def least(self, name, mode):
        """Fewest bytes that a value takes on the wire."""
        s = self.schema
        scalar = s.scalar(name)
        if scalar:
            return scalar[1]
        category = s.category(name)
        if category == "handle":
            return 8
        members = self.reg.types[name].members
        if category == "union":
            return 4 + min(self._least_member(m, FULL) for m in members)
        total = 0
        for m in members:
            if m.name == "pNext":
                total += 8
            elif m.name == "sType":
                total += 4
            else:
                total += self._least_member(m, s.mode(m, members) if mode == PARTIAL else FULL)
        return total

    def _least_member(self, m, mode):
        s = self.schema
        if s.absent(m) or m.stars:
            return 8
        if mode == SIZE:
            return 0
        if m.dims:
            n = 1
            for d in m.dims:
                n *= s.dim(d)
            scalar = s.scalar(m.type)
            each = scalar[0] if scalar else self.least(m.type, mode)
            return 8 + (n * each + 3) // 4 * 4
        return self.least(m.type, mode)

    def partial_empty(self, name):
        """Does the partial form of a struct hold nothing at all?"""
        return self.least(name, PARTIAL) == 0

    def stype_value(self, struct):
        stype = self.reg.types[struct].stype
        if stype in self.rules.stypes:
            return self.rules.stypes[stype]
        values = self.reg.enums.get("VkStructureType", {})
        if stype not in values:
            raise BadInput("vk.xml", struct, f"{stype or 'its sType'} has no value")
        return values[stype]

    def acyclic(self):
        """Decoding recurses over types: they may not contain themselves."""
        state = {}

        def visit(name, path):
            if state.get(name) == "done" or self.schema.category(name) not in ("struct", "union"):
                return
            if name in path:
                raise BadInput("vk.xml", name, "contains itself: " + " > ".join(path))
            for m in self.reg.types[name].members:
                if m.name != "pNext" and not self.schema.absent(m):
                    visit(m.type, path + (name,))
            for child in self.children(name):
                visit(child, path + (name,))
            state[name] = "done"

        for name in self.modes:
            visit(name, ())

    @staticmethod
    def untagged(name):
        return name in UNTAGGED
