#!/usr/bin/env python3
"""Write all sample files beside this file.

Run it from anywhere:  python3 data/sample/generate.py

The output depends on nothing but the generators here and `data/networks.ndjson`: every random
choice is seeded by the account and the thing it belongs to, so adding one leaves all other lines
as they were.
"""

from collections import Counter
from pathlib import Path

import networks
import offerings
import partners
import products
from shared import to_json

FOLDER = Path(__file__).parent


def main() -> None:
    for account in offerings.ACCOUNTS:
        write_records(f"{account.name.lower()}.ndjson", offerings.records(account))
    for seller in networks.SELLERS:
        write_records(f"{seller.account.lower()}-networks.ndjson", networks.records(seller))
    for account in ("ACME", "GLOBEX"):
        write_records(f"{account.lower()}-partners.ndjson", partners.records(account))
        write_records(f"{account.lower()}-products.ndjson", products.records(account))
    write("products.csv", products.csv_text(), "products to try a CSV import with")


def write_records(name: str, records: list[dict]) -> None:
    kinds = Counter(record["kind"] for record in records)
    write(name, "".join(to_json(record) + "\n" for record in records),
          ", ".join(f"{count} {kind}" for kind, count in kinds.items()))


def write(name: str, text: str, what: str) -> None:
    path = FOLDER / name
    path.write_text(text, encoding="utf-8", newline="\n")
    print(f"{name}: {what}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
