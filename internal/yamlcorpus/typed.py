"""Reads YAML texts, a JSON list of them, as the ingestion process does, and writes their values with their types."""

import json
import struct
import sys

import yaml


def typed(value):
    kind = type(value)
    if value is None:
        return ["null"]
    if kind is bool:
        return ["bool", value]
    if kind is int:
        return ["int", str(value)]
    if kind is float:
        return ["float", struct.pack(">d", value).hex()]
    if kind is str:
        return ["text", value]
    if kind is list:
        return ["list", [typed(item) for item in value]]
    if kind is dict:
        return ["map", [[typed(key), typed(value[key])] for key in sorted(value, key=str)]]
    return [kind.__name__]


def read(text):
    try:
        return typed(yaml.safe_load(text))
    except Exception as error:
        return ["error", f"{type(error).__name__}: {error}"]


sys.setrecursionlimit(1000)
json.dump([read(text) for text in json.load(sys.stdin)], sys.stdout)
