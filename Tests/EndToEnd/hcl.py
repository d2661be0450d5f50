"""The Terraform below deploy/, as the HCL parser sees it (the one that checkov brings), and what its names
mean."""

import functools
import json
import re
from pathlib import Path

import hcl2
from lab import ROOT

DEPLOY = ROOT / "deploy"
SCHEMAS = Path(__file__).parent / "aws_provider"
META = {"count", "for_each", "depends_on", "lifecycle", "provider", "__start_line__", "__end_line__"}
# Words that begin a reference without naming anything in a file.
REFERENCE = re.compile(r"(?<![\w.\"'/-])(var|local|module|data|aws_[a-z0-9_]+)((?:\.\w+|\[[^\]]*\])+)")


class Root:
    """One folder of Terraform files; blocks by name, each with its body."""

    def __init__(self, folder):
        self.folder = folder
        self.files = {path: hcl2.loads(path.read_text()) for path in sorted(folder.glob("*.tf"))}
        self.variables = self.named("variable")
        self.outputs = self.named("output")
        self.modules = self.named("module")
        self.resources = self.typed("resource")
        self.data = self.typed("data")
        self.locals = {
            name: value[0]
            for parsed in self.files.values()
            for block in parsed.get("locals", [])
            for name, value in block.items()
            if not name.startswith("__")
        }

    def named(self, kind):
        return {name: body for parsed in self.files.values() for block in parsed.get(kind, []) for name, body in block.items()}

    def typed(self, kind):
        return {
            (provider_kind, name): body
            for parsed in self.files.values()
            for block in parsed.get(kind, [])
            for provider_kind, named in block.items()
            for name, body in named.items()
        }

    def references(self):
        """(first word, the names after it without indexes) of every expression."""
        for value in strings(list(self.files.values())):
            for expression in re.findall(r"\$\{.*\}", value, re.S):
                for first, rest in REFERENCE.findall(expression):
                    yield first, re.findall(r"\.(\w+)", re.sub(r"\[[^\]]*\]", "", rest))

    def value(self, expression):
        """Text of an expression made of locals, variables' defaults and literals."""
        if not isinstance(expression, str) or not expression.startswith("${"):
            return expression
        first, *names = re.split(r"\.|\[\"?|\"?\]\.?", expression[2:-1].rstrip("]\""))
        value = self.locals[names[0]] if first == "local" else self.variables[names[0]]["default"][0]
        for name in names[1:]:
            value = value[name]
        return self.value(value)

    def instances(self, body):
        """The values of each.key: one None without for_each."""
        if "for_each" not in body:
            return [None]
        expression = body["for_each"][0]
        listed = re.fullmatch(r"\$\{toset\(\[(.*)\]\)\}", expression)
        if listed:
            return re.findall(r"[\"'](\w+)[\"']", listed.group(1))
        return list(self.value(expression))


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


@functools.cache
def schema(version):
    return json.loads((SCHEMAS / f"aws-{version}.json").read_text())


def faults(body, block, where):
    """What the provider would refuse in a block: unknown names, and required ones that are missing."""
    found = []
    given = {}
    for name, value in body.items():
        if name == "dynamic":
            for dynamic in value:
                for label, inner in dynamic.items():
                    given.setdefault(label, []).extend(inner["content"])
        elif name not in META:
            given[name] = value
    for name, value in given.items():
        if name in block["blocks"]:
            for inner in value:
                found += faults(inner, block["blocks"][name], f"{where}.{name}")
        elif name not in block["attributes"]:
            found.append(f"{where}: no argument {name}")
        elif not ({"required", "optional"} & set(block["attributes"][name])):
            found.append(f"{where}: {name} cannot be set")
    required = {name for name, attribute in block["attributes"].items() if attribute.get("required")}
    required |= {name for name, inner in block["blocks"].items() if inner["min"]}
    return found + [f"{where}: {name} is missing" for name in sorted(required - set(given))]
