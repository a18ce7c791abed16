#!/usr/bin/env python3
"""What the policy compiler and the linter must refuse, and what merges.

usage: test_policyc.py POLICYC LINT
"""
import errno
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

POLICYC, LINT = sys.argv[1:3]


class Text(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)

    def tearDown(self):
        self.folder.cleanup()

    def compile(self, text, **others):
        for name, body in others.items():
            (self.path / f"{name}.policy").write_text(body)
        policy = self.path / "p.policy"
        policy.write_text(text)
        done = subprocess.run([POLICYC, policy, "policy_p", self.path / "p.c", self.path / "p.lst"],
                              capture_output=True, text=True, timeout=20)
        return done.returncode, done.stderr

    def refused(self, text, where, why, **others):
        code, message = self.compile(text, **others)
        self.assertEqual(code, 1, message)
        self.assertIn(where, message)
        self.assertIn(why, message)

    def accepted(self, text, **others):
        code, message = self.compile(text, **others)
        self.assertEqual(code, 0, message)
        return (self.path / "p.lst").read_text()

    def lint(self, text):
        policy = self.path / "l.policy"
        policy.write_text(text)
        return subprocess.run([sys.executable, LINT, policy], capture_output=True, text=True,
                              timeout=20)


class Refusals(Text):
    def test_unknown_call(self):
        self.refused("@default kill\nread: allow\nraed: allow\n", "p.policy:3:", "raed")

    def test_unknown_constant(self):
        self.refused("@default kill\nmmap: arg2 in PROT_REED\n", "p.policy:2:", "PROT_REED")

    def test_unknown_errno(self):
        self.refused("@default kill\nread: return EOOPS\n", "p.policy:2:", "EOOPS")

    def test_unknown_directive(self):
        self.refused("@defualt kill\n", "p.policy:1:", "unknown directive")

    def test_no_default(self):
        self.refused("read: allow\n", "p.policy:1:", "@default comes first")
        self.refused("# nothing\n", "p.policy", "no @default")

    def test_default_twice(self):
        self.refused("@default kill\nread: allow\n@default allow\n", "p.policy:3:", "once")

    def test_contradiction(self):
        self.refused("@default kill\nread: allow\nread: return EPERM\n", "p.policy:3:",
                     "contradicts")
        self.refused("@default kill\nread: allow\nread: arg0 == 1\n", "p.policy:3:", "contradicts")
        self.refused("@default kill\nread: arg0 == 1, else return EPERM\nread: arg0 == 2\n",
                     "p.policy:3:", "contradicts")

    def test_contradiction_across_files(self):
        self.refused("@default kill\n@include q.policy\nread: return EPERM\n", "p.policy:3:",
                     "q.policy:1", q="read: allow\n")

    def test_error_in_an_included_file(self):
        self.refused("@default kill\n@include q.policy\n", "q.policy:2:", "nonsense",
                     q="read: allow\nnonsense: allow\n")

    def test_missing_include(self):
        self.refused("@default kill\n@include none.policy\n", "p.policy:2:", "No such file")

    def test_endless_include(self):
        self.refused("@default kill\n@include p.policy\n", "p.policy", "deeper")

    def test_bad_argument(self):
        self.refused("@default kill\nread: arg6 == 1\n", "p.policy:2:", "arg0 to arg5")
        self.refused("@default kill\nread: arg0 = 1\n", "p.policy:2:", "expected ==")
        self.refused("@default kill\nread: arg0 == 1x\n", "p.policy:2:", "bad number")
        self.refused("@default kill\nread: arg0 == 1 arg1 == 2\n", "p.policy:2:", "unexpected")
        self.refused("@default kill\nread:\n", "p.policy:2:", "arg0 to arg5")

    def test_number_too_large(self):
        self.refused("@default kill\nread: arg0 == 0x1ffffffffffffffff\n", "p.policy:2:",
                     "bad number")

    def test_never_true(self):
        self.refused("@default kill\nread: arg0 & 0xf0 == 0x01\n", "p.policy:2:", "never true")

    def test_allowed_either_way(self):
        self.refused("@default allow\nread: arg0 == 1\n", "p.policy:2:", "either way")
        self.refused("@default allow\nioctl-nr: d 0x00\n", "p.policy:2:", "anyway")

    def test_ioctl_numbers(self):
        self.refused("@default kill\nioctl-nr: d 0x100\n", "p.policy:2:", "larger than 0xff")
        self.refused("@default kill\nioctl-nr: dd 0x10\n", "p.policy:2:", "type character")
        self.refused("@default kill\nioctl: return EPERM\nioctl-nr: d 0x10\n", "p.policy:3:",
                     "contradicts")

    def test_answers_of_ioctls(self):
        self.refused("@default kill\nioctl-nr: d 0x10 return EPERM\n", "p.policy:2:", "bad number")
        self.refused("@default kill\nioctl-nr: d 0x10, EPERM\n", "p.policy:2:", "expected `return`")
        self.refused("@default kill\nioctl-nr: d 0x10, return EFOO\n", "p.policy:2:", "EFOO")
        self.refused("@default kill\nioctl-nr: d 0x09 0x10\nioctl-nr: d 0x10, return EPERM\n",
                     "p.policy:3:", "d 0x10 has another answer")

    def test_broker_paths(self):
        self.refused("@default kill\nbroker: rw /etc/passwd\n", "p.policy:2:", "below /dev")
        self.refused("@default kill\nbroker: rw /dev/../etc/passwd\n", "p.policy:2:", "below /dev")
        self.refused("@default kill\nbroker: ro /dev/null\n", "p.policy:2:", "expected `rw`")

    def test_tell_needs_somebody_to_be_told(self):
        self.refused("@default kill\nread: tell EPERM\n", "p.policy:2:", "@default notify")
        self.refused("@default notify\nread: tell EOOPS\n", "p.policy:2:", "EOOPS")

    def test_too_many(self):
        tests = " && ".join(["arg0 != 1"] * 40)
        self.refused(f"@default kill\nread: {tests}\n", "p.policy:2:", "more than")
        tests = " || ".join(["arg0 == 1"] * 70)
        self.refused(f"@default kill\nread: {tests}\n", "p.policy:2:", "more than")


