"""Makes src/networks/phone_prefixes.txt and src/networks/carriers.txt: which mobile network a phone number's prefix
belongs to.

    git clone --depth 1 https://github.com/google/libphonenumber
    python3 data/phone_prefixes.py libphonenumber

The prefixes are those of libphonenumber (resources/carrier/en and PhoneNumberMetadata.xml, Apache License 2.0); the
names are its own, and beside them those of data/networks.ndjson that mean the same network. A number that was ported to
another network keeps its prefix."""

import collections
import json
import pathlib
import re
import sys
import unicodedata

DATA = pathlib.Path(__file__).resolve().parent
OUTPUT = DATA.parent / "src" / "networks"
# The digits that a prefix has at most, and the ranges are told in.
DIGITS = 9
# Words that tell no network from another.
COMMON = set("""mobile mobil movil moviles telecom telekom telecommunication telecommunications telecomunicaciones the
ltd limited gsm cellular communications telephone company co wireless network networks inc sa plc group spa ag gmbh as oy
ab llc de do da del la el of and com""".split())
# Networks that were renamed or bought: country, name in the prefixes, name in data/networks.ndjson.
SAME = {
    ("GB", "Three"): "3",
    ("GB", "Orange"): "EE",
    ("GB", "T-Mobile"): "EE",
    ("IN", "Vodafone"): "Vi India",
    ("IN", "Idea"): "Vi India",
    ("SE", "TeliaSonera"): "Telia",
    ("SE", "HI3G Access"): "3",
    ("DK", "Hi3G"): "3",
    ("GH", "at"): "AirtelTigo",
    ("GH", "Telecel"): "Vodafone",
}


def main(source):
    networks = collections.defaultdict(list)
    for line in (DATA / "networks.ndjson").read_text().splitlines():
        network = json.loads(line)
        networks[network["country_code"]].append(network["name"])
    countries = calling_codes(source / "resources" / "PhoneNumberMetadata.xml")
    carriers, prefixes = {}, {}
    for path in sorted((source / "resources" / "carrier" / "en").glob("*.txt")):
        for line in path.read_text().splitlines():
            if "|" not in line or line.startswith("#"):
                continue
            prefix, name = line.split("|", 1)
            carrier = carrier_of(name.strip(), countries_of(prefix, countries), networks)
            if carrier:
                prefixes[prefix] = carriers.setdefault(carrier, len(carriers))
    ranges = ranges_of(prefixes)
    # Lines of one length: a binary search needs no index.
    text = "".join(f"{start:0{DIGITS}d} {carrier:04d}\n" for start, carrier in ranges)
    (OUTPUT / "phone_prefixes.txt").write_text(text)
    (OUTPUT / "carriers.txt").write_text("".join(f"{carrier}\n" for carrier in carriers))
    print(f"{len(prefixes)} prefixes in {len(ranges)} ranges, {len(text)} bytes; {len(carriers)} carriers")


def calling_codes(path):
    """The countries of each calling code, the main one first, each with the digits that must follow the code."""
    found = collections.defaultdict(list)
    for match in re.finditer(r'<territory id="([A-Z]{2})"([^>]*)>', path.read_text()):
        code = re.search(r'countryCode="(\d+)"', match[2])
        # Ascension and Tristan da Cunha have no code of ISO 3166-1.
        if code and match[1] not in ("AC", "TA"):
            is_main = "mainCountryForCode" in match[2]
            digits = re.search(r'leadingDigits="([^"]+)"', match[2])
            country = (match[1], digits and re.compile(digits[1]))
            found[code[1]].insert(0 if is_main else len(found[code[1]]), country)
    return found


def countries_of(prefix, countries):
    """The countries that a prefix may belong to: the one whose digits follow the calling code, or else all that name none."""
    code = next((prefix[:length] for length in (3, 2, 1) if prefix[:length] in countries), None)
    if code is None:
        return []
    sharing, rest = countries[code], prefix[len(code):]
    return [name for name, digits in sharing if digits and digits.match(rest)] or [
        name for name, digits in sharing if not digits
    ]


def carrier_of(name, countries, networks):
    """`GH|MTN` or `GH|at|AirtelTigo`: the countries it may be in, its name, and other names of it."""
    found = [(country, same) for country in countries for same in same_network(country, name, networks[country])]
    if not found:
        return f"{countries[0]}|{name}" if countries else None
    where = dict.fromkeys(country for country, _ in found)
    names = dict.fromkeys([name, *(same for _, same in found)])
    return "|".join([",".join(where), *names])


def same_network(country, name, networks):
    renamed = SAME.get((country, name))
    if renamed:
        return [network for network in networks if renamed in (network, *re.split(r"\s*[/,]\s*", network))] or [renamed]
    wanted = words(name)
    # One name may stand for several brands: `Som, Mobiland`.
    return [network for network in networks if any(alike(wanted, words(brand)) for brand in [network, *re.split(r"[/,()]", network)])]


def words(name):
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.findall(r"[a-z0-9]+", plain)


def alike(one, other):
    if not one or not other:
        return False
    if "".join(one) == "".join(other):
        return True
    telling, others = set(one) - COMMON, set(other) - COMMON
    return bool(telling and others) and (telling <= others or others <= telling)


def ranges_of(prefixes):
    """The first number of each range of one carrier, padded to all digits; a longer prefix is an exception in a shorter
    one. 9999 is no carrier."""
    events = []
    for prefix, carrier in prefixes.items():
        width = 10 ** (DIGITS - len(prefix))
        events.append((int(prefix) * width, (int(prefix) + 1) * width, len(prefix), carrier))
    points = sorted({edge for start, end, _, _ in events for edge in (start, end)})
    starts = sorted(events)
    result, active, next_event = [(0, 9999)], [], 0
    for point in points:
        while next_event < len(starts) and starts[next_event][0] == point:
            active.append(starts[next_event])
            next_event += 1
        active = [event for event in active if event[1] > point]
        carrier = max(active, key=lambda event: event[2])[3] if active else 9999
        if result[-1][1] != carrier:
            result.append((point, carrier))
    return result


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
