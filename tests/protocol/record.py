#!/usr/bin/env python3
"""Runs test modules of this folder and prints one word for each test, as JSON.

  record.py MODULE...
"""

import json
import sys
import unittest

WORDS = {"addSuccess": "passed", "addFailure": "failed", "addError": "failed",
         "addSkip": "skipped"}


class Recorder(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.words = {}
        for name, word in WORDS.items():
            setattr(self, name, lambda test, *_, word=word: self.note(test.id(), word))

    def addSubTest(self, test, subtest, err):  # pylint: disable=invalid-name
        if err:
            self.note(test.id(), "failed")

    def note(self, test, word):
        # The clean-up of a failed test may fail too; of a test that passed, it makes it fail.
        if self.words.get(test) != "failed":
            self.words[test] = word


if __name__ == "__main__":
    suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:])
    result = Recorder()
    real, sys.stdout = sys.stdout, sys.stderr
    suite.run(result)
    json.dump(result.words, real)
