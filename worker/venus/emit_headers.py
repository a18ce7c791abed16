"""Small headers and tables: mesa.h, procs.h/.c, objects.h/.c, names.h/.c, extensions.h/.c, capset.h."""

from emit_text import banner, c_decl, guard, wrap
from plan import NO_OBJECTS

WIRE_FORMAT = 1
OLDEST = (1, 4, 309)
PROTOCOL = (1, 4, 343)  # the registry that the protocol was last made from

# Entry points that exist before an instance; our loader code finds those itself.
GLOBAL = {"vkCreateInstance", "vkEnumerateInstanceVersion", "vkGetInstanceProcAddr",
          "vkEnumerateInstanceExtensionProperties", "vkEnumerateInstanceLayerProperties"}


def private_structs(planner):
    return [t for t in planner.reg.types.values()
            if t.category == "struct" and t.name.endswith("MESA")
            and planner.schema.origin.get(t.name) == "VK_MESA_venus_protocol"]


def mesa_h(planner):
    body = "#include <vulkan/vulkan_core.h>\n\n"
    for stype, value in planner.rules.stypes.items():
        body += wrap(f"#define {stype} ((VkStructureType){value})") + "\n"
    for t in private_structs(planner):
        rows = "".join(f"    {c_decl(m)};\n" for m in t.members)
        body += f"\ntypedef struct {t.name} {{\n{rows}}} {t.name};\n"
    return banner("the protocol's own structures.") + guard("mesa.h", body)


# ---- procs


def _version_of(planner, name):
    """The core version that holds a command, as a VK_API_VERSION macro; '' for extensions."""
    origin = planner.schema.origin.get(name, "")
    if "_VERSION_" not in origin:
        return ""
    return "VK_API_VERSION_" + origin.split("_VERSION_")[1]


def _procs(planner):
    """[(command, names to try, core version)] of everything that our code may call."""
    reg = planner.reg
    names = [n for n in planner.schema.commands
             if not n.endswith("MESA") and n not in GLOBAL]
    names += [reg.type_name(n) for n in planner.rules.host_only if reg.type_name(n) in reg.commands]
    aliases = {}
    for alias, target in reg.aliases.items():
        if alias.startswith("vk"):
            aliases.setdefault(target, []).append(alias)
    return [(n, [n] + sorted(aliases.get(n, [])), _version_of(planner, n))
            for n in sorted(set(names))]


def _is_instance_level(planner, name):
    first = planner.reg.commands[name].params[0].type
    return first in ("VkInstance", "VkPhysicalDevice") or name == "vkGetDeviceProcAddr"


def procs_h(planner):
    body = "#include <vulkan/vulkan_core.h>\n\n"
    body += ("/* The host's entry points of one instance or device; NULL where it has none. */\n"
             "struct wire_procs {\n    VkInstance instance;\n    VkPhysicalDevice physical;\n"
             "    VkDevice device;\n\n")
    for level, title in ((True, "instance"), (False, "device")):
        body += f"    /* {title} level */\n"
        for name, _, _ in _procs(planner):
            if _is_instance_level(planner, name) == level:
                body += f"    PFN_{name} {name[2:]};\n"
    body += "};\n\n"
    body += ("/* Fills the instance level and `instance`; leaves the rest. */\n"
             "void wire_procs_load_instance(struct wire_procs *procs, "
             "PFN_vkGetInstanceProcAddr gipa,\n                              "
             "VkInstance instance);\n"
             "/* Fills the device level and `device`; leaves the rest. Core commands newer than\n"
             " * `api_version` are looked up by their extensions' names only. */\n"
             "void wire_procs_load_device(struct wire_procs *procs, PFN_vkGetDeviceProcAddr gdpa,\n"
             "                            VkDevice device, uint32_t api_version);\n")
    return banner("the host's entry points.") + guard("procs.h", body)


