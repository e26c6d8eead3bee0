"""The commands of the documents work as they stand there.

Each shell block says how it is checked, in a comment before it: `<!-- check: runs -->` is run here, before a catalog
with the sample data; the others need what is not here (AWS, a container engine), or are checks themselves. Of all
blocks the syntax is checked, every target of make must exist, and `catalog` must know every option."""

import functools
import gzip
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import common

DOCUMENTS = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (common.ROOT / "docs").glob("*.md"))]
KINDS = ("runs", "by make test", "needs AWS", "needs a container engine")
BLOCK = re.compile(r"(?m)(?:^<!-- check: (?P<kind>[^>]+) -->\n)?^```sh\n(?P<text>.*?)^```$", re.DOTALL)
INLINE = re.compile(r"`((?:make|catalog) [^`\n]+)`")
PORT = "127.0.0.1:3000"


def check():
    common.need(common.CATALOG, "build it: cargo build --locked -p catalog-cli")
    counts, commands = dict.fromkeys(KINDS, 0), 0
    for name in DOCUMENTS:
        text = (common.ROOT / name).read_text()
        blocks = [(match["kind"], match["text"]) for match in BLOCK.finditer(text)]
        for kind, block in blocks:
            if kind not in KINDS:
                raise common.Failed(f"{name}: a shell block without `<!-- check: … -->` ({', '.join(KINDS)}):\n{block}")
            counts[kind] += 1
            syntax(name, block)
        written = [line for _, block in blocks for line in lines(block)]
        written += [match[1] for match in INLINE.finditer(text)]
        for command in written:
            commands += known(name, command)
        run(name, [block for kind, block in blocks if kind == "runs"])
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    print(f"{sum(counts.values())} shell blocks ({told}); {commands} commands of make and catalog are known.")


def lines(block):
    """Its commands, each on one line and without its comment."""
    joined = re.sub(r"\\\n\s*", " ", block)
    return [re.sub(r"\s+#\s.*$", "", line).strip() for line in joined.splitlines()]


def syntax(name, block):
    # `<stack>` is a word to fill in.
    filled = re.sub(r"<[a-zA-Z][^<>\n]*>", "word", block)
    result = subprocess.run(["bash", "-n"], input=filled, text=True, capture_output=True, check=False)
    if result.returncode != 0:
        raise common.Failed(f"{name}: {result.stderr}\n{block}")


def known(name, command):
    """Is it a command that exists, with options that exist? 1 if it is one of ours."""
    words = re.sub(r"^(?:\w+=\S+ )*", "", command).split()
    words[0] = words[0].rsplit("/", 1)[-1] if words else ""
    if words[:1] == ["make"]:
        for target in (word for word in words[1:] if re.fullmatch(r"[a-z][a-z-]+", word)):
            if target not in targets():
                raise common.Failed(f"{name}: `{command}`: make has no target {target}")
        return 1
    if words[:1] != ["catalog"]:
        return 0
    below, options = [], set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", " ".join(words)))
    for word in words[1:]:
        if not re.fullmatch(r"[a-z]+", word) or not subcommand((*below, word)):
            break
        below.append(word)
    if len(words) > 1 and not below and re.fullmatch(r"[a-z]+", words[1]):
        raise common.Failed(f"{name}: `{command}`: catalog has no command {words[1]}")
    help_text = subcommand(tuple(below)) or ""
    for option in options - {"--help", "--version"}:
        if not re.search(rf"(?<![\w-]){option}(?![\w-])", help_text):
            raise common.Failed(f"{name}: `{command}`: catalog {' '.join(below)} has no option {option}")
    return 1


@functools.cache
def targets():
    return set(re.findall(r"(?m)^([a-z][a-z-]*):", (common.ROOT / "Makefile").read_text()))


@functools.cache
def subcommand(words):
    """The help of a command of the tool; `None`: there is none."""
    command = [str(common.CATALOG), *words, "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    usage = f"Usage: catalog {' '.join(words)}".rstrip()
    return result.stdout if result.returncode == 0 and usage in result.stdout else None


def run(name, blocks):
    if not blocks:
        return
    with tempfile.TemporaryDirectory() as folder, common.Processes(folder) as processes:
        folder = pathlib.Path(folder)
        sample = common.ROOT / "data" / "sample"
        shutil.copy(sample / "acme.ndjson", folder / "offerings.ndjson")
        shutil.copy(sample / "products.csv", folder / "products.csv")
        (folder / "networks.ndjson.gz").write_bytes(gzip.compress((sample / "globex-networks.ndjson").read_bytes()))
        url = common.serve(processes, folder)["url"]
        script = "\n".join(blocks).replace(f"http://{PORT}", url)
        # A reply that is an error is one here, too.
        script = 'set -euo pipefail\ncurl() { command curl --silent --show-error --fail-with-body "$@"; }\n' + script
        environment = {
            **os.environ,
            "PATH": f"{common.CATALOG.parent}:{os.environ['PATH']}",
            "CATALOG_DATA": str(folder / "catalog"),
        }
        result = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            raise common.Failed(f"{name}:\n{script}\n{result.stdout[-2000:]}\n{result.stderr[-3000:]}")


if __name__ == "__main__":
    common.main(check)
