"""Networks with what can be topped up on them: `acme-networks.ndjson` and `globex-networks.ndjson`.

Names of networks, countries, codes and currencies come from `data/networks.ndjson`. Bundles, prices,
limits and exchange rates are invented.
"""

import json
import random
import re
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import Path

from shared import repeated, rounded, seeded

SOURCE = Path(__file__).parent.parent / "networks.ndjson"
LOGO_HOST = "https://cdn.example.com/networks"

NO_BUNDLES_SHARE = 0.01  # of the networks that sell to the public
NO_CUSTOM_AIRTIME_SHARE = 0.02
NO_SMS_SHARE = 0.03

# MTN Ghana: its offer contains that of the published example (the ids apart).
EXAMPLE_NETWORK = 390

# ---------------------------------------------------------------------------------------------
# Money
# ---------------------------------------------------------------------------------------------

# What one US dollar buys of a currency: invented, near what it was in 2024 and 2025.
USD_RATES = {
    "AED": "3.6725", "AFN": "70", "ALL": "92", "AMD": "390", "AOA": "915", "ARS": "1050", "AUD": "1.53",
    "AWG": "1.79", "AZN": "1.7", "BAM": "1.81", "BBD": "2", "BDT": "120", "BGN": "1.81", "BHD": "0.376",
    "BIF": "2900", "BMD": "1", "BND": "1.33", "BOB": "6.91", "BRL": "5.6", "BSD": "1", "BWP": "13.6",
    "BYN": "3.27", "BZD": "2", "CAD": "1.38", "CDF": "2850", "CHF": "0.88", "CLP": "950", "CNY": "7.2",
    "COP": "4150", "CRC": "510", "CUP": "24", "CVE": "102", "CZK": "23.2", "DJF": "178", "DKK": "6.9",
    "DOP": "60", "DZD": "134", "EGP": "49.5", "ERN": "15", "ETB": "122", "EUR": "0.925", "FJD": "2.26",
    "FKP": "0.78", "GBP": "0.78", "GEL": "2.75", "GHS": "12.35", "GIP": "0.78", "GMD": "70.5",
    "GNF": "8620", "GTQ": "7.72", "GYD": "209", "HKD": "7.8", "HNL": "25.2", "HTG": "131", "HUF": "365",
    "IDR": "16100", "ILS": "3.7", "INR": "84.5", "IQD": "1310", "IRR": "42000", "ISK": "138",
    "JMD": "158", "JOD": "0.709", "JPY": "150", "KES": "129.5", "KGS": "86.5", "KHR": "4050",
    "KMF": "455", "KPW": "900", "KRW": "1380", "KWD": "0.307", "KYD": "0.833", "KZT": "495",
    "LAK": "21800", "LBP": "89500", "LKR": "299", "LRD": "195", "LYD": "4.85", "MAD": "9.95",
    "MDL": "17.9", "MGA": "4580", "MKD": "56.9", "MMK": "2100", "MNT": "3420", "MOP": "8.03",
    "MRU": "39.8", "MUR": "46.2", "MVR": "15.4", "MWK": "1735", "MXN": "19.2", "MYR": "4.45",
    "MZN": "63.9", "NGN": "1550", "NIO": "36.8", "NOK": "10.8", "NPR": "135", "NZD": "1.67",
    "OMR": "0.385", "PAB": "1", "PEN": "3.74", "PGK": "3.98", "PHP": "57.5", "PKR": "279", "PLN": "3.95",
    "PYG": "7700", "QAR": "3.64", "RON": "4.6", "RSD": "108", "RUB": "92", "RWF": "1370", "SAR": "3.75",
    "SBD": "8.4", "SCR": "14", "SDG": "600", "SEK": "10.5", "SGD": "1.34", "SHP": "0.78", "SLE": "22.7",
    "SOS": "571", "SRD": "35.5", "SSP": "3900", "STN": "22.7", "SYP": "13000", "SZL": "18.2",
    "THB": "34.5", "TJS": "10.8", "TMT": "3.5", "TND": "3.12", "TOP": "2.37", "TRY": "34.5",
    "TTD": "6.78", "TWD": "32.2", "TZS": "2650", "UAH": "41.3", "UGX": "3700", "USD": "1", "UYU": "42.5",
    "UZS": "12800", "VES": "45", "VND": "25300", "VUV": "119", "WST": "2.75", "XAF": "605", "XCD": "2.7",
    "XOF": "605", "XPF": "110", "YER": "250", "ZAR": "18.2", "ZMW": "26.8",
}
# Currencies no rate is given for, so that a network without an exchange rate can be seen.
WITHOUT_RATE = {"CUP", "ERN", "KPW", "SSP", "SYP", "VES"}
# Where the rates from euros and pounds lead.
COMMON_CURRENCIES = ["BDT", "EUR", "GBP", "GHS", "INR", "KES", "MXN", "NGN", "PHP", "PKR", "USD", "XOF"]

