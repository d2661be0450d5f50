"""Reads a CloudFormation template and resolves its functions, to judge what AWS would be told."""

import base64

import yaml


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: !Ref X is {"Ref": "X"}, !Sub X is {"Fn::Sub": X}."""


def _short_form(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt":
        value = value.split(".", 1)
    return {suffix if suffix == "Ref" else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)
_NO_VALUE = object()


def load(path):
    return yaml.load(path.read_text(), _Loader)


class Template:
    """A template with values for its parameters; `known` holds what resources resolve to: for a
    `Ref` under the logical id, for a `GetAtt` under (logical id, attribute)."""

    def __init__(self, path, parameters):
        self.text = load(path)
        declared = self.text["Parameters"]
        defaults = {name: str(one["Default"]) for name, one in declared.items() if "Default" in one}
        self.parameters = {**defaults, **parameters}
        assert set(self.parameters) == set(declared)
        for name, one in declared.items():
            if one["Type"] == "CommaDelimitedList" or one["Type"].startswith("List<"):
                self.parameters[name] = self.parameters[name].split(",")
        self.known = {
            "AWS::Region": "eu-central-1", "AWS::AccountId": "123456789012", "AWS::Partition": "aws",
            "AWS::StackName": "sluice-test", "AWS::NoValue": _NO_VALUE,
        }

    def resources(self, kind):
        """Resolved properties by logical id of the resources of a type that the conditions keep."""
        return {
            name: self.resolve(one["Properties"])
            for name, one in self.text["Resources"].items()
            if one["Type"] == kind and self.holds(one.get("Condition"))
        }

    def only(self, kind):
        (properties,) = self.resources(kind).values()
        return properties

    def holds(self, condition):
        return condition is None or self.resolve(self.text["Conditions"][condition])

    def resolve(self, value):
        if isinstance(value, list):
            return [one for one in map(self.resolve, value) if one is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (function, argument), = value.items()
            if function == "Ref":
                return self._value_of(argument)
            if function.startswith("Fn::"):
                return getattr(self, "_" + function.removeprefix("Fn::").lower())(argument)
        resolved = {key: self.resolve(one) for key, one in value.items()}
        return {key: one for key, one in resolved.items() if one is not _NO_VALUE}

    def _value_of(self, name):
        return self.parameters[name] if name in self.parameters else self.known[name]

    def _getatt(self, argument):
        return self.known[tuple(argument)]

    def _if(self, argument):
        condition, yes, no = argument
        return self.resolve(yes if self.holds(condition) else no)

    def _equals(self, argument):
        left, right = self.resolve(argument)
        return str(left) == str(right)

    def _not(self, argument):
        return not self.resolve(argument[0])

    def _and(self, argument):
        return all(self.resolve(one) for one in argument)

    def _or(self, argument):
        return any(self.resolve(one) for one in argument)

    def _join(self, argument):
        return argument[0].join(self.resolve(argument[1]))

    def _base64(self, argument):
        return base64.b64encode(self.resolve(argument).encode()).decode()

    def _sub(self, argument):
        text, own = argument if isinstance(argument, list) else (argument, {})
        return substitute(text, lambda name: self.resolve(own[name]) if name in own else self._value_of(name))


def substitute(text, value_of):
    """Every ${Name} of a text, as Fn::Sub and Terraform's templatefile do."""
    parts = text.split("${")
    result = [parts[0]]
    for part in parts[1:]:
        name, rest = part.split("}", 1)
        result += [str(value_of(name)), rest]
    return "".join(result)
