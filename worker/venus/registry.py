"""vk.xml (and our private.xml, same style) as small dataclasses. Knows nothing of the wire."""

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field


class BadInput(Exception):
    """Input data that must be refused: says file, place and reason."""

    def __init__(self, file, place, reason):
        super().__init__(f"{file}: {place}: {reason}")


@dataclass
class Field:
    """A struct member or a command parameter."""

    name: str
    type: str  # alias already replaced by its target
    const: bool = False  # `const` before the base type
    stars: int = 0  # pointer levels
    dims: tuple = ()  # fixed array dimensions: numbers, or names of API constants
    bits: int = 0  # bit-field width, 0 = none
    len: tuple = ()  # the `len` attribute, one entry per array level
    altlen: str = ""
    optional: tuple = ()
    noautovalidity: bool = False
    selector: str = ""
    selection: tuple = ()
    values: str = ""  # the required sType


@dataclass
class Type:
    name: str
    category: str  # struct union handle enum bitmask basetype funcpointer define platform ...
    members: list = field(default_factory=list)
    target: str = ""  # base type of a basetype or bitmask
    bits64: bool = False  # enum with bitwidth 64
    extends: tuple = ()  # structextends
    parent: str = ""  # handle
    object_type: str = ""  # handle: VK_OBJECT_TYPE_...
    dispatchable: bool = False
    requires: str = ""

    @property
    def stype(self):
        """Name of the sType value, or '' for a struct without."""
        if self.members and self.members[0].name == "sType":
            return self.members[0].values
        return ""


@dataclass
class Command:
    name: str
    ret: str
    params: list
    errors: tuple = ()
    stream: str = "both"  # private.xml only


@dataclass
class Require:
    depends: str
    types: list
    commands: list


@dataclass
class Block:
    """A core feature block or an extension."""

    name: str
    number: str
    requires: list
    extension: bool


@dataclass
class Plane:
    number: int  # of the single-plane format with the same texels
    divide_x: int
    divide_y: int


@dataclass
class Format:
    name: str
    number: int
    size: int  # bytes of a texel block
    extent: tuple  # texels in it: width, height, depth
    planes: list


@dataclass
class Registry:
    version: tuple  # (major, minor, patch); (0, 0, 0) when the file does not say
    types: dict
    commands: dict
    aliases: dict  # type or command -> target, one step resolved to the end
    blocks: dict
    constants: dict
    enums: dict  # enum type -> {name: value}
    formats: list

    def type_name(self, name):
        return self.aliases.get(name, name)


def _true(text):
    return text == "true"


def _list(text, sep=","):
    return tuple(t.strip() for t in text.split(sep)) if text else ()


def _for_vulkan(element):
    """False for elements that belong to other APIs (Vulkan SC) only."""
    api = element.get("api")
    return api is None or "vulkan" in api.split(",")


def _field(file, owner, element):
    """Parses <member> or <param>: C text with <type>, <name> and maybe <enum> inside."""
    name = type_name = None
    before = after = dims = element.text or ""
    after = dims = ""
    for child in element:
        tail = child.tail or ""
        if child.tag == "type":
            type_name = child.text
            after += tail
        elif child.tag == "name":
            name = child.text
            dims += tail
        elif child.tag == "enum":
            dims += (child.text or "") + tail
        elif child.tag == "comment":
            dims += tail
    if not name or not type_name:
        raise BadInput(file, owner, f"<{element.tag}> without a type or a name")
    bits = re.search(r":\s*(\d+)", dims)
    return Field(
        name=name,
        type=type_name,
        const="const" in before.split(),
        stars=after.count("*"),
        dims=tuple(int(d) if d.isdigit() else d for d in re.findall(r"\[(\w+)\]", dims)),
        bits=int(bits.group(1)) if bits else 0,
        len=_list(element.get("len")),
        altlen=element.get("altlen") or "",
        optional=_list(element.get("optional")),
        noautovalidity=_true(element.get("noautovalidity")),
        selector=element.get("selector") or "",
        selection=_list(element.get("selection")),
        values=element.get("values") or "",
    )


def _type(file, element, aliases):
    name = element.get("name") or element.findtext("name")
    if name is None and element.find("proto") is not None:
        name = element.findtext("proto/name")
    category = element.get("category") or "platform"
    if name is None:
        return None
    if element.get("alias"):
        aliases[name] = element.get("alias")
        return None
    t = Type(name=name, category=category)
    if category in ("struct", "union"):
        t.members = [_field(file, name, m) for m in element.findall("member") if _for_vulkan(m)]
        t.extends = _list(element.get("structextends"))
    elif category in ("basetype", "bitmask"):
        t.target = element.findtext("type") or ""
        t.requires = element.get("requires") or element.get("bitvalues") or ""
        # An opaque struct or a pointer to one is no scalar.
        if "*" in "".join(element.itertext()):
            t.target = ""
    elif category == "handle":
        t.parent = element.get("parent") or ""
        t.object_type = element.get("objtypeenum") or ""
        t.dispatchable = element.findtext("type") == "VK_DEFINE_HANDLE"
    return t


def _command(file, element, aliases):
    if element.get("alias"):
        aliases[element.get("name")] = element.get("alias")
        return None
    proto = element.find("proto")
    if proto is None:
        raise BadInput(file, "<command>", "no <proto>")
    name = proto.findtext("name")
    return Command(
        name=name,
        ret=proto.findtext("type"),
        params=[_field(file, name, p) for p in element.findall("param") if _for_vulkan(p)],
        errors=_list(element.get("errorcodes")),
        stream=element.get("stream") or "both",
    )