# Digits of the minor unit by ISO 4217, where they are not 2.
MINOR_DIGITS = (
    dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split(), 0)
    | dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3)
)

# ---------------------------------------------------------------------------------------------
# Markets
# ---------------------------------------------------------------------------------------------

# Bundles a leading network has at most, in the countries that buy the most top-ups.
BIG = set("AR BD BR CI CM CO DE EG ES ET FR GB GH ID IN IT JP KE MA MX NG PE PH PK SN TH TR TZ UG US VN ZA".split())
# Paid by the month more than by the day.
RICH = set("AD AE AS AT AU BE BH BM CA CH CY CZ DE DK EE ES FI FO FR GB GF GG GI GL GR GU HK HR HU IE IL IM IS IT JE "
           "JP KR KW KY LI LT LU LV MC MO MP MT NC NL NO NZ OM PF PL PM PR PT QA SA SE SG SI SK SM TW US VI".split())
ISLANDS = set("AG AI AW BB BS CK CV DM FJ FK FM GD JM KI KM KN LC MH MS MV NF NR NU PW SB SC SH ST TC TK TL TO TV VC "
              "VG VU WF WS".split())
# Where data is cheap.
CHEAP = set("BD EG FR ID IL IN IR IT KG KH KZ LK MD NP PK PL RU TH UA UZ VN".split())


@dataclass(frozen=True)
class Market:
    """How a kind of country buys."""

    data: list  # rows of the price list below
    factor: str  # price of data, compared with that list
    first_airtime: str  # the smallest fixed amount, in dollars
    least_custom: str  # the smallest custom amount, in dollars
    message_costs: list[str]


# (size, days, what it is for, dollars, more to say), by days and then price
SMALL_PACKS = [
    ("50MB", 1, "", "0.25", ""),
    ("100MB", 1, "", "0.4", ""),
    ("1GB", 1, "Night", "0.5", "midnight to 5 am"),
    ("250MB", 1, "", "0.7", ""),
    ("500MB", 1, "", "1", ""),
    ("1GB", 1, "", "1.4", ""),
    ("3GB", 2, "Weekend", "1.8", "Saturday & Sunday"),
    ("1GB", 3, "", "1.75", ""),
    ("2GB", 3, "", "2.6", ""),
    ("500MB", 7, "Social", "0.8", "for chat & social apps only"),
    ("150MB", 7, "", "0.9", ""),
    ("500MB", 7, "", "1.6", ""),
    ("5GB", 7, "Night", "1.9", "midnight to 5 am"),
    ("1GB", 7, "", "2.4", ""),
    ("2GB", 7, "", "3.6", ""),
    ("5GB", 7, "", "6", ""),
    ("1GB", 30, "Social", "2.2", "for chat & social apps only"),
    ("500MB", 30, "", "2.5", ""),
    ("1GB", 30, "", "4", ""),
    ("2GB", 30, "", "6", ""),
    ("3GB", 30, "", "8", ""),
    ("5GB", 30, "", "11.5", ""),
    ("10GB", 30, "", "18", ""),
    ("20GB", 30, "", "29", ""),
    ("30GB", 90, "", "42", "a quarter's worth"),
]
LARGE_PACKS = [
    ("1GB", 1, "", "2", ""),
    ("Unlimited", 1, "", "4", "full speed up to 5GB"),
    ("3GB", 7, "", "5", ""),
    ("5GB", 7, "", "7.5", ""),
    ("10GB", 7, "", "12", ""),
    ("Unlimited", 7, "", "18", "full speed up to 20GB"),
    ("500MB", 30, "", "2.5", ""),
    ("1GB", 30, "", "4", ""),
    ("5GB", 30, "", "10", ""),
    ("10GB", 30, "", "14", ""),
    ("15GB", 30, "", "17", ""),
    ("20GB", 30, "", "20", ""),
    ("30GB", 30, "", "25", ""),
    ("50GB", 30, "", "32", ""),
    ("100GB", 30, "", "40", "5G where available"),
    ("Unlimited", 30, "", "50", "\"really unlimited\", hotspot included"),
    ("60GB", 90, "", "58", ""),
    ("12GB", 365, "", "60", "use it when you like"),
]
EXAMPLE_PACKS = [pack for pack in SMALL_PACKS if pack[1] == 30 and pack[0] in ("500MB", "1GB") and not pack[2]]

