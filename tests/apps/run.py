"""Runs one program of scripts/peer-root's forky-apps root on the host driver and through Cordon.

    run.py CORDON-VTEST NAME

The server, its host driver and the client are all of that root. Both runs must end in the same way
and print the same, but for what names the device or tells the time; no worker may be lost.
"""

import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "client"))

# pylint: disable=wrong-import-position
import harness

ROOT = harness.CACHE / "peer-forky-apps"
ICDS = "/usr/share/vulkan/icd.d/"
LIBEXEC = "/usr/libexec"
SECONDS = 100

ZINK = {"GALLIUM_DRIVER": "zink", "MESA_LOADER_DRIVER_OVERRIDE": "zink",
        "LIBGL_ALWAYS_SOFTWARE": "1"}
# The X server has no DRI3: presentation copies pixels, with any driver.
WINDOW = {"MESA_VK_WSI_DEBUG": "sw"}


def filters(*graphs):
    """Prints a digest of every frame that each filter graph makes."""
    return "\n".join(
        f"echo '{graph}'; ffmpeg -nostdin -hide_banner -loglevel fatal "
        "-init_hw_device vulkan=v:0 -filter_hw_device v "
        "-f lavfi -i testsrc2=size=320x240:rate=5:duration=1 "
        f"-filter_complex '{graph}' -f framemd5 - | grep -v '^#'; echo $?" for graph in graphs)


UP, DOWN = "format=yuv420p,hwupload", "hwdownload,format=yuv420p"


def lasting(*commands):
    """Programs that go on until they are ended: they have to last that long."""
    return "\n".join(f"timeout 3 {command} > /dev/null; echo $?" for command in commands)


NODE = """
color { bounds: 0 0 50 50; color: rgb(255,0,0); }
linear-gradient { bounds: 50 0 50 50; start: 50 0; end: 100 50; stops: 0 red, 1 blue; }
blur { blur: 6; child: color { bounds: 60 60 20 20; color: green; } }
rounded-clip {
    clip: 0 50 50 50 / 10;
    child: conic-gradient { bounds: 0 50 50 50; center: 25 75; stops: 0 green, 1 yellow; }
}
"""

# name: (variables, shell script, lines that may differ)
APPS = {
    "zink_info": (ZINK, "eglinfo -B -p surfaceless", r"renderer|RENDERER"),
    "zink_glmark2": (ZINK | WINDOW, "glmark2-es2 --off-screen --validate -s 128x128 " + " ".join(
        f"-b {scene}" for scene in ("build:use-vbo=true", "texture:texture-filter=mipmap",
                                    "shading:shading=gouraud", "shading:shading=blinn-phong-inf",
                                    "shading:shading=phong", "bump:bump-render=height",
                                    "desktop:windows=2", "buffer:update-method=map", "jellyfish",
                                    "refract", "function", "loop")), r"GL_RENDERER"),
    "zink_window": (ZINK | WINDOW, lasting("glxgears", "es2gears_x11"), None),
    "window": (WINDOW, "vkcube --c 30; echo $?; vkcubepp --c 30; echo $?\n" + lasting("vkgears"),
               r"^Selected GPU"),
    "window_sdl": (WINDOW | {"SDL_GPU_DRIVER": "vulkan"},
                   lasting(f"{LIBEXEC}/installed-tests/SDL3/testgpu_simple_clear",
                           f"{LIBEXEC}/installed-tests/SDL3/testgpu_spinning_cube"), None),
    "window_d3d12": (WINDOW, lasting("vkd3d-triangle", "vkd3d-gears"), r"^vkd3d:"),
    "gtk": (WINDOW | {"GSK_RENDERER": "vulkan"},
            f"cd /srv; printf '%s' '{NODE}' > node; gtk4-rendernode-tool render "
            "--renderer=vulkan node node.png; echo $?; md5sum node.png", None),
    "video_filters": ({}, filters(
        f"{UP},scale_vulkan=160:120,{DOWN}", f"{UP},avgblur_vulkan=5:5,{DOWN}",
        f"{UP},gblur_vulkan=sigma=2,{DOWN}", f"{UP},transpose_vulkan=dir=clock,{DOWN}",
        f"{UP},bwdif_vulkan,{DOWN}", f"{UP},nlmeans_vulkan=s=2:p=3:r=5,{DOWN}",
        f"split[a][b];[a]{UP}[c];[b]negate,{UP}[d];[c][d]blend_vulkan=all_mode=multiply,{DOWN}"),
                      None),
    "video_libplacebo": ({}, filters(
        f"{UP},libplacebo=w=160:h=120,{DOWN}",
        "format=yuv420p10,hwupload,libplacebo=format=yuv444p10,hwdownload,format=yuv444p10"), None),
    "video_encoder": ({}, "ffmpeg -nostdin -hide_banner -loglevel fatal -init_hw_device vulkan=v:0 "
                      "-filter_hw_device v -f lavfi -i testsrc2=size=320x240:rate=5:duration=1 "
                      "-vf format=yuv422p10,hwupload -c:v prores_ks_vulkan -f framemd5 -", None),
    # Without the variable it takes no device of the type CPU.
    "matrices": ({"GGML_VK_VISIBLE_DEVICES": "0"},
                 f"{LIBEXEC}/*/ggml/test-backend-ops test -b Vulkan0 -o MUL_MAT "
                 "-p 'type_a=(f32|f16|q4_0).*m=16,n=1,k=256,bs=.1,1.,nr=.1,1.' | grep -a MUL_MAT",
                 None),
}


