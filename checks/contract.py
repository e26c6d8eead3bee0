"""Fuzzes a running catalog by openapi.yaml (schemathesis), and holds every example against its schema."""

import os
import sys
import tempfile

import common

PYTHON = common.TOOLS / "contract" / "bin"


def check():
    document = load()
    examples(document)
    more = sys.argv[1:] or ["--max-examples", "40"]
    with tempfile.TemporaryDirectory() as folder, common.Processes(folder) as processes:
        url = common.serve(processes, folder, "--memory")["url"]
        command = [PYTHON / "schemathesis", "--config-file", "checks/schemathesis.toml", "run"]
        command += ["openapi.yaml", "--url", url, *more]
        settings = {"CATALOG_KEY": common.DEMO_KEY, "SCHEMATHESIS_HOOKS": "media_types", "PYTHONPATH": "checks"}
        print(common.run(command, settings, timeout=900)[-3000:])


def load():
    import yaml

    return yaml.safe_load((common.ROOT / "openapi.yaml").read_text())


def examples(document):
    """Every example is what its schema says."""
    from jsonschema import Draft202012Validator
    from openapi_spec_validator import validate

    validate(document)
    count = 0
    for media in media_types(document):
        found = [one["value"] for one in media.get("examples", {}).values()]
        found += [media["example"]] if "example" in media else []
        schema = {**media["schema"], "components": document["components"]}
        for example in found:
            Draft202012Validator(schema).validate(example)
            count += 1
    print(f"openapi.yaml is valid OpenAPI 3.1; {count} examples are what their schemas say.")


def media_types(node):
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "content":
                yield from value.values()
            else:
                yield from media_types(value)
    elif isinstance(node, list):
        for value in node:
            yield from media_types(value)


if __name__ == "__main__":
    os.chdir(common.ROOT)
    common.main(check)
