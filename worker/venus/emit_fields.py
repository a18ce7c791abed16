"""C statements that decode or encode the fields of one struct, union or command."""

import re

from emit_text import Lines
from schema import FULL, INNER_LENGTH, PARTIAL, SIZE

READ = {
    "char": "(char){p}[{o}]", "uint8_t": "{p}[{o}]", "uint16_t": "wire_u16({at})",
    "uint32_t": "wire_u32({at})", "int32_t": "wire_i32({at})", "float": "wire_f32({at})",
    "uint64_t": "wire_u64({at})", "int64_t": "wire_i64({at})", "size_t": "wire_u64({at})",
    "double": "wire_f64({at})",
}
WRITE = {
    "uint8_t": "encode_u32(d, {v})", "uint16_t": "encode_u32(d, {v})",
    "uint32_t": "encode_u32(d, {v})", "int32_t": "encode_i32(d, {v})",
    "float": "encode_f32(d, {v})", "uint64_t": "encode_u64(d, {v})",
    "int64_t": "encode_u64(d, (uint64_t){v})", "size_t": "encode_u64(d, {v})",
}
# Input structures up to this size live on the stack of the command, larger ones in the arena.
STACK_LIMIT = 512


class Fields:
    """Decoder of the fields of `owner`; consecutive values of fixed size share one check."""

    def __init__(self, planner, owner, members, prefix, depth=1, required=(), command=None):
        self.planner, self.schema = planner, planner.schema
        self.owner, self.members, self.prefix = owner, members, prefix
        self.required_too = required
        self.command = command  # Plan, when the fields are parameters
        self.capture = None  # (member, C expression of struct object **)
        self.lines = Lines(depth)
        self.batch, self.batch_size = [], 0
        self.uses_p = self.uses_n = False
        self.locals = []  # declarations that the function needs

    # ---- names and expressions

    def target(self, m):
        return f"{self.prefix}{m.name}"

    def label(self, m):
        return f'"{m.name}"' if self.command else f'"{self.owner}.{m.name}"'

    def object_type(self, m):
        return self.planner.reg.types[m.type].object_type

    def required(self, m):
        return self.schema.required(m) or m.name in self.required_too

    def _member(self, name):
        return next((m for m in self.members if m.name == name), None)

    def want(self, expr):
        """A length expression in C, on fields decoded before."""
        if re.fullmatch(r"\d+", expr):
            return expr
        m = re.fullmatch(r"(\w+)\s*->\s*(\w+)", expr)
        if m:
            p = f"{self.prefix}{m.group(1)}"
            return f"({p} ? {p}->{m.group(2)} : 0)"
        m = re.fullmatch(r"(\w+)\[i\]\.(\w+)", expr)
        if m:
            return f"{self.prefix}{expr}"

        def word(match):
            f = self._member(match.group(0))
            if not f:
                return match.group(0)  # an API constant
            if f.stars:
                return f"({self.prefix}{f.name} ? *{self.prefix}{f.name} : 0)"
            return f"{self.prefix}{f.name}"

        return re.sub(r"[A-Za-z_]\w*", word, expr)

    def length(self, m):
        return self.want(m.altlen or m.len[0])

    def check_division(self, m):
        """A length `x / N` without rounding: x must be a multiple of N."""
        exact = re.fullmatch(r"(\w+) / (\d+)", m.altlen)
        if exact:
            value = f"{self.prefix}{exact.group(1)}"
            label = self.label(self._member(exact.group(1)))
            self.lines.open(f"if (UNLIKELY({value} % {exact.group(2)} != 0))")
            self.lines.add(f'wire_bad_value(d, {label}, {value}, '
                           f'"is not a multiple of {exact.group(2)}");')
            self.lines.add("return;")
            self.lines.close()

    # ---- batches

    def later(self, size, emit):
        self.batch.append((self.batch_size, emit))
        self.batch_size += size

    def flush(self):
        if not self.batch:
            return
        self.uses_p = True
        self.lines.add(f"p = decode_bytes(d, {self.batch_size});")
        self.stop_unless("p")
        for offset, emit in self.batch:
            emit(offset)
        self.batch, self.batch_size = [], 0

    def stop_unless(self, expr):
        self.lines.open(f"if (UNLIKELY(!{expr}))")
        self.lines.add("return;")
        self.lines.close()

    def read(self, type_name, offset, p="p"):
        at = f"{p} + {offset}" if offset else p
        return READ[self.schema.primitive(type_name)].format(p=p, o=offset, at=at)

    # ---- decoding

    def decode(self, members, mode_of):
        for m in members:
            self.decode_field(m, mode_of(m))
        self.flush()

    def decode_field(self, m, mode):
        s = self.schema
        if m.name == "sType" or m.name == "pNext":
            return  # done by the head
        if s.absent(m):
            self.flush()
            self.lines.add(f"wire_absent(d, {self.label(m)});")
            self.lines.add(f"{self.target(m)} = NULL;")
        elif m.stars == 0 and not m.dims:
            self.value(m, mode)
        elif m.dims:
            self.fixed(m, mode)
        elif not m.len:
            self.flush()
            self.pointer(m, mode)
        elif m.len[0] == "null-terminated":
            self.flush()
            need = "true" if self.required(m) else "false"
            self.lines.add(f"{self.target(m)} = wire_string(d, {need}, {self.label(m)});")
        else:
            self.flush()
            self.array(m, mode)

    def value(self, m, mode):
        s, target = self.schema, self.target(m)
        category = s.category(m.type)
        if mode == SIZE or (mode == PARTIAL and category == "struct" and
                            self.planner.partial_empty(m.type)):
            return
        if category == "scalar":
            self.later(s.scalar(m.type)[1], lambda o: self.lines.add(
                f"{target} = {self.read(m.type, o)};"))
        elif category == "handle":
            self.later(8, lambda o: self.handle(m, mode, f"p + {o}" if o else "p"))
        elif category == "struct" and mode == FULL and self.planner.flat(m.type):
            self.later(self.planner.flat(m.type), lambda o: self.lines.add(
                f"memcpy(&{target}, {f'p + {o}' if o else 'p'}, {self.planner.flat(m.type)});"))
        else:
            self.flush()
            self.lines.add(self.call_decode(m, mode, f"&{target}"))

    def handle(self, m, mode, at):
        target, type_ = self.target(m), self.object_type(m)
        if mode == PARTIAL:
            self.lines.add(f"{target} = ({m.type})(uintptr_t)wire_u64({at});")
        elif self.command and m is self.command.command.params[0]:
            self.lines.add(f"{target}_obj = wire_first(d, {at}, {type_}, {self.label(m)});")
            self.stop_unless(f"{target}_obj")
            self.lines.add(f"{target} = wire_host({target}_obj);")
        elif self.command:
            self.lines.add(f"{target}_obj = wire_object(d, {at}, {type_}, {self.label(m)});")
            self.lines.add(f"{target} = wire_host({target}_obj);")
        elif self.capture and self.capture[0] == m.name:
            into = self.capture[1]
            self.lines.add(f"{into} = wire_object(d, {at}, {type_}, {self.label(m)});")
            self.lines.add(f"{target} = wire_host({into});")
        else:
            self.lines.add(f"{target} = wire_handle(d, {at}, {type_}, {self.label(m)});")

    def call_decode(self, m, mode, address):
        partial = "partial_" if mode == PARTIAL else ""
        extra = f", (uint32_t){self.prefix}{m.selector}" if m.selector else ""
        if mode == FULL and m.type in self.planner.captures:
            extra = f", &{self.prefix}pool_obj"
        return f"wire_decode_{partial}{m.type}(d, {address}{extra});"

    def fixed(self, m, mode):
        s, target, label = self.schema, self.target(m), self.label(m)
        if mode == SIZE:
            return
        n = 1
        for d in m.dims:
            n *= s.dim(d)
        category = s.category(m.type)
        each = {"scalar": lambda: s.scalar(m.type)[0], "handle": lambda: 8,
                "struct": lambda: self.planner.flat(m.type) if mode == FULL else 0
                }.get(category, lambda: 0)()
        self.flush()
        if each:
            self.uses_p = True
            self.lines.add(f"p = wire_fixed(d, {n}, {n * each}, {label});")
            self.stop_unless("p")
        if category == "handle":
            self.lines.open(f"for (uint32_t i = 0; i < {n}; i++)")
            value = (f"({m.type})(uintptr_t)wire_u64(p + i * 8)" if mode == PARTIAL else
                     f"wire_handle(d, p + i * 8, {self.object_type(m)}, {label})")
            self.lines.add(f"{target}[i] = {value};")
            self.lines.close()
        elif each:
            self.lines.add(f"memcpy({target}, p, {n * each});")
        else:
            self.lines.open(f"if (UNLIKELY(wire_size(d, {n}, {label}) != {n}))")
            self.lines.add("return;")
            self.lines.close()
            if not (mode == PARTIAL and self.planner.partial_empty(m.type)):
                self.lines.open(f"for (uint32_t i = 0; i < {n}; i++)")
                self.lines.add(self.call_decode(m, mode, f"&{target}[i]"))
                self.lines.close()

    # Pointers to one.

    def pointer(self, m, mode):
        s, target = self.schema, self.target(m)
        category = s.category(m.type)
        is_id = bool(self.command) and s.is_out(m) and category == "handle"
        present = (f"wire_required(d, {self.label(m)})" if self.required(m) else
                   "decode_present(d)")
        c_name = "uint64_t" if is_id else m.type
        small = category != "struct" or (
            mode == FULL and self.planner.layout(m.type)[0] <= STACK_LIMIT)
        if self.command and small:
            # Storage on the command's stack.
            store = f"{m.name}_value"
            zero = " = 0" if mode == SIZE else ""
            self.locals.append(f"{c_name} {store}{zero};")
            self.lines.add(f"{target} = NULL;")
            self.lines.open(f"if ({present})")
            self.pointee(m, mode, store, f"&{store}", is_id)
            self.lines.add(f"{target} = &{store};")
            self.lines.close()
            return
        self.lines.add(f"{target} = NULL;")
        self.lines.open(f"if ({present})")
        self.lines.add(f"{c_name} *one = decode_alloc(d, 1, sizeof(*one));")
        self.lines.add("")
        self.stop_unless("one")
        self.pointee(m, mode, "*one", "one", is_id)
        self.lines.add(f"{target} = one;")
        self.lines.close()

    def pointee(self, m, mode, value, address, is_id):
        s = self.schema
        category = s.category(m.type)
        if is_id:
            self.lines.add(f"{value} = decode_u64(d);")
        elif mode == SIZE:
            return
        elif category == "scalar":
            size = s.scalar(m.type)[1]
            kind = self.schema.primitive(m.type)
            name = {"uint32_t": "u32", "int32_t": "i32", "uint64_t": "u64", "size_t": "u64",
                    "float": "f32", "int64_t": "i64", "double": "f64"}.get(kind)
            if not name or size < 4:
                raise NotImplementedError(f"{self.owner}.{m.name}: pointer to {kind}")
            self.lines.add(f"{value} = decode_{name}(d);")
        elif category == "handle":
            raise NotImplementedError(f"{self.owner}.{m.name}: pointer to a handle")
        elif not (mode == PARTIAL and self.planner.partial_empty(m.type)):
            self.lines.add(self.call_decode(m, mode, address))

    # Pointers to many.

    def array(self, m, mode):
        s, target, label = self.schema, self.target(m), self.label(m)
        self.check_division(m)
        want = self.length(m)
        how = "wire_size" if self.required(m) else "wire_size_or_none"
        out = bool(self.command) and s.is_out(m)
        if out:
            n = f"n_{m.name}"
            self.locals.append(f"uint64_t {n};")
        else:
            n, self.uses_n = "n", True
        self.lines.add(f"{n} = {how}(d, {want}, {label});")
        if m.stars == 2:
            self.rows(m, n)
        else:
            self.elements(m, mode, n, target, out)

    def elements(self, m, mode, n, target, out=False):
        """`target` = n decoded elements; n may be 0."""
        s, label = self.schema, self.label(m)
        category = s.category(m.type)
        size, align = (1, 1) if category == "void" else self.planner.layout(m.type)
        if category == "handle":
            if out:
                self.lines.add(f"{target} = wire_ids(d, {n});")
                return
            if mode == PARTIAL:
                raise NotImplementedError(f"{self.owner}.{m.name}: array of handles to fill")
            objects = f"&{target}_obj" if self.command and self.command.hand_written or (
                self.command and self.command.kind == "free") else "NULL"
            self.lines.add(
                f"{target} = wire_handles(d, {n}, {self.object_type(m)}, {label}, {objects});")
        elif category in ("scalar", "void") and mode == SIZE:
            self.lines.add(f"{target} = {n} > 0 ? wire_room(d, {n}, {size}, 0) : NULL;")
        elif category in ("scalar", "void") or (
                category == "struct" and mode == FULL and self.planner.flat(m.type)):
            if m.const:
                size_of = f"sizeof({m.type})" if category == "struct" else size
                self.lines.add(f"{target} = wire_items(d, {n}, {size_of}, {min(align, 8)});")
            else:
                self.lines.add(f"{target} = wire_copy(d, {n}, {size});")
        else:
            partial_mode = PARTIAL if mode == PARTIAL else FULL
            self.lines.add(f"{target} = NULL;")
            self.lines.open(f"if ({n} > 0)")
            least = self.planner.least(m.type, partial_mode)
            self.lines.add(f"{m.type} *many = wire_room(d, {n}, sizeof(*many), {least});")
            self.lines.add("")
            if not (mode == PARTIAL and self.planner.partial_empty(m.type)):
                self.lines.open(f"for (uint64_t i = 0; i < {n} && !d->failed; i++)")
                self.lines.add(self.call_decode(m, mode, "&many[i]"))
                self.lines.close()
            self.lines.add(f"{target} = many;")
            self.lines.close()

    def rows(self, m, n):
        """An array of pointers to arrays."""
        target = self.target(m)
        if m.len[1:] == ("null-terminated",):
            self.lines.add(f"{target} = wire_strings(d, {n}, {self.label(m)});")
            return
        inner = INNER_LENGTH.get((self.owner, m.name)) or m.len[1]
        self.lines.add(f"{target} = NULL;")
        self.lines.open(f"if ({n} > 0)")
        self.lines.add(f"const {m.type} **rows = wire_room(d, {n}, sizeof(*rows), 8);")
        self.lines.add("")
        self.lines.open(f"for (uint64_t i = 0; i < {n} && !d->failed; i++)")
        self.lines.add(f"uint64_t n_row = wire_size(d, {self.want(inner)}, {self.label(m)});")
        self.lines.add("")
        row = Fields(self.planner, self.owner, self.members, self.prefix, self.lines.depth,
                     self.required_too, self.command)
        row.row_elements(m)
        self.lines.out += row.lines.out
        self.lines.close()
        self.lines.add(f"{target} = rows;")
        self.lines.close()

    def row_elements(self, m):
        category = self.schema.category(m.type)
        if category == "scalar" or self.planner.flat(m.type):
            size, align = self.planner.layout(m.type)
            self.lines.add(f"rows[i] = wire_items(d, n_row, {size}, {align});")
            return
        least = self.planner.least(m.type, FULL)
        self.lines.add(f"{m.type} *row = wire_room(d, n_row, sizeof(*row), {least});")
        self.lines.add("")
        self.lines.open("for (uint64_t j = 0; j < n_row && !d->failed; j++)")
        self.lines.add(self.call_decode(m, FULL, "&row[j]"))
        self.lines.close()
        self.lines.add("rows[i] = row;")


