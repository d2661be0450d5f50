"""Programs that only say what they were asked, with answers made beforehand, for scripts that call them."""

import json
import os
import re
import subprocess
import sys

PROGRAM = """#!{python} -IS
import json, os, sys
called = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
with open({log!r}, "a") as log:
    log.write(json.dumps(called) + "\\n")
for number, (words, answers) in enumerate(json.load(open({answers!r}))):
    if all(word in " ".join(called) for word in words):
        # The last answer is given for ever.
        state = {answers!r} + "." + str(number)
        given = int(open(state).read()) if os.path.exists(state) else 0
        open(state, "w").write(str(given + 1))
        code, text = answers[min(given, len(answers) - 1)]
        sys.stdout.write(text)
        sys.exit(code)
"""


class Programs:
    """`answers`: (words that all occur in the call, what to answer in turn: a text or (exit code, text))."""

    def __init__(self, folder, names, answers=()):
        self.log = folder / "calls"
        self.bin = folder / "bin"
        self.bin.mkdir()
        file = folder / "answers.json"
        file.write_text(json.dumps(
            [(words, [(0, one) if isinstance(one, str) else one for one in given]) for words, given in answers]
        ))  # fmt: skip
        for name in names:
            program = self.bin / name
            program.write_text(PROGRAM.format(python=sys.executable, log=str(self.log), answers=str(file)))
            program.chmod(0o755)

    def run(self, script, *arguments, answer="", path=None, **environment):
        return subprocess.run(
            [script, *arguments], input=answer, capture_output=True, text=True, timeout=60,
            env={"PATH": path or f"{self.bin}:/usr/bin:/bin", "HOME": str(self.bin), "SLUICE_POLL": "0",
                 "LC_ALL": "C.UTF-8", "TMPDIR": os.environ.get("TMPDIR", "/tmp"), **environment},
        )  # fmt: skip

    def calls(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def summary(self, *patterns):
        """Of each call that has one of these expressions, what the first of them matched, in order."""
        return matches([" ".join(call) for call in self.calls()], patterns)


def matches(lines, patterns):
    found = ((re.search(pattern, line) for pattern in patterns) for line in lines)
    return [match.group().strip() for match in (next(filter(None, one), None) for one in found) if match]
