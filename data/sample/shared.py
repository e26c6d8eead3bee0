"""What the sample generators share: seeded choices, money, and how a record is written."""

import json
import random
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal

SEED = 20260115

# Units of the currency that buy what one dollar buys.
PER_DOLLAR = {"USD": "1", "EUR": "0.93", "GBP": "0.79", "JPY": "150", "KWD": "0.307", "GHS": "12.5"}

# How shops like their prices to end: (below this amount, round to a multiple of, then take off).
PRICE_ENDINGS = {
    "USD": [("20", "0.5", "0.01"), ("100", "1", "0.01"), ("9999999", "10", "1")],
    "EUR": [("50", "1", "0.1"), ("9999999", "10", "1")],
    "GBP": [("20", "0.5", "0"), ("100", "1", "0"), ("9999999", "10", "0.01")],
    "JPY": [("5000", "100", "20"), ("9999999", "1000", "20")],
    "KWD": [("10", "0.125", "0"), ("50", "0.25", "0"), ("9999999", "1", "0.1")],
    "GHS": [("100", "2.5", "0"), ("9999999", "10", "0")],
}


def seeded(account: str, key: str) -> random.Random:
    """Choices that depend on the account and the thing chosen for, and on nothing else."""
    return random.Random(f"{SEED}/{account}/{key}")


def shelf_price(dollars: Decimal, currency: str) -> Decimal:
    """A price in `currency` worth about `dollars`, with the ending that shops there like."""
    if dollars == 0:
        return Decimal(0)
    amount = dollars * Decimal(PER_DOLLAR[currency])
    for below, step, off in PRICE_ENDINGS[currency]:
        if amount < Decimal(below):
            return rounded(amount, step, at_least=1) - Decimal(off)
    raise ValueError(f"no price ending for {amount} {currency}")


def rounded(amount: Decimal, step: str, at_least: int = 0) -> Decimal:
    """The multiple of `step` nearest to `amount`, and no less than `at_least` steps."""
    steps = (amount / Decimal(step)).to_integral_value(ROUND_HALF_UP)
    return max(steps, Decimal(at_least)) * Decimal(step)


def repeated(values: list) -> list:
    """The values that occur more than once."""
    return sorted(value for value, count in Counter(values).items() if count > 1)


def to_json(value: object) -> str:
    """Compact JSON in which a Decimal keeps its digits, without trailing zeros."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{to_json(name)}:{to_json(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(to_json, value)) + "]"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return json.dumps(value, ensure_ascii=False)
