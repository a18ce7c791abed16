"""Venus commands as bytes, written by hand: what no well-behaved driver would send included."""

import struct

REPLY = 1

# Command numbers used here (worker/venus/commands.csv).
(CREATE_INSTANCE, DESTROY_INSTANCE, ENUMERATE_PHYSICAL_DEVICES) = (0, 1, 2)
GET_PHYSICAL_DEVICE_PROPERTIES = 6
CREATE_DEVICE, DESTROY_DEVICE = 11, 12
ENUMERATE_DEVICE_EXTENSION_PROPERTIES = 14
ALLOCATE_MEMORY, FREE_MEMORY = 21, 22
QUEUE_SUBMIT = 18
BIND_BUFFER_MEMORY, BIND_IMAGE_MEMORY = 28, 29
CREATE_FENCE, GET_FENCE_STATUS = 35, 38
CREATE_QUERY_POOL, GET_QUERY_POOL_RESULTS = 47, 49
CREATE_BUFFER, DESTROY_BUFFER = 50, 51
CREATE_IMAGE = 54
CREATE_SHADER_MODULE = 59
CREATE_GRAPHICS_PIPELINES, CREATE_COMPUTE_PIPELINES = 65, 66
CREATE_PIPELINE_LAYOUT = 68
CREATE_DESCRIPTOR_POOL = 74
CREATE_COMMAND_POOL, ALLOCATE_COMMAND_BUFFERS, FREE_COMMAND_BUFFERS = 85, 88, 89
BEGIN_COMMAND_BUFFER, END_COMMAND_BUFFER = 90, 91
CMD_COPY_BUFFER, CMD_UPDATE_BUFFER, CMD_FILL_BUFFER = 112, 117, 118
CMD_CLEAR_COLOR_IMAGE, CMD_PIPELINE_BARRIER = 119, 126
ENUMERATE_INSTANCE_VERSION = 137
ENUMERATE_PHYSICAL_DEVICE_GROUPS = 143
GET_PHYSICAL_DEVICE_FEATURES2, GET_PHYSICAL_DEVICE_PROPERTIES2 = 147, 148
GET_DEVICE_QUEUE2 = 155
SET_REPLY_COMMAND_STREAM, SEEK_REPLY_COMMAND_STREAM, EXECUTE_COMMAND_STREAMS = 178, 179, 180
CREATE_RING, DESTROY_RING, NOTIFY_RING, WRITE_RING_EXTRA = 188, 189, 190, 191
GET_MEMORY_RESOURCE_PROPERTIES = 192
IMPORT_SEMAPHORE_RESOURCE = 246
CMD_DRAW_MULTI = 247
SUBMIT_VIRTQUEUE_SEQNO, WAIT_VIRTQUEUE_SEQNO, WAIT_RING_SEQNO = 251, 252, 253
COPY_IMAGE_TO_MEMORY = 297
GET_ACCELERATION_STRUCTURE_BUILD_SIZES = 319

STYPE_APPLICATION_INFO, STYPE_INSTANCE_CREATE_INFO = 0, 1
STYPE_DEVICE_QUEUE_CREATE_INFO, STYPE_DEVICE_CREATE_INFO = 2, 3
STYPE_EXTERNAL_MEMORY_BUFFER, STYPE_EXTERNAL_MEMORY_IMAGE = 1000072000, 1000072001
STYPE_EXPORT_MEMORY = 1000072002
STYPE_DRM_FORMAT_MODIFIER_EXPLICIT = 1000158004
STYPE_RING_CREATE_INFO = 1000384000
STYPE_MEMORY_RESOURCE_PROPERTIES = 1000384001
STYPE_IMPORT_MEMORY_RESOURCE_INFO = 1000384002
STYPE_MEMORY_RESOURCE_ALLOCATION_SIZE = 1000384003
STYPE_IMPORT_SEMAPHORE_RESOURCE_INFO = 1000384004
STYPE_DEVICE_QUEUE_TIMELINE_INFO = 1000384005
STYPE_RING_MONITOR_INFO = 1000384006

PHYSICAL_DEVICE_TYPE_CPU = 4
API_1_3 = (1 << 22) | (3 << 12)