def procs_c(planner):
    rows = {True: [], False: []}
    most = 1
    for name, names, version in _procs(planner):
        most = max(most, len(names))
        listed = ", ".join(f'"{n}"' for n in names)
        rows[_is_instance_level(planner, name)].append(wrap(
            f"    {{ offsetof(struct wire_procs, {name[2:]}), {version or 0}, "
            f"{{ {listed} }} }},", 6))
    text = banner("the host's entry points.") + '#include "wire/procs.h"\n\n'
    text += "#include <stddef.h>\n#include <string.h>\n\n"
    text += ("struct entry {\n    uint32_t offset;\n"
             "    uint32_t core; /* the version that the first name belongs to; 0: an extension */\n"
             f"    const char *names[{most + 1}];\n}};\n\n")
    for level, table in ((True, "instance_entries"), (False, "device_entries")):
        text += f"static const struct entry {table}[] = {{\n" + "\n".join(rows[level]) + "\n};\n\n"
    text += '''/* All function pointers have one representation. */
static void store(struct wire_procs *procs, uint32_t offset, PFN_vkVoidFunction f)
{
    memcpy((char *)procs + offset, &f, sizeof(f));
}

void wire_procs_load_instance(struct wire_procs *procs, PFN_vkGetInstanceProcAddr gipa,
                              VkInstance instance)
{
    procs->instance = instance;
    for (size_t i = 0; i < sizeof(instance_entries) / sizeof(instance_entries[0]); i++) {
        const struct entry *e = &instance_entries[i];
        PFN_vkVoidFunction f = NULL;

        for (size_t j = 0; !f && e->names[j]; j++) {
            f = gipa(instance, e->names[j]);
        }
        store(procs, e->offset, f);
    }
}

void wire_procs_load_device(struct wire_procs *procs, PFN_vkGetDeviceProcAddr gdpa,
                            VkDevice device, uint32_t api_version)
{
    procs->device = device;
    for (size_t i = 0; i < sizeof(device_entries) / sizeof(device_entries[0]); i++) {
        const struct entry *e = &device_entries[i];
        PFN_vkVoidFunction f = NULL;

        for (size_t j = e->core > api_version ? 1 : 0; !f && e->names[j]; j++) {
            f = gdpa(device, e->names[j]);
        }
        store(procs, e->offset, f);
    }
}
'''
    return text


# ---- objects


def _destroyers(planner):
    """[(handle type, its VK_OBJECT_TYPE, command that ends one)]"""
    out = []
    for name in planner.schema.handles:
        t = planner.reg.types[name]
        if name in NO_OBJECTS:
            continue
        for verb in ("Destroy", "Free"):
            command = planner.reg.commands.get(f"vk{verb}{name[2:]}") or \
                planner.reg.commands.get(f"vk{verb}{name[2:].removeprefix('Device')}")
            if command and any(p.type == "VkAllocationCallbacks" for p in command.params):
                if command.name in planner.schema.commands:
                    out.append((name, t.object_type, command))
                break
    return out


def objects_h(_planner):
    return banner("the end of host objects.") + guard("objects.h", '''struct object;

/* Calls the host's vkDestroyX or vkFreeMemory, by the object's type. Nothing for what ends with
 * its pool or device (command buffers, descriptor sets, queues, physical devices). */
void wire_destroy_object(const struct object *o);
''')


def objects_c(planner):
    text = banner("the end of host objects.")
    text += '#include "wire/objects.h"\n\n#include "wire/procs.h"\n#include "worker/objects.h"\n\n'
    text += ("void wire_destroy_object(const struct object *o)\n{\n"
             "    const struct wire_procs *vk = o->vk;\n"
             "    VkDevice device = o->device ? (VkDevice)(uintptr_t)o->device->handle : NULL;\n\n"
             "    switch (o->type) {\n")
    for name, object_type, command in _destroyers(planner):
        proc = command.name[2:]
        own = len(command.params) == 2
        handle = f"({name})(uintptr_t)o->handle"
        # What a command pool has for data is its allocator, or NULL.
        allocator = "o->data" if name == "VkCommandPool" else "NULL"
        args = f"{handle}, {allocator}" if own else f"device, {handle}, {allocator}"
        text += (f"    case {object_type}:\n        if (vk->{proc}) {{\n"
                 f"            vk->{proc}({args});\n        }}\n        break;\n")
    return text + "    default:\n        break;\n    }\n}\n"


# ---- names


def names_h(_planner):
    return banner("names for messages.") + guard("names.h", '''#include <stdint.h>

/* Never NULL: what has no name is "unknown". */
const char *wire_command_name(uint32_t number);
const char *wire_object_type_name(uint32_t type); /* VkObjectType, as "VkBuffer" */
const char *wire_result_name(int32_t result);
const char *wire_stype_name(uint32_t stype); /* the structure's name */
''')


def _switch(function, parameter, rows):
    cases = "".join(f"    case {value}:\n        return \"{name}\";\n" for value, name in rows)
    return (f"const char *{function}({parameter})\n{{\n"
            f"    switch ({parameter.split()[-1]}) {{\n{cases}"
            "    default:\n        return \"unknown\";\n    }\n}\n")