def in_root(root, build, folder, script, variables):
    words = [f"{name}={text}" for name, text in variables.items()]
    return root.enter(build, folder, ["/usr/bin/env", "-i", "PATH=/usr/bin:/bin", "HOME=/srv",
                                      "XDG_RUNTIME_DIR=/srv", "NODEVICE_SELECT=1",
                                      "MESA_SHADER_CACHE_DISABLE=true", *words,
                                      "/bin/sh", "-c", script])


class Display:
    """An X server without a screen, in the root."""

    def __init__(self, root, build, folder):
        read, write = os.pipe()
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            in_root(root, build, folder,
                    f"exec Xvfb -displayfd {write} -screen 0 640x480x24 -nolisten tcp", {}),
            pass_fds=[write], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(write)
        with os.fdopen(read) as told:
            self.name = ":" + told.readline().strip()
        if self.name == ":":
            self.stop()
            raise harness.Failure("Xvfb did not start")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(10)


def clean(text, may_differ):
    lines = [re.sub(r"\x1b\[[0-9;]*m|@ 0x[0-9a-f]+", "", line) for line in text.splitlines()]
    return [line for line in lines if not (may_differ and re.search(may_differ, line))]


def run_app(root, build, folder, name, display, variables):
    own, script, may_differ = APPS[name]
    command = in_root(root, build, folder, script, own | variables | {"DISPLAY": display})
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise harness.Failure(f"{name}: not done after {SECONDS} s") from None
    return done.returncode, clean(done.stdout, may_differ), done.stderr


def compare(native, guest, log):
    wrong = []
    if native[0] != guest[0]:
        wrong.append(f"exit status {guest[0]}, on the host driver {native[0]}")
    for line in (line for line in native[1] if line not in guest[1]):
        wrong.append(f"only on the host driver: {line}")
    for line in (line for line in guest[1] if line not in native[1]):
        wrong.append(f"only through the server: {line}")
    wrong += [line for line in log.splitlines() if re.match(r"[a-z-]+: error ", line)]
    if not native[1]:
        wrong.append(f"nothing was printed: {native[2][-500:]}")
    return wrong


def run(program, name):
    root = harness.OtherRoot(ROOT)
    build = pathlib.Path(program).resolve().parents[2]
    server = harness.Server(program, root=root)
    try:
        folder = server.folder.name
        display = Display(root, build, folder)
        try:
            native = run_app(root, build, folder, name, display.name,
                             {"VK_DRIVER_FILES": ICDS + "lvp_icd.json"})
            guest = run_app(root, build, folder, name, display.name,
                            {"VK_DRIVER_FILES": ICDS + "virtio_icd.json", "VN_DEBUG": "vtest",
                             "VTEST_SOCKET_NAME": "/srv/vtest.sock"})
            log = server.whole_log()
        finally:
            display.stop()
    finally:
        server.stop()
    wrong = compare(native, guest, log)
    if "served by worker" not in log:
        wrong.append("the server saw no client")
    if wrong:
        raise harness.Failure(f"{name}: " + "\n".join(wrong + [guest[2][-1000:]]))
    print(f"ok: {len(guest[1])} lines are the same")


def main():
    if len(sys.argv) != 3 or sys.argv[2] not in APPS:
        print(f"{__doc__}\nNAME is one of {', '.join(APPS)}", file=sys.stderr)
        return 2
    return harness.main(sys.argv[2], lambda: run(sys.argv[1], sys.argv[2]))


if __name__ == "__main__":
    sys.exit(main())
