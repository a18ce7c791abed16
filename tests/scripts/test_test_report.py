#!/usr/bin/env python3
"""test_report.py counts what meson and cmocka say, and names what was skipped."""

import json
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
sys.dont_write_bytecode = True

import test_report  # noqa: E402

CMOCKA = """[==========] Running 4 test(s).
[ RUN      ] short_message_is_refused
[       OK ] short_message_is_refused
[ RUN      ] needs_a_gpu
SKIP: no render node
[  SKIPPED ] needs_a_gpu
[ RUN      ] counts
[  ERROR   ] --- 1 != 2
[  FAILED  ] counts
[ RUN      ] last
[       OK ] last
[==========] 4 test(s) run.
[  PASSED  ] 2 test(s).
[  SKIPPED ] 1 test(s), listed below:
[  SKIPPED ] needs_a_gpu
[  FAILED  ] 1 test(s), listed below:
[  FAILED  ] counts
"""


def line(result, stdout="", stderr="", code=0):
    return json.dumps({"name": "cordon:unit / it", "result": result, "stdout": stdout,
                       "stderr": stderr, "returncode": code})


def read(*lines, label=""):
    return test_report.read_log("\n".join(lines), label)


class ReportTest(unittest.TestCase):
    def test_each_cmocka_function_counts_once(self):
        summary = read(line("FAIL", stdout=CMOCKA, code=1))
        self.assertEqual(summary.passed, 2)
        self.assertEqual(summary.failed, ["it: counts"])
        self.assertEqual(summary.skipped, [("it: needs_a_gpu", "no render node")])

    def test_cmocka_on_standard_error_is_read(self):
        self.assertEqual(read(line("OK", stderr=CMOCKA)).passed, 2)

    def test_a_failed_teardown_is_a_failure(self):
        text = "[ RUN      ] leaks\n[==========] 1 test(s) run.\n[  SKIPPED ] 0 test(s):\n"
        summary = read(line("FAIL", stdout=text, code=1))
        self.assertEqual((summary.failed, summary.skipped), (["it: leaks"], []))

    def test_another_test_counts_once(self):
        self.assertEqual(read(line("OK"), line("OK")).passed, 2)

    def test_a_crash_is_a_failure(self):
        summary = read(line("FAIL", stdout="[ RUN      ] a\n[       OK ] a\n[ RUN      ] b\n",
                            code=-11))
        self.assertEqual(summary.failed, ["it: fail, status -11"])

    def test_a_timeout_is_a_failure(self):
        self.assertEqual(len(read(line("TIMEOUT", code=-15)).failed), 1)

    def test_a_skipped_program_tells_its_reason(self):
        summary = read(line("SKIP", stdout="starting\nSKIP: no KVM here\n", code=77))
        self.assertEqual(summary.skipped, [("it", "no KVM here")])

    def test_a_skip_without_a_reason_is_told_so(self):
        self.assertEqual(read(line("SKIP", code=77)).skipped, [("it", "no reason given")])

    def test_a_label_names_the_run(self):
        self.assertEqual(read(line("SKIP"), label="TSan").skipped[0][0], "it (TSan)")

    def test_a_failure_shows_what_was_printed_last(self):
        told = "\n".join(f"line {n}" for n in range(100))
        text = test_report.read_failures("\n".join([line("OK", stdout="fine"),
                                                    line("FAIL", stdout=told, code=1)]))
        self.assertIn("it: fail, status 1\n", text)
        self.assertIn("line 99", text)
        self.assertNotIn("line 9\n", text)
        self.assertNotIn("fine", text)

    def test_the_closing_line_comes_last(self):
        text = test_report.render(read(line("OK"), line("SKIP", stdout="SKIP: why")))
        self.assertEqual(text.splitlines()[-1], "1 passed, 0 failed, 1 skipped")
        self.assertIn("  it: why", text)


if __name__ == "__main__":
    unittest.main()