def u32(value):
    return struct.pack("<I", value & 0xFFFFFFFF)


def u64(value):
    return struct.pack("<Q", value & 0xFFFFFFFFFFFFFFFF)


def f32(value):
    return struct.pack("<f", value)


PRESENT, NULL = u64(1), u64(0)
NO_CHAIN = u64(0)
DMA_BUF = 0x200  # VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT


def blob(data):
    return u64(len(data)) + data + b"\0" * (-len(data) % 4)


def string(text):
    return blob(text.encode() + b"\0")


def array(items):
    return u64(len(items)) + b"".join(items)


def chain(*links):
    """A pNext chain of (sType, members) pairs: what follows comes before a structure's members."""
    if not links:
        return NO_CHAIN
    (stype, members), *rest = links
    return PRESENT + u32(stype) + chain(*rest) + members


def command(number, *parts, reply=False):
    return u32(number) + u32(REPLY if reply else 0) + b"".join(parts)


def create_instance(instance, api=API_1_3, reply=False):
    application = PRESENT + u32(STYPE_APPLICATION_INFO) + NO_CHAIN + string("wire") + u32(1) \
        + string("hand") + u32(1) + u32(api)
    info = PRESENT + u32(STYPE_INSTANCE_CREATE_INFO) + NO_CHAIN + u32(0) + application \
        + u32(0) + u64(0) + u32(0) + u64(0)
    return command(CREATE_INSTANCE, info, NULL, PRESENT, u64(instance), reply=reply)


def enumerate_physical_devices(instance, ids, count=None, reply=True):
    return command(ENUMERATE_PHYSICAL_DEVICES, u64(instance), PRESENT,
                   u32(len(ids) if count is None else count), array([u64(i) for i in ids]),
                   reply=reply)


def create_device(physical, device, families=((0, 1),), extensions=(), reply=False):
    queues = [u32(STYPE_DEVICE_QUEUE_CREATE_INFO) + NO_CHAIN + u32(0) + u32(family) + u32(count)
              + array([f32(1.0)] * count) for family, count in families]
    info = PRESENT + u32(STYPE_DEVICE_CREATE_INFO) + NO_CHAIN + u32(0) \
        + u32(len(queues)) + array(queues) + u32(0) + u64(0) \
        + u32(len(extensions)) + array([string(name) for name in extensions]) + NULL
    return command(CREATE_DEVICE, u64(physical), info, NULL, PRESENT, u64(device), reply=reply)


def create_buffer(device, buffer, size=4096, usage=0x33, sharing=0, families=0, indices=(),
                  links=(), reply=False):
    info = PRESENT + u32(12) + chain(*links) + u32(0) + u64(size) + u32(usage) + u32(sharing) \
        + u32(families) + array([u32(i) for i in indices])
    return command(CREATE_BUFFER, u64(device), info, NULL, PRESENT, u64(buffer), reply=reply)


def destroy_buffer(device, buffer):
    return command(DESTROY_BUFFER, u64(device), u64(buffer), NULL)


def create_fence(device, fence, flags=0, reply=False):
    return command(CREATE_FENCE, u64(device), PRESENT + u32(8) + NO_CHAIN + u32(flags), NULL,
                   PRESENT, u64(fence), reply=reply)


def create_query_pool(device, pool, kind=2, count=4, reply=False):
    return command(CREATE_QUERY_POOL, u64(device),
                   PRESENT + u32(11) + NO_CHAIN + u32(0) + u32(kind) + u32(count) + u32(0), NULL,
                   PRESENT, u64(pool), reply=reply)


def get_query_pool_results(device, pool, first, count, size, stride, flags, reply=True):
    return command(GET_QUERY_POOL_RESULTS, u64(device), u64(pool), u32(first), u32(count),
                   u64(size), u64(size), u64(stride), u32(flags), reply=reply)


def create_shader_module(device, module, code_size, words, reply=False):
    info = PRESENT + u32(16) + NO_CHAIN + u32(0) + u64(code_size) + array([u32(w) for w in words])
    return command(CREATE_SHADER_MODULE, u64(device), info, NULL, PRESENT, u64(module),
                   reply=reply)