def names_c(planner):
    reg = planner.reg
    text = banner("names for messages.")
    text += '#include "wire/names.h"\n\n#include "wire/commands.h"\n\n'
    text += ('const char *wire_command_name(uint32_t number)\n{\n'
             '    const char *name = number < WIRE_COMMAND_COUNT ? wire_commands[number].name : '
             'NULL;\n\n    return name ? name : "unknown";\n}\n\n')
    handles = [(reg.types[n].object_type, n) for n in planner.schema.handles]
    text += _switch("wire_object_type_name", "uint32_t type", handles) + "\n"
    results, seen = [], set()
    for name, value in reg.enums.get("VkResult", {}).items():
        if value not in seen:
            seen.add(value)
            results.append((value, name))
    text += _switch("wire_result_name", "int32_t result", sorted(results)) + "\n"
    stypes = {}
    numbers = {**reg.enums.get("VkStructureType", {}), **planner.rules.stypes}
    for t in reg.types.values():
        # A structure of a disabled extension has no number.
        if t.category == "struct" and t.stype in numbers:
            stypes.setdefault(numbers[t.stype], t.name)
    text += _switch("wire_stype_name", "uint32_t stype",
                    [(f"{v}u", n) for v, n in sorted(stypes.items())])
    return text


# ---- extensions and capset


def extensions_h(planner):
    have = "".join(f"#define WIRE_HAVE_{e} 1\n" for e in sorted(planner.schema.extensions))
    return banner("extensions of the protocol.") + guard("extensions.h", '''#include <stdbool.h>
#include <stdint.h>

struct wire_extension {
    const char *name;
    uint32_t number;
    uint32_t spec_version; /* highest that the protocol knows */
    bool advertised;       /* may be shown to a guest if the host has it */
};

#define WIRE_EXTENSION_COUNT {n}u
extern const struct wire_extension wire_extensions[WIRE_EXTENSION_COUNT]; /* by name */

/* NULL: not in the protocol. */
const struct wire_extension *wire_extension_find(const char *name);

/* Those that the registry of this build knows: what depends on another is not there. */
{have}'''.replace("{n}", str(len(planner.schema.extensions))).replace("{have}", have))


def extensions_c(planner):
    rows = "".join(
        f'    {{ "{e.name}", {e.number}, {e.spec_version}, {"true" if e.advertised else "false"} }},\n'
        for e in sorted(planner.rules.extensions.values(), key=lambda e: e.name)
        if e.name in planner.schema.extensions)
    return banner("extensions of the protocol.") + f'''#include "wire/extensions.h"

#include <stdlib.h>
#include <string.h>

const struct wire_extension wire_extensions[WIRE_EXTENSION_COUNT] = {{
{rows}}};

static int compare(const void *name, const void *extension)
{{
    return strcmp(name, ((const struct wire_extension *)extension)->name);
}}

const struct wire_extension *wire_extension_find(const char *name)
{{
    return bsearch(name, wire_extensions, WIRE_EXTENSION_COUNT, sizeof(wire_extensions[0]),
                   compare);
}}
'''


def capset_h(planner):
    schema, rules = planner.schema, planner.rules
    words = [0] * 32
    words[0] = 1
    for e in rules.extensions.values():
        if e.name in schema.extensions:
            words[e.number // 32] |= 1 << (e.number % 32)
    major, minor, patch = min(planner.reg.version, PROTOCOL)
    version = major << 22 | minor << 12 | patch
    rows = "".join("    " + ", ".join(f"0x{w:08x}" for w in words[i:i + 8]) + ",\n"
                   for i in range(0, 32, 8))
    spec = {n: rules.extensions[n].spec_version
            for n in ("VK_EXT_command_serialization", "VK_MESA_venus_protocol")
            if n in rules.extensions}
    body = "#include <stdint.h>\n\n"
    body += f"#define WIRE_FORMAT_VERSION {WIRE_FORMAT}\n"
    body += f"#define WIRE_VK_XML_VERSION 0x{version:08x}u /* {major}.{minor}.{patch} */\n"
    body += f"#define WIRE_SERIALIZATION_SPEC_VERSION {spec.get('VK_EXT_command_serialization', 1)}\n"
    body += f"#define WIRE_VENUS_SPEC_VERSION {spec.get('VK_MESA_venus_protocol', 4)}\n\n"
    body += ("/* Bit N: Vulkan extension number N is in the protocol. Bit 0: the mask is valid. */\n"
             f"static const uint32_t wire_extension_mask[32] = {{\n{rows}}};\n")
    return banner("what a front end announces.") + guard("capset.h", body)