class Encoder:
    """Statements that write the fields of `owner` in full."""

    def __init__(self, planner, owner, members, prefix, depth=1, command=None):
        self.planner, self.schema = planner, planner.schema
        self.owner, self.members, self.prefix = owner, members, prefix
        self.command = command
        self.lines = Lines(depth)
        self.uses_n = False
        self._names = Fields(planner, owner, members, prefix, command=command)

    def encode(self, members):
        for m in members:
            self.field(m)

    def put(self, m, value):
        kind = self.schema.primitive(m.type)
        if kind not in WRITE:
            raise NotImplementedError(f"{self.owner}.{m.name}: reply with a {kind}")
        self.lines.add(WRITE[kind].format(v=value) + ";")

    def field(self, m):
        s, target = self.schema, f"{self.prefix}{m.name}"
        category = s.category(m.type)
        if m.name in ("sType", "pNext"):
            return
        if s.absent(m):
            self.lines.add("encode_u64(d, 0);")
        elif category == "union":
            raise NotImplementedError(f"{self.owner}.{m.name}: reply with a union")
        elif m.dims:
            self.fixed(m, target, category)
        elif m.stars == 0:
            self.one(m, target, f"&{target}", category)
        elif m.stars > 1 or (m.len and m.len[0] == "null-terminated"):
            raise NotImplementedError(f"{self.owner}.{m.name}: reply of this form")
        elif m.len:
            self.array(m, target, category)
        else:
            self.lines.add(f"encode_u64(d, {target} != NULL);")
            self.lines.open(f"if ({target})")
            self.one(m, f"*{target}", target, category)
            self.lines.close()

    def one(self, m, value, address, category):
        if category == "scalar":
            self.put(m, value)
        elif category == "handle":
            is_id = self.command is not None
            self.lines.add(f"encode_u64(d, {value if is_id else f'(uint64_t)(uintptr_t){value}'});")
        elif self.planner.flat(m.type):
            self.lines.add(f"encode_bytes(d, {address}, {self.planner.flat(m.type)});")
        else:
            self.lines.add(f"wire_encode_{m.type}(d, {address});")

    def fixed(self, m, target, category):
        s, n = self.schema, 1
        for d in m.dims:
            n *= s.dim(d)
        self.lines.add(f"encode_u64(d, {n});")
        each = s.scalar(m.type)[0] if category == "scalar" else (
            self.planner.flat(m.type) if category == "struct" else 0)
        if each:
            self.lines.add(f"encode_bytes(d, {target}, {n * each});")
            return
        self.lines.open(f"for (uint32_t i = 0; i < {n}; i++)")
        self.one(m, f"{target}[i]", f"&{target}[i]", category)
        self.lines.close()

    def array(self, m, target, category):
        s = self.schema
        if self.command:
            n = f"n_{m.name}"
            counter = self._names._member(m.len[0])
            if counter is not None and counter.stars:
                # The count after the call; never more than there was room for.
                self.lines.add(f"{n} = MIN((uint64_t)*{self.prefix}{counter.name}, {n});")
        else:
            n, self.uses_n = "n", True
            self.lines.add(f"n = {target} ? {self._names.length(m)} : 0;")
        self.lines.add(f"encode_u64(d, {n});")
        size = 1 if category == "void" else self.planner.layout(m.type)[0]
        if category in ("scalar", "void", "handle") or self.planner.flat(m.type):
            times = "" if size == 1 else f" * {size}"
            self.lines.add(f"encode_bytes(d, {target}, {n}{times});")
            return
        self.lines.open(f"for (uint64_t i = 0; i < {n} && !d->failed; i++)")
        self.one(m, f"{target}[i]", f"&{target}[i]", category)
        self.lines.close()