RICH_MARKET = Market(LARGE_PACKS, "1", "5", "1", ["0.05", "0.06", "0.08", "0.1"])
ISLAND_MARKET = Market(SMALL_PACKS, "1.8", "2", "0.5", ["0.08", "0.1", "0.12", "0.15"])
OTHER_MARKET = Market(SMALL_PACKS, "1", "0.4", "0.08", ["0.02", "0.03", "0.05", "0.1"])
CHEAP_FACTOR = Decimal("0.4")

# Groups and brands that lead where they are.
LEADERS = re.compile(
    r"(3|9mobile|A1|AIS|AT&T|Africell|Airtel|Asia Cell|Banglalink|Beeline|Bell|Bouygues|Cell C|Cellcard|Celcom|"
    r"China Mobile|Claro|Cosmote|DNA|Dialog|Digicel|EE|Elisa|FLOW|Free|Glo|Globe|Grameenphone|Indosat|Jazz|Jio|KDDI|"
    r"KPN|KT|Kyivstar|LG U|MTN|MTS|Maxis|MegaFon|MobiFone|Mobily|Moov|Movistar|NTT docomo|Ncell|O2|Ooredoo|Orange|"
    r"Partner|Play|Plus|Proximus|Rakuten|Robi|Rogers|SFR|SKTelecom|SMART|Safaricom|Salt|SingTel|SoftBank|StarHub|"
    r"Sunrise|Swisscom|T-Mobile|TDC|TIM|Taiwan Mobile|Tele2|Telcel|Telekom|Telenor|Telia|Telkomsel|Telus|Tigo|"
    r"TrueMove|Turkcell|Türk Telekom|Verizon|Vi India|Viettel|Vinaphone|Vivo|Vodacom|Vodafone|WINDTRE|XL|Yettel|Zain|"
    r"Zong|du|mcel|stc)\b",
    re.IGNORECASE,
)

# Parts of the names of railways, authorities, industry and satellites: nothing to top up there.
NOT_FOR_THE_PUBLIC = [
    "42 Telecom", "ADIF", "Airwave", "BDBOS", "Cambio", "County Office", "Cubic", "DB ", "Expeto", "GSM-R",
    "Globalstar", "GlobeTouch", "Hologram", "Infrabel", "Infraestruturas", "Infrastruktura", "Iridium",
    "Jernbaneverket", "KORE", "Liikennevirasto", "Link Mobility", "LitRail", "MAV", "Ministry", "Multibyte",
    "Neyðarlínan", "No name", "Numerex", "Onomondo", "PKP", "Police", "ProRail", "RFI", "RGSM", "Railtrack", "SBB",
    "SINE", "SNCF", "Sierra Wireless", "Soracom", "Správa železniční", "TCOE", "TampNet", "Tampnet", "Thuraya",
    "Transit Wireless", "Utility Connect", "VIRVE", "Viasat", "Voxbone", "private networks", "НКЖИ", "ŽSR",
]


def market(code: str) -> Market:
    if code in ISLANDS:
        return ISLAND_MARKET
    return RICH_MARKET if code in RICH else OTHER_MARKET


# ---------------------------------------------------------------------------------------------
# Sellers
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seller:
    """An account, the networks it has and how it prices and words what it sells on them."""

    account: str
    countries: dict[str, int] | None  # how many networks of which country; None: all there are
    bundle_ids_from: int
    data_factor: str
    rate_factor: str
    margins: list[str]  # on airtime
    source_currencies: dict[str, list[str] | None]  # where rates lead; None: to every currency of a network
    data_name: str
    data_description: str
    airtime_name: str
    airtime_description: str