class Merging(Text):
    def test_equal_lines_count_once(self):
        self.assertIn("1 calls", self.accepted("@default kill\nread: allow\nread: allow\n"))

    def test_tell_is_an_answer_of_the_supervisor(self):
        listing = self.accepted("@default notify\nmkdir: tell EACCES\n"
                                "dup: arg0 == 1, else tell EPERM\nkill: notify\n")
        self.assertIn("tell EACCES", listing)
        text = (self.path / "p.c").read_text()
        self.assertEqual([line.partition(", ")[2] for line in text.splitlines() if "}, /* " in line],
                         [f"{errno.EPERM} }}, /* dup */", f"{errno.EACCES} }}, /* mkdir */"])

    def test_alternatives_join(self):
        listing = self.accepted("@default kill\n@include q.policy\nread: arg0 == 2\n",
                                q="read: arg0 == 1\n")
        self.assertIn("2 alternatives", listing)

    def test_ioctl_lines_join(self):
        listing = self.accepted("@default kill\nioctl-nr: d 0x00 0x09\nioctl-nr: d 0x09\n"
                                "ioctl: arg1 == 0x5401\n")
        self.assertIn("2 ioctls", listing)

    def test_an_ioctl_with_an_answer(self):
        listing = self.accepted("@default kill\nioctl-nr: d 0x00\nioctl-nr: d 0x09, return ENODEV\n")
        self.assertIn("2 ioctls", listing)
        self.assertIn("return ENODEV", listing)

    def test_comments_and_blanks(self):
        self.assertIn("1 calls", self.accepted("# x\n\n  @default kill # y\n read : allow # z\n"))


class Lint(Text):
    def test_risky_line_without_reason(self):
        done = self.lint("mmap: arg2 in PROT_READ\n")
        self.assertEqual(done.returncode, 1)
        self.assertIn("l.policy:1: `mmap` needs a reason", done.stdout)

    def test_reason_is_enough(self):
        self.assertEqual(self.lint("mmap: arg2 in PROT_READ  # heaps\n").returncode, 0)

    def test_never(self):
        done = self.lint("execve: allow  # because\n")
        self.assertIn("never given", done.stdout)
        self.assertEqual(self.lint("execve: return EPERM\nptrace: notify\n").returncode, 0)

    def test_arguments(self):
        self.assertIn("test of its arguments", self.lint("prctl: allow  # x\n").stdout)

    def test_untidy(self):
        self.assertIn("tab", self.lint("read: allow\t# x\n").stdout)