def _block(element):
    requires = []
    for r in element.findall("require"):
        if _for_vulkan(r):
            requires.append(Require(
                depends=r.get("depends") or "",
                types=[t.get("name") for t in r.findall("type") if _for_vulkan(t)],
                commands=[c.get("name") for c in r.findall("command") if _for_vulkan(c)],
            ))
    return Block(element.get("name"), element.get("number") or "", requires,
                 element.tag == "extension")


def _enum_value(e, ext_number):
    if e.get("value") is not None:
        try:
            return int(e.get("value"), 0)
        except ValueError:
            return None
    if e.get("bitpos") is not None:
        return 1 << int(e.get("bitpos"))
    if e.get("offset") is not None:
        number = int(e.get("extnumber") or ext_number)
        value = 1000000000 + (number - 1) * 1000 + int(e.get("offset"))
        return -value if e.get("dir") == "-" else value
    return None


def _formats(file, root, numbers):
    """Formats that have a number; those of other APIs or disabled extensions have none."""
    formats = []
    for e in root.iterfind("formats/format"):
        name = e.get("name")
        if name not in numbers:
            continue
        planes = []
        for p in e.findall("plane"):
            if p.get("compatible") not in numbers:
                raise BadInput(file, name, f"plane format {p.get('compatible')} has no number")
            planes.append(Plane(numbers[p.get("compatible")], int(p.get("widthDivisor")),
                                int(p.get("heightDivisor"))))
        extent = tuple(int(x) for x in (e.get("blockExtent") or "1,1,1").split(","))
        if len(extent) != 3 or len(planes) > 3:
            raise BadInput(file, name, "a block has three dimensions, an image at most three planes")
        formats.append(Format(name, numbers[name], int(e.get("blockSize")), extent, planes))
    return formats


def _version(root):
    header = minor = None
    for t in root.iterfind("types/type"):
        if t.get("category") != "define" or not _for_vulkan(t):
            continue
        text = "".join(t.itertext())
        if re.search(r"#define\s+VK_HEADER_VERSION\s+\d+", text):
            header = int(re.search(r"#define\s+VK_HEADER_VERSION\s+(\d+)", text).group(1))
        m = re.search(r"VK_HEADER_VERSION_COMPLETE\s+VK_MAKE_API_VERSION\(\d+,\s*(\d+),\s*(\d+),", text)
        if m:
            minor = (int(m.group(1)), int(m.group(2)))
    if header is None or minor is None:
        return (0, 0, 0)
    return (*minor, header)


def parse(path, label=None):
    """Reads one registry file. `label` names it in messages."""
    label = label or path
    try:
        root = ET.parse(path).getroot()
    except ET.ParseError as e:
        raise BadInput(label, f"line {e.position[0]}", f"not well-formed XML ({e})") from None
    except OSError as e:
        raise BadInput(label, "open", e.strerror) from None

    types, commands, aliases, blocks, constants, enums = {}, {}, {}, {}, {}, {}
    same = []  # (enum type, name, the older name of the same value)
    for e in root.iterfind("types/type"):
        if _for_vulkan(e):
            t = _type(label, e, aliases)
            if t:
                types[t.name] = t
    for e in root.iterfind("commands/command"):
        if _for_vulkan(e):
            c = _command(label, e, aliases)
            if c:
                commands[c.name] = c

    for e in root.iterfind("enums"):
        name = e.get("name")
        if e.get("type") in ("enum", "bitmask"):
            values = enums.setdefault(name, {})
            if e.get("bitwidth") == "64" and name in types:
                types[name].bits64 = True
        else:
            values = constants
        for v in e.findall("enum"):
            number = _enum_value(v, 0) if _for_vulkan(v) else None
            if number is not None:
                values[v.get("name")] = number

    for e in list(root.iterfind("feature")) + list(root.iterfind("extensions/extension")):
        supported = e.get("supported")
        if not _for_vulkan(e) or (supported and "vulkan" not in supported.split(",")):
            continue
        blocks[e.get("name")] = _block(e)
        for v in e.iterfind("require/enum"):
            number = _enum_value(v, e.get("number")) if _for_vulkan(v) else None
            if number is not None and v.get("extends"):
                enums.setdefault(v.get("extends"), {})[v.get("name")] = number
            elif v.get("alias") and v.get("extends"):
                same.append((v.get("extends"), v.get("name"), v.get("alias")))
    for extends, name, target in same:
        if target in enums.get(extends, {}):
            enums[extends].setdefault(name, enums[extends][target])

    for a in list(aliases):
        while aliases[a] in aliases:
            aliases[a] = aliases[aliases[a]]
    for owner in list(types.values()):
        owner.extends = tuple(aliases.get(x, x) for x in owner.extends)
        owner.target = aliases.get(owner.target, owner.target)
        owner.requires = aliases.get(owner.requires, owner.requires)
        for m in owner.members:
            m.type = aliases.get(m.type, m.type)
    for c in commands.values():
        c.ret = aliases.get(c.ret, c.ret)
        for p in c.params:
            p.type = aliases.get(p.type, p.type)
    return Registry(_version(root), types, commands, aliases, blocks, constants, enums,
                    _formats(label, root, enums.get("VkFormat", {})))


def merge(registry, private):
    """Adds our private schema to the public registry."""
    for name in ("types", "commands", "aliases", "blocks", "constants"):
        getattr(registry, name).update(getattr(private, name))
    for name, values in private.enums.items():
        registry.enums.setdefault(name, {}).update(values)
    for c in private.commands.values():
        for p in c.params:
            p.type = registry.type_name(p.type)
    return registry