SELLERS = [
    Seller(
        account="ACME", countries=None, bundle_ids_from=0, data_factor="1", rate_factor="1",
        margins=["1.08", "1.09", "1.1", "1.11", "1.12"],
        source_currencies={"USD": None, "EUR": COMMON_CURRENCIES, "GBP": COMMON_CURRENCIES},
        data_name="{size} {purpose}Data - {days}", data_description="{name}{note}",
        airtime_name="{currency} {amount} Airtime", airtime_description="{name} Top-Up",
    ),
    Seller(
        account="GLOBEX",
        countries={"GH": 3, "NG": 3, "KE": 2, "SN": 2, "CI": 2, "ZA": 2, "EG": 2, "MA": 2, "IN": 2, "PK": 2, "BD": 1,
                   "PH": 2, "ID": 1, "VN": 1, "JP": 2, "MX": 2, "BR": 2, "CO": 1, "DE": 2, "FR": 1, "KW": 2, "CU": 1},
        bundle_ids_from=50_000_000, data_factor="0.93", rate_factor="1.0042", margins=["1.05", "1.06"],
        source_currencies={"USD": None, "EUR": None},
        data_name="Connect {purpose}{size}, {days}", data_description="Globex Connect: {size} for {days}{note}",
        airtime_name="Top-up of {amount} {currency}", airtime_description="{amount} {currency} of prepaid credit",
    ),
]

# ---------------------------------------------------------------------------------------------
# What is sold on a network
# ---------------------------------------------------------------------------------------------


def network_record(seller: Seller, network: dict) -> dict:
    rng = seeded(seller.account, f"networks/{network['id']}")
    example = network["id"] == EXAMPLE_NETWORK
    public = not any(part in network["name"] for part in NOT_FOR_THE_PUBLIC)
    lot = 1.0 if example else rng.random()
    bundles = public and lot >= NO_BUNDLES_SHARE
    custom = public and not NO_BUNDLES_SHARE <= lot < NO_BUNDLES_SHARE + NO_CUSTOM_AIRTIME_SHARE
    kind = market(network["country_code"])
    messages = public and (rng.random() >= NO_SMS_SHARE or example)
    message_cost = kind.message_costs[-1] if example else rng.choice(kind.message_costs)
    return {
        "kind": "network",
        "id": network["id"],
        "name": network["name"],
        "country": network["country"],
        "country_code": network["country_code"],
        "currency": network["currency"],
        "logo_url": f"{LOGO_HOST}/{network['id']}.svg",
        "custom_airtime": custom_airtime(rng, kind, network, example) if custom else {"available": False},
        "sms_notification": ({"available": True, "cost_usd": Decimal(message_cost)} if messages
                             else {"available": False}),
        "fixed_bundles": fixed_bundles(seller, rng, kind, network, example) if bundles else [],
    }


def custom_airtime(rng: random.Random, kind: Market, network: dict, example: bool) -> dict:
    most = 400 if example else rng.choice([100, 200, 400])
    return {
        "available": True,
        "min_amount_local": local_round(Decimal(kind.least_custom), network["currency"]),
        "max_amount_local": local_round(Decimal(most), network["currency"]),
    }