def holds(expression, args):
    """What minijail makes of an expression: `in` is no bit outside, `&` is any bit."""
    def atom(text):
        arg, op, value = text.split()
        have, want = args.get(arg, 0), int(value, 0)
        return {"==": have == want, "!=": have != want, "in": not have & ~want,
                "&": bool(have & want)}[op]

    return any(all(atom(a) for a in c.split(" && ")) for c in expression.split(" || "))


def ioctl_answer(rule):
    """What minijail's rule for ioctl answers to a request: "allow", an errno, or None."""
    parts = rule.removeprefix("{ ").removesuffix(" }").split(", ")
    alternatives = [part.partition("; return ")[::2] for part in parts]

    def answer(request):
        for expression, error in alternatives:
            if holds(expression, {"arg1": request}):
                return int(error) if error else "allow"
        return None

    return answer


class Export(Text):
    """Plain minijail text that means the same."""

    def export(self, policy):
        out = self.path / "x"
        done = subprocess.run([POLICYC, "--export", policy, out], capture_output=True, text=True,
                              timeout=20)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [line for line in out.read_text().splitlines() if line and line[0] != "#"]
        rules = dict(line.split(": ", 1) for line in lines)
        self.assertEqual(len(rules), len(lines), "a call twice: text mode would refuse it")
        return rules

    def test_masks(self):
        policy = self.path / "p.policy"
        policy.write_text("@default notify\nread: allow\nkcmp: return ENOSYS\n"
                          "clone: arg0 & 0xf0 == 0x30, else return EPERM\n"
                          "openat: arg2 in 0x5 || arg2 != 7\nptrace: notify\n")
        rules = self.export(policy)
        self.assertEqual((rules["read"], rules["kcmp"]), ("1", "return 38"))
        self.assertNotIn("ptrace", rules)
        expression = rules["clone"].removeprefix("{ ").removesuffix(", return 1 }")
        for value in range(0x200):
            self.assertEqual(holds(expression, {"arg0": value}), value & 0xf0 == 0x30, hex(value))

    def test_the_policy_for_crosvm_lists_every_call_once(self):
        folder = Path(LINT).parent
        text = (folder.parent / "dist/crosvm/gpu_render_server.policy").read_text()
        lines = [line for line in text.splitlines() if line and line[0] != "#"]
        self.assertTrue(all(line.endswith(": 1") for line in lines))
        names = [line[:-3] for line in lines]
        self.assertEqual(len(set(names)), len(names), "text mode refuses a call that comes twice")
        # Processes and links are refused softly to drivers that try; a trap there is no worse.
        soft = {"fork", "vfork", "mknod", "mknodat", "symlink"}
        for policy in folder.glob("worker.*.policy"):
            if policy.name not in ("worker.stage1.policy", "worker.sanitizer.policy"):
                for name in self.export_names(policy):
                    self.assertIn(name, soft.union(names), policy.name)

    @staticmethod
    def export_names(policy):
        for line in policy.read_text().splitlines():
            name = line.partition(": ")[0]
            if ": " in line and line[0] not in "#@" and name not in ("broker", "ioctl-nr"):
                yield name

    def test_ioctls_of_every_overlay(self):
        folder = Path(LINT).parent
        for policy in folder.glob("worker.*.policy"):
            if policy.name in ("worker.base.policy", "worker.drm.policy", "worker.wx.policy",
                               "worker.stage1.policy", "worker.sanitizer.policy"):
                continue
            rules = self.export(policy)
            listed = {}
            for text in (policy, folder / "worker.drm.policy"):
                if text == policy or "worker.drm" in policy.read_text():
                    for line in text.read_text().splitlines():
                        if line.startswith("ioctl-nr: "):
                            given, _, error = line.split("#")[0].partition(", return ")
                            kind, *numbers = given.split()[1:]
                            error = error.strip()
                            code = getattr(errno, error) if error else "allow"
                            listed |= {ord(kind) << 8 | int(n, 0): code for n in numbers}
            answer = ioctl_answer(rules["ioctl"])
            for low in [*range(0, 0x10000, 7), *listed]:
                self.assertEqual(answer(0xc0100000 | low), listed.get(low),
                                 f"{policy.name} {low:#x}")
            for low in listed:
                self.assertIsNone(answer(1 << 32 | low))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