def create_command_pool(device, pool, family=0, flags=0, reply=False):
    return command(CREATE_COMMAND_POOL, u64(device),
                   PRESENT + u32(39) + NO_CHAIN + u32(flags) + u32(family), NULL, PRESENT,
                   u64(pool), reply=reply)


def allocate_command_buffers(device, pool, ids, count=None, reply=False):
    info = PRESENT + u32(40) + NO_CHAIN + u64(pool) + u32(0) \
        + u32(len(ids) if count is None else count)
    return command(ALLOCATE_COMMAND_BUFFERS, u64(device), info, array([u64(i) for i in ids]),
                   reply=reply)


def free_command_buffers(device, pool, ids, count=None):
    return command(FREE_COMMAND_BUFFERS, u64(device), u64(pool),
                   u32(len(ids) if count is None else count), array([u64(i) for i in ids]))


def allocate_memory(device, memory, size, kind=0, import_resource=None, export=0, reply=False):
    links = []
    if import_resource is not None:
        links.append((STYPE_IMPORT_MEMORY_RESOURCE_INFO, u32(import_resource)))
    if export:
        links.append((STYPE_EXPORT_MEMORY, u32(export)))
    info = PRESENT + u32(5) + chain(*links) + u64(size) + u32(kind)
    return command(ALLOCATE_MEMORY, u64(device), info, NULL, PRESENT, u64(memory), reply=reply)


def bind_buffer_memory(device, buffer, memory, offset=0):
    return command(BIND_BUFFER_MEMORY, u64(device), u64(buffer), u64(memory), u64(offset))


def bind_image_memory(device, image, memory, offset=0):
    return command(BIND_IMAGE_MEMORY, u64(device), u64(image), u64(memory), u64(offset))


def get_memory_resource_properties(device, resource):
    """Reply: number, result, presence, sType, chain (presence, sType, end, size), type bits."""
    properties = PRESENT + u32(STYPE_MEMORY_RESOURCE_PROPERTIES) \
        + chain((STYPE_MEMORY_RESOURCE_ALLOCATION_SIZE, b""))
    return command(GET_MEMORY_RESOURCE_PROPERTIES, u64(device), u32(resource), properties,
                   reply=True)


def create_linear_image(device, image, fmt, width, height, pitch):
    """With the layout that its maker chose, told by an explicit modifier (0, linear)."""
    plane = u64(0) + u64(0) + u64(pitch) + u64(0) + u64(0)
    links = [(STYPE_EXTERNAL_MEMORY_IMAGE, u32(DMA_BUF)),
             (STYPE_DRM_FORMAT_MODIFIER_EXPLICIT, u64(0) + u32(1) + array([plane]))]
    info = PRESENT + u32(14) + chain(*links) + u32(0) + u32(1) + u32(fmt) + u32(width) \
        + u32(height) + u32(1) + u32(1) + u32(1) + u32(1) + u32(1000158000) + u32(3) + u32(0) \
        + u32(0) + u64(0) + u32(0)
    return command(CREATE_IMAGE, u64(device), info, NULL, PRESENT, u64(image), reply=True)


def begin_command_buffer(commands):
    return command(BEGIN_COMMAND_BUFFER, u64(commands),
                   PRESENT + u32(42) + NO_CHAIN + u32(1) + NULL)


def end_command_buffer(commands):
    return command(END_COMMAND_BUFFER, u64(commands))


def fill_buffer(commands, buffer, offset, size, word):
    return command(CMD_FILL_BUFFER, u64(commands), u64(buffer), u64(offset), u64(size), u32(word))


def copy_buffer(commands, source, target, size):
    return command(CMD_COPY_BUFFER, u64(commands), u64(source), u64(target), u32(1),
                   array([u64(0) + u64(0) + u64(size)]))


COLOR_RANGE = u32(1) + u32(0) + u32(1) + u32(0) + u32(1)