def fixed_bundles(seller: Seller, rng: random.Random, kind: Market, network: dict, example: bool) -> list[dict]:
    count = 12 if example else bundle_count(rng, network)
    packs = rng.sample(kind.data, count - count * 2 // 5)
    if example:
        others = [pack for pack in packs if pack not in EXAMPLE_PACKS]
        packs = EXAMPLE_PACKS + others[:len(packs) - len(EXAMPLE_PACKS)]
    cheap = CHEAP_FACTOR if network["country_code"] in CHEAP else Decimal(1)
    local_level = Decimal(1) if example else Decimal(rng.randint(90, 118)) / 100
    factor = Decimal(kind.factor) * Decimal(seller.data_factor) * cheap * local_level
    margin = Decimal("1.11") if example else Decimal(rng.choice(seller.margins))
    first_id = seller.bundle_ids_from + network["id"] * 1000
    data = [data_bundle(seller, network, first_id + 101 + position, pack, factor)
            for position, pack in enumerate(sorted(packs, key=kind.data.index))]
    amounts = airtime_amounts(kind, network["currency"], count - len(packs))
    airtime = [airtime_bundle(seller, network, first_id + 201 + position, amount, margin)
               for position, amount in enumerate(amounts)]
    return data + airtime


def bundle_count(rng: random.Random, network: dict) -> int:
    code = network["country_code"]
    if not LEADERS.match(network["name"]):
        return rng.randint(3, 7) if code in BIG and code != "US" else rng.randint(1, 5)
    return rng.randint(9, 12) if code in BIG else rng.randint(5, 9)


def data_bundle(seller: Seller, network: dict, bundle_id: int, pack: tuple, factor: Decimal) -> dict:
    size, days, purpose, dollars, note = pack
    words = {"size": size, "days": f"{days} Day" if days == 1 else f"{days} Days",
             "purpose": f"{purpose} " if purpose else "", "note": f", {note}" if note else ""}
    name = seller.data_name.format(**words)
    price = Decimal(dollars) * factor
    return bundle(network, bundle_id, name, "DATA", rounded(price, "0.05" if price >= 1 else "0.01"), name,
                  seller.data_description.format(name=name, **words))


def airtime_bundle(seller: Seller, network: dict, bundle_id: int, amount: Decimal, margin: Decimal) -> dict:
    currency = network["currency"]
    words = {"amount": f"{amount.normalize():,f}", "currency": currency}
    name = seller.airtime_name.format(**words)
    digits = MINOR_DIGITS.get(currency, 2)
    return bundle(network, bundle_id, name, "AIRTIME", rounded(amount / usd_rate(seller, currency) * margin, "0.01"),
                  f"{amount:.{digits}f}", seller.airtime_description.format(name=name, **words))


def bundle(network: dict, bundle_id: int, name: str, kind: str, price: Decimal, value: str, description: str) -> dict:
    return {
        "id": bundle_id,
        "name": name,
        "type": kind,
        "price_usd": price,
        "local_value": value,
        "local_currency": network["currency"],
        "description": description,
    }


def airtime_amounts(kind: Market, currency: str, count: int) -> list[Decimal]:
    """The first amounts of a series such as 5, 10, 20, 50."""
    amounts = []
    amount = local_round(Decimal(kind.first_airtime), currency)
    while len(amounts) < count:
        amounts.append(amount)
        # 2 leads to 5 and not to 4
        amount *= Decimal("2.5") if amount.normalize().as_tuple().digits == (2,) else 2
    return amounts


def local_round(dollars: Decimal, currency: str) -> Decimal:
    """The amount of `currency` worth about so many dollars whose digits are 1, 2 or 5 and zeros."""
    amount = dollars * Decimal(USD_RATES[currency])
    one = Decimal(10) ** amount.adjusted()
    return min((one * step for step in (1, 2, 5, 10)), key=lambda nice: max(nice, amount) / min(nice, amount))


# ---------------------------------------------------------------------------------------------
# Exchange rates
# ---------------------------------------------------------------------------------------------


def usd_rate(seller: Seller, currency: str) -> Decimal:
    rate = Decimal(USD_RATES[currency])
    return rate if currency == "USD" else significant(rate * Decimal(seller.rate_factor))


def significant(rate: Decimal) -> Decimal:
    """Five digits are enough for a rate."""
    return Context(prec=5, rounding=ROUND_HALF_UP).plus(rate)


def rate_records(seller: Seller, currencies: list[str]) -> list[dict]:
    return [
        {"kind": "exchangeRate", "source_currency": source, "destination_currency": destination,
         "rate": significant(usd_rate(seller, destination) / usd_rate(seller, source))}
        for source, destinations in seller.source_currencies.items()
        for destination in destinations or currencies
        if destination not in WITHOUT_RATE
    ]


# ---------------------------------------------------------------------------------------------
# Records
# ---------------------------------------------------------------------------------------------


def records(seller: Seller) -> list[dict]:
    sold = networks_of(seller)
    lines = [network_record(seller, network) for network in sold]
    check(lines)
    return lines + rate_records(seller, sorted({network["currency"] for network in sold}))


def networks_of(seller: Seller) -> list[dict]:
    networks = [json.loads(line) for line in SOURCE.read_text(encoding="utf-8").splitlines()]
    if seller.countries is None:
        return networks
    chosen = []
    for code, count in seller.countries.items():
        leading = [network for network in networks if network["country_code"] == code]
        leading.sort(key=lambda network: not LEADERS.match(network["name"]))
        chosen += leading[:count]
    return sorted(chosen, key=lambda network: network["id"])


def check(networks: list[dict]) -> None:
    bundle_ids = [bundle["id"] for network in networks for bundle in network["fixed_bundles"]]
    if len(set(bundle_ids)) != len(bundle_ids):
        raise ValueError(f"repeated bundles: {repeated(bundle_ids)}")
    for network in networks:
        most = network["custom_airtime"].get("max_amount_local", Decimal("Infinity"))
        airtime = [bundle for bundle in network["fixed_bundles"] if bundle["type"] == "AIRTIME"]
        if any(Decimal(bundle["local_value"]) > most for bundle in airtime):
            raise ValueError(f"{network['id']}: a fixed amount above the greatest custom one")
