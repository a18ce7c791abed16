"""What of the registry is on the wire: the supported set, what has a wire form, chain sets, modes.

All core versions plus the extensions of extensions.csv fix the set.
"""

import re

# Types of VK_KHR_maintenance7 that the protocol leaves out.
LEFT_OUT = {
    "VkPhysicalDeviceLayeredApiKHR",
    "VkPhysicalDeviceLayeredApiPropertiesKHR",
    "VkPhysicalDeviceLayeredApiPropertiesListKHR",
    "VkPhysicalDeviceLayeredApiVulkanPropertiesKHR",
}

# Unions without a selector that the protocol carries: tag = member index.
UNTAGGED = {
    "VkClearColorValue",
    "VkClearValue",
    "VkDeviceOrHostAddressConstKHR",
    "VkDeviceOrHostAddressKHR",
    "VkPipelineExecutableStatisticValueKHR",
}

# C scalar -> (bytes in memory, bytes on the wire)
PRIMITIVES = {
    "char": (1, 4), "uint8_t": (1, 4), "uint16_t": (2, 4),
    "int32_t": (4, 4), "uint32_t": (4, 4), "float": (4, 4),
    "int64_t": (8, 8), "uint64_t": (8, 8), "double": (8, 8), "size_t": (8, 8),
}

# The protocol gives the inner length of these; the registry has the outer one only.
INNER_LENGTH = {
    ("vkCmdBuildAccelerationStructuresKHR", "ppBuildRangeInfos"): "pInfos[i].geometryCount",
    ("vkCmdBuildAccelerationStructuresIndirectKHR", "ppMaxPrimitiveCounts"):
        "pInfos[i].geometryCount",
}

# In and out although no length: the request carries the value.
IN_OUT = {("vkRegisterCustomBorderColorEXT", "pIndex")}

FULL, PARTIAL, SIZE = "full", "partial", "size"