def image_to_general(commands, image):
    barrier = u32(45) + NO_CHAIN + u32(0) + u32(0x1000) + u32(0) + u32(1) + u32(0xFFFFFFFF) \
        + u32(0xFFFFFFFF) + u64(image) + COLOR_RANGE
    return command(CMD_PIPELINE_BARRIER, u64(commands), u32(1), u32(0x1000), u32(0), u32(0), u64(0),
                   u32(0), u64(0), u32(1), array([barrier]))


def clear_image(commands, image, words):
    return command(CMD_CLEAR_COLOR_IMAGE, u64(commands), u64(image), u32(1),
                   PRESENT + u32(2) + array([u32(word) for word in words]), u32(1),
                   array([COLOR_RANGE]))


def queue_submit(queue, commands, fence=0):
    submit = u32(4) + NO_CHAIN + u32(0) + u64(0) + u64(0) + u32(1) + array([u64(commands)]) \
        + u32(0) + u64(0)
    return command(QUEUE_SUBMIT, u64(queue), u32(1), array([submit]), u64(fence))


def free_memory(device, memory):
    return command(FREE_MEMORY, u64(device), u64(memory), NULL)


def get_device_queue2(device, queue, ring_idx, family=0, index=0):
    info = PRESENT + u32(1000145003) + u64(1) + u32(STYPE_DEVICE_QUEUE_TIMELINE_INFO) + NO_CHAIN \
        + u32(ring_idx) + u32(0) + u32(family) + u32(index)
    return command(GET_DEVICE_QUEUE2, u64(device), info, PRESENT, u64(queue))


def stream(resource, offset, size):
    return u32(resource) + u64(offset) + u64(size)


def set_reply(resource, offset, size):
    return command(SET_REPLY_COMMAND_STREAM, PRESENT, stream(resource, offset, size))


def seek_reply(position):
    return command(SEEK_REPLY_COMMAND_STREAM, u64(position))


def execute_streams(streams, positions=None):
    return command(EXECUTE_COMMAND_STREAMS, u32(len(streams)),
                   array([stream(*s) for s in streams]),
                   array([u64(p) for p in positions]) if positions is not None else u64(0),
                   u32(0), u64(0), u32(0))


class RingLayout:
    """Where things lie in a ring's resource: Mesa's layout unless told otherwise."""

    def __init__(self, resource, buffer_size=16384, extra=4, **changes):
        self.resource, self.offset, self.flags = resource, 0, 0
        self.head, self.tail, self.status, self.buffer = 0, 64, 128, 192
        self.buffer_size = buffer_size
        self.extra, self.extra_size = 192 + buffer_size, extra
        self.size = 192 + buffer_size + extra
        self.idle_ns = 1_000_000
        self.monitor_us = None
        for name, value in changes.items():
            if not hasattr(self, name):
                raise TypeError(f"a ring has no {name}")
            setattr(self, name, value)


def create_ring(ring, layout):
    chain, body = NO_CHAIN, b""
    if layout.monitor_us is not None:
        chain = u64(1) + u32(STYPE_RING_MONITOR_INFO) + NO_CHAIN
        body = u32(layout.monitor_us)
    info = PRESENT + u32(STYPE_RING_CREATE_INFO) + chain + body + u32(layout.flags) \
        + u32(layout.resource) + b"".join(u64(v) for v in (
            layout.offset, layout.size, layout.idle_ns, layout.head, layout.tail, layout.status,
            layout.buffer, layout.buffer_size, layout.extra, layout.extra_size))
    return command(CREATE_RING, u64(ring), info)


def destroy_ring(ring):
    return command(DESTROY_RING, u64(ring))


def notify_ring(ring, seqno=0):
    return command(NOTIFY_RING, u64(ring), u32(seqno), u32(0))


def write_ring_extra(ring, offset, value):
    return command(WRITE_RING_EXTRA, u64(ring), u64(offset), u32(value))


def submit_virtqueue_seqno(ring, seqno):
    return command(SUBMIT_VIRTQUEUE_SEQNO, u64(ring), u64(seqno))


def wait_virtqueue_seqno(seqno):
    return command(WAIT_VIRTQUEUE_SEQNO, u64(seqno))


def wait_ring_seqno(ring, seqno):
    return command(WAIT_RING_SEQNO, u64(ring), u64(seqno))
