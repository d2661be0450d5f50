#!/usr/bin/env python3
"""Makes aws-N.json: what the AWS provider's schema says of the kinds that deploy/terraform uses.

Usage: extract_schema.py PACKAGE OUTPUT KIND…

PACKAGE is the folder of JavaScript bindings (it holds package.json and lib/) inside the wheel of
cdktf-cdktf-provider-aws, which are generated from the provider's own schema; a KIND is aws_vpc or
data.aws_ami. The binding of a kind lists its attributes and blocks with their types (index.js) and
says which must be given (index.d.ts). What it does not keep is which optional attributes the
provider fills when they are unset; OPTIONAL_COMPUTED has those that the modules read.
"""

import json
import pathlib
import re
import sys

ENTRY = re.compile(
    r'(\w+): \{\s*value: ([^\n]*),\s*isBlock: (true|false),\s*type: "(\w+)",\s*storageClassType: "(\w+)"'
)
PROPERTY = re.compile(r"#(\w+) \w+#\w+\}(?:(?!\*/).)*?\*/\s*readonly \w+(\??):", re.S)
GETTER = re.compile(r"get \w+\(\) \{\s*return (?:\w+\.)*(?:\w+\()?this\.get(\w+?)Attribute\('(\w+)'\)")
SIMPLE = {"string": "string", "number": "number", "boolean": "bool"}
LISTED = {"stringList": "string", "stringMap": "string", "numberList": "number", "booleanMap": "bool"}
GETTER_TYPES = {
    "String": "string",
    "Number": "number",
    "Boolean": "bool",
    "List": ["list", "string"],
    "NumberList": ["list", "number"],
    "StringMap": ["map", "string"],
}
OPTIONAL_COMPUTED = {"id", "region", "private_ip", "availability_zone", "tags_all", "owner_id", "zone_ids", "name"}


class Binding:
    def __init__(self, folder):
        # Without the source map: one word of 100,000 letters, on which expressions crawl.
        self.js = (folder / "index.js").read_text().split("//# sourceMappingURL")[0]
        self.types = (folder / "index.d.ts").read_text()

    def schema(self):
        body = self.js[self.js.index("synthesizeHclAttributes()") :]
        configuration = re.search(r"interface (\w+Config)\b", self.types).group(1)
        top = self.block(body, configuration)
        resource = self.js[self.js.index("// STATIC Methods") :]
        for kind, name in GETTER.findall(resource):
            if name not in top["attributes"] and name not in top["blocks"] and kind in GETTER_TYPES:
                top["attributes"][name] = {"type": GETTER_TYPES[kind], "computed": True}
        top["attributes"].setdefault("id", {"type": "string", "computed": True})
        return top

    def block(self, body, interface):
        required = self.required(interface)
        attributes, blocks = {}, {}
        for name, value, is_block, nesting, storage in ENTRY.findall(body):
            inner = re.search(r"(\w+)ToHclTerraform\b(?!\.)", value)
            if is_block == "true" and inner and not value.startswith("cdktf.listMapperHcl(cdktf."):
                blocks[name] = self.nested(inner.group(1), name, nesting, value, required)
            else:
                attributes[name] = self.attribute(name, nesting, storage, required)
        return {"attributes": attributes, "blocks": blocks}

    def nested(self, function, name, nesting, value, required):
        begin = self.js.index(f"function {function}ToHclTerraform(")
        body = self.js[begin : self.js.index("\n}\n", begin)]
        block = self.block(body, function[0].upper() + function[1:])
        repeats = "listMapperHcl" in value
        block["nesting"] = "single" if nesting == "struct" else nesting
        block["min"] = 1 if name in required else 0
        block["max"] = 0 if repeats or nesting == "struct" else 1
        return block

    @staticmethod
    def attribute(name, nesting, storage, required):
        kind = SIMPLE[storage] if nesting == "simple" else [nesting, LISTED[storage]]
        if name in required:
            return {"type": kind, "required": True}
        return {"type": kind, "optional": True, **({"computed": True} if name in OPTIONAL_COMPUTED else {})}

    def required(self, interface):
        begin = re.search(rf"interface {interface}\b[^{{]*{{", self.types).end()
        body = self.types[begin : self.types.index("\n}", begin)]
        return {name for name, optional in PROPERTY.findall(body) if not optional}


def main():
    package, output, *kinds = sys.argv[1:]
    package = pathlib.Path(package)
    version = json.loads((package / "package.json").read_text())["cdktf"]["provider"]["version"]
    schemas = {"version": version, "resources": {}, "data": {}}
    for kind in sorted(kinds):
        name = kind.removeprefix("data.").removeprefix("aws_").replace("_", "-")
        if kind.startswith("data."):
            schemas["data"][kind[5:]] = Binding(package / "lib" / f"data-aws-{name}").schema()
        else:
            schemas["resources"][kind] = Binding(package / "lib" / name).schema()
    schemas["provider"] = Binding(package / "lib" / "provider").schema()
    schemas["provider"]["attributes"].pop("id", None)
    pathlib.Path(output).write_text(json.dumps(schemas, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