class Schema:
    def __init__(self, registry, rules):
        self.reg = registry
        self.rules = rules
        self.missing_extensions = sorted(
            e for e in rules.extensions if e not in registry.blocks)
        self.extensions = {e for e in rules.extensions if e in registry.blocks}
        self.origin = {}  # type or command -> the first block that requires it
        self._select()
        self._serializable = {}
        self.commands = {
            n: registry.commands[n] for n in sorted(self._commands) if n in registry.commands}
        self.structs = sorted(
            n for n in self._types
            if registry.types[n].category == "struct" and self.serializable(n))
        self.unions = sorted(
            n for n in self._types
            if registry.types[n].category == "union" and self.serializable(n))
        self.handles = sorted(n for n in self._types if registry.types[n].category == "handle")
        self.chains = {}
        for name in self.structs:
            for parent in registry.types[name].extends:
                self.chains.setdefault(parent, []).append(name)

    # ---- the supported set

    def _holds(self, depends):
        """Evaluates a `depends` expression: versions and features hold, extensions if listed."""
        tokens = re.findall(r"[A-Za-z0-9_:]+|[()+,]", depends)

        def term(i):
            if tokens[i] == "(":
                value, i = either(i + 1)
                return value, i + 1
            name = tokens[i]
            known = "::" in name or re.match(r"VK_[A-Z]*_?VERSION_\d", name) is not None
            return known or name in self.extensions, i + 1

        def both(i):
            value, i = term(i)
            while i < len(tokens) and tokens[i] == "+":
                right, i = term(i + 1)
                value = value and right
            return value, i

        def either(i):
            value, i = both(i)
            while i < len(tokens) and tokens[i] == ",":
                right, i = both(i + 1)
                value = value or right
            return value, i

        return not tokens or either(0)[0]

    def _select(self):
        reg = self.reg
        self._types, self._commands = set(), set()
        pending = []

        def add_type(name, origin):
            name = reg.type_name(name)
            if name in LEFT_OUT or name not in reg.types:
                return
            self.origin.setdefault(name, origin)
            if name not in self._types:
                self._types.add(name)
                pending.append(name)

        def add_command(name, origin):
            name = reg.type_name(name)
            if name not in reg.commands or name in self._commands:
                return
            self._commands.add(name)
            self.origin.setdefault(name, origin)
            command = reg.commands[name]
            add_type(command.ret, origin)
            for p in command.params:
                add_type(p.type, origin)

        blocks = [b for b in reg.blocks.values() if not b.extension or b.name in self.extensions]
        blocks.sort(key=lambda b: (b.extension, float(b.number or 0), b.name))
        for block in blocks:
            for require in block.requires:
                if block.extension and not self._holds(require.depends):
                    continue
                for name in require.types:
                    add_type(name, block.name)
                for name in require.commands:
                    add_command(name, block.name)
        while pending:
            t = reg.types[pending.pop()]
            for m in t.members:
                add_type(m.type, self.origin[t.name])
            for other in (t.target, t.requires):
                if other:
                    add_type(other, self.origin[t.name])

    def has_type(self, name):
        return name in self._types

    # ---- scalars

    def scalar(self, name):
        """(bytes in memory, bytes on the wire, signed or float kind) of a scalar, or None."""
        if name in PRIMITIVES:
            return PRIMITIVES[name]
        t = self.reg.types.get(name)
        if t is None:
            return None
        if t.category == "enum":
            return (8, 8) if t.bits64 else (4, 4)
        if t.category in ("basetype", "bitmask") and t.target:
            return self.scalar(t.target)
        return None

    def primitive(self, name):
        """The C scalar behind a scalar type; enums are int32_t or int64_t."""
        if name in PRIMITIVES:
            return name
        t = self.reg.types[name]
        if t.category == "enum":
            return "int64_t" if t.bits64 else "int32_t"
        return self.primitive(t.target)

    def category(self, name):
        """scalar, handle, struct, union, void or other."""
        if name == "void":
            return "void"
        if self.scalar(name):
            return "scalar"
        t = self.reg.types.get(name)
        return t.category if t and t.category in ("handle", "struct", "union") else "other"

    def dim(self, d):
        """A fixed dimension as a number."""
        return d if isinstance(d, int) else self.reg.constants[d]

    # ---- what has a wire form

    def serializable(self, name):
        if name not in self._serializable:
            self._serializable[name] = True  # a type that holds pointers to itself
            self._serializable[name] = self._check(name)
        return self._serializable[name]

    def _check(self, name):
        category = self.category(name)
        if category in ("scalar", "handle"):
            return True
        if name in ("VkBaseInStructure", "VkBaseOutStructure") or name in LEFT_OUT:
            return False
        if category == "union":
            members = self.reg.types[name].members
            return all(m.selection for m in members) or name in UNTAGGED
        if category == "struct":
            return all(self.why_not(m) == "" for m in self.reg.types[name].members)
        return False

    def absent(self, m):
        """A pointer whose target has no wire form: u64 0 on the wire."""
        return m.name != "pNext" and m.stars > 0 and not self._field_ok(m)

    def _field_ok(self, m):
        if m.type == "void":
            return bool(m.len) and m.stars == 1 and not m.dims
        return self.serializable(m.type)

    def why_not(self, m):
        """'' or the reason why a struct or command with this member has no wire form."""
        if m.name == "pNext" or (m.stars and m.optional[:1] == ("true",)):
            return ""
        if self._field_ok(m):
            return ""
        kind = "a pointer" if m.stars else "a value"
        return f"{m.name} is {kind} of type {m.type}"

    def command_why_not(self, command):
        if command.ret != "void" and not self.scalar(command.ret):
            return f"it returns {command.ret}"
        for p in command.params:
            reason = self.why_not(p)
            if reason:
                return reason
        return ""

    # ---- order and modes

    def ordered(self, members):
        """Members in wire order: a count declared after its array goes before it."""
        out = list(members)
        for m in members:
            if not m.len or m.dims:
                continue
            for other in out:
                if other.name == m.len[0] and out.index(other) > out.index(m):
                    out.remove(other)
                    out.insert(out.index(m), other)
                    break
        return out

    def is_length(self, name, members):
        """Does another member name this one in its `len`? Constant dimensions do not count."""
        for m in members:
            if m.name != name and not m.dims:
                for expr in (m.altlen,) if m.altlen else m.len:
                    if name in re.findall(r"[A-Za-z_]\w*", expr):
                        return True
        return False

    def mode(self, m, members):
        """Mode of an out parameter, or of a member of a partial struct."""
        if self.is_length(m.name, members):
            return FULL
        if self.category(m.type) in ("handle", "struct"):
            return PARTIAL
        if self.category(m.type) == "union":
            raise NotImplementedError(f"{m.name}: union in an output structure")
        return SIZE

    def is_out(self, p):
        return p.stars > 0 and not p.const

    def is_in_out(self, command, p):
        return self.is_out(p) and (self.is_length(p.name, command.params) or
                                   (command.name, p.name) in IN_OUT)

    def required(self, m):
        """May a pointer not be NULL? First token of `optional` decides."""
        return m.optional[:1] != ("true",) and not m.noautovalidity
