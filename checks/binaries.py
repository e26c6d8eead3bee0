"""Tells the sizes of the functions' binaries, and refuses one that is for another processor than asked for, is
larger than it should be or asks for a C library newer than 2.34, the one of Lambda's provided.al2023."""

import os
import re
import struct
import sys

import common

# An endpoint's binary is read in a cold start that somebody waits for; the import has the clients of S3 and SQS, too.
LARGEST = {"import-catalog": 13_000_000, "record-changes": 11_000_000}
LARGEST_ENDPOINT = 9_000_000
NEWEST = (2, 34)
# `e_machine` of an ELF header.
MACHINES = {"x86_64": 62, "arm64": 183}
VERSION = re.compile(rb"GLIBC_(\d+)\.(\d+)(?:\.\d+)?\0")


def check():
    architecture = sys.argv[1] if len(sys.argv) > 1 else common.ARCHITECTURE
    if architecture not in MACHINES:
        raise common.Failed(f"the architecture is {' or '.join(MACHINES)}, not {architecture}")
    binaries = sorted(common.lambdas(architecture).glob("*/bootstrap"))
    if not binaries:
        raise common.Failed(f"there are no binaries; build them: make build ARCHITECTURE={architecture}")
    wrong = []
    for binary in binaries:
        content = binary.read_bytes()
        if content[:4] != b"\x7fELF":
            raise common.Failed(f"{binary} is no Linux binary")
        (machine,) = struct.unpack_from("<H", content, 18)
        if machine != MACHINES[architecture]:
            raise common.Failed(f"{binary} is for another processor than {architecture}: ELF machine {machine}")
        versions = {(int(major), int(minor)) for major, minor in VERSION.findall(content)}
        newest = max(versions, default=(0, 0))
        size = len(content)
        print(f"{binary.parent.name:<24} {size / 1e6:>6.2f} MB   glibc {newest[0]}.{newest[1]}")
        # Built with other optimization than what is deployed, a size says nothing.
        largest = LARGEST.get(binary.parent.name, LARGEST_ENDPOINT)
        too_large = size > largest and "CARGO_PROFILE_RELEASE_OPT_LEVEL" not in os.environ
        if too_large or newest > NEWEST:
            wrong.append(binary.parent.name)
    if wrong:
        raise common.Failed(f"too large or too new: {', '.join(wrong)}")


if __name__ == "__main__":
    common.main(check)
