"""Prints which fields OpenMetadata's schemas mark as passwords, as JSON, from the models that the ingestion package generates of them.

Arguments are wheels of the package, or folders that it is installed in; without any, the package that this Python would import.
Nothing of the package is run, so none of its dependencies is needed.

names: each name, with the fields that it has to stand below to be a password. None: it is one wherever it stands. A name has
some if ten times as many models have it for a text that is no password, as clientId.
fields: each field that is marked: its model, its name, and the fields below which the model stands.
"""

import ast
import collections
import importlib.util
import json
import pathlib
import sys
import zipfile

SECRET = "CustomSecretStr"
GENERATED = "metadata/generated/schema/"


def sources(place):
    """The text of each generated module, by its path below the folder of all."""
    path = pathlib.Path(place)
    if path.is_dir():
        root = path / GENERATED
        return {file.relative_to(root).as_posix(): file.read_text() for file in root.rglob("*.py")}
    with zipfile.ZipFile(path) as wheel:
        names = [name for name in wheel.namelist() if name.startswith(GENERATED) and name.endswith(".py")]
        return {name[len(GENERATED):]: wheel.read(name).decode() for name in names}


def module_of(path):
    return tuple(path[: -len(".py")].split("/"))


def imports(tree, module):
    """What a name of a module refers to: a module, or a class in one."""
    found = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = module[: -node.level] if node.level else ()
        if node.module:
            parts = tuple(node.module.split("."))
            base += parts[3:] if parts[:3] == ("metadata", "generated", "schema") else parts
        for name in node.names:
            found[name.asname or name.name] = base + (name.name,)
    return found


def annotated(node):
    """The type of an annotation, without the metadata that is annotated to it."""
    if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "Annotated":
        return node.slice.elts[0]
    return node


def alias(node, name):
    """The name of a field in JSON."""
    for keyword in ast.walk(node):
        if isinstance(keyword, ast.keyword) and keyword.arg == "alias" and isinstance(keyword.value, ast.Constant):
            return keyword.value.value
    return name


class Models:
    def __init__(self, texts):
        self.fields = []  # Of a model, a class: its name, its type.
        self.wrapped = collections.defaultdict(list)  # The types that a class stands for, as it has nothing but a root.
        for path, text in texts.items():
            module = module_of(path)
            tree = ast.parse(text)
            names = imports(tree, module)
            for model in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
                self.read(module, names, model)

    def read(self, module, names, model):
        key = module + (model.name,)
        self.wrapped[key] += [self.types(base.slice, module, names) for base in model.bases if isinstance(base, ast.Subscript)]
        for node in model.body:
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                continue
            types = self.types(annotated(node.annotation), module, names)
            if node.target.id == "root":
                self.wrapped[key].append(types)
            else:
                self.fields.append((key, alias(node, node.target.id), types))

    @staticmethod
    def types(node, module, names):
        """All that a type is made of: names of Python's, and classes with their modules."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        found = set()
        for part in ast.walk(node):
            if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
                found.add(names.get(part.value.id, (part.value.id,)) + (part.attr,))
            elif isinstance(part, ast.Name):
                found.add(names.get(part.id, module + (part.id,)))
        return found

    def is_secret(self, types):
        return any(t[-1] == SECRET or any(self.is_secret(inner) for inner in self.wrapped.get(t, ())) for t in types)

    @staticmethod
    def is_text(types):
        return any(t[-1] == "str" for t in types)

    def parents(self, model):
        """The fields below which a model stands."""
        names = {model}
        grown = True
        while grown:
            wrappers = {key for key, inner in self.wrapped.items() if any(types & names for types in inner)}
            grown = not wrappers <= names
            names |= wrappers
        return sorted({name for _, name, types in self.fields if types & names})


def main(places):
    secret, plain, parents = collections.defaultdict(set), collections.defaultdict(set), collections.defaultdict(set)
    for place in places:
        models = Models(sources(place))
        for model, name, types in models.fields:
            if models.is_secret(types):
                secret[name].add(model)
                parents[model, name].update(models.parents(model))
            elif models.is_text(types):
                plain[name].add(model)
    if not secret:
        sys.exit("passwords.py: no password is marked in " + ", ".join(map(str, places)) + ": has its code another form now?")
    names = {}
    for name, marked in sorted(secret.items()):
        common = len(plain[name] - marked) > 10 * len(marked)
        names[name] = sorted(set().union(*(parents[model, name] for model in marked))) if common else []
    fields = [
        {"model": ".".join(model), "name": name, "parents": sorted(found)}
        for (model, name), found in sorted(parents.items())
    ]
    json.dump({"names": names, "fields": fields}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main(sys.argv[1:] or [pathlib.Path(importlib.util.find_spec("metadata").submodule_search_locations[0]).parent])
