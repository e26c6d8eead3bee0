"""Price lists of telecom sellers: `acme-products.ndjson`, `globex-products.ndjson`, `products.csv`.

All products, prices and stocks are invented.
"""

import csv
import io
import random
from collections.abc import Iterator
from decimal import Decimal

from shared import repeated, rounded, seeded, shelf_price, to_json

INACTIVE_SHARE = 0.03
THINNED_SHARE = 0.2  # products that lack one or two optional fields
NULLED_SHARE = 0.12  # products that say null where others say nothing
BOTH_KEYS_SHARE = 0.16  # products with a SKU and an external id
EXTERNAL_ONLY_SHARE = 0.12  # products with an external id alone

MONTHLY, YEARLY = "MONTHLY", "YEARLY"
CURRENCY_DIGITS = {"USD": 2, "EUR": 2, "GBP": 2, "JPY": 0, "KWD": 3, "GHS": 2}

# ---------------------------------------------------------------------------------------------
# What is sold (prices in dollars where the currency is not given)
# ---------------------------------------------------------------------------------------------

# (SKU part, name, dollars a month, what it is, features)
SAAS_PLANS = [
    ("FREE", "Free Plan", "0", "For trying things out", ["1 seat", "100 contacts", "Community support"]),
    ("START", "Starter Plan", "19", "For the first ten customers", ["3 seats", "1,000 contacts", "E-mail support"]),
    ("PRO", "Pro Plan", "49", "For teams that sell every day", ["Unlimited contacts", "Pipelines & quotes", "API"]),
    ("BIZ", "Business Plan", "99", "For several teams under one roof", ["Roles & approvals", "SSO", "Audit log"]),
    ("ENT", "Enterprise Plan", "249", "For everyone else", ["Own subdomain", "Data residency", "Named contact"]),
    ("DIALER", "Power Dialer", "29", "Calls one number after the other", ["Local presence", "Voicemail drop"]),
    ("BILLING", "Usage Billing", "79", "Rates call records & writes invoices", ["Tiered tariffs", "Tax by country"]),
    ("STOCK", "SIM Inventory", "35", "Where every SIM is, and since when", ["ICCID import", "Barcode labels"]),
    ("PORTAL", "Self-Care Portal", "59", "Customers see bills & top up themselves", ["Your colours", "12 languages"]),
    ("WALL", "Wallboard", "12", "Queues & targets on a big screen", ["Dark mode", "Up to 8 screens"]),
]

# (SKU part, name, dollars a month, unit, what it is)
VOICE = [
    ("SIP-2", "SIP Trunk, 2 channels", "14", "trunk", "For a small office with one number"),
    ("SIP-10", "SIP Trunk, 10 channels", "59", "trunk", "Failover to a second site included"),
    ("SIP-30", "SIP Trunk, 30 channels", "149", "trunk", "Replaces an ISDN primary rate line"),
    ("PBX-BASIC", "Cloud PBX Basic", "7", "user", "Desk phone or softphone & voicemail"),
    ("PBX-TEAM", "Cloud PBX Team", "13", "user", "Ring groups, hot desking & a mobile app"),
    ("PBX-PRO", "Cloud PBX Pro", "21", "user", "Video rooms & \"busy on busy\""),
    ("CC-SEAT", "Contact Centre Seat", "69", "agent", "Voice, chat & e-mail in one queue"),
    ("REC-90", "Call Recording, 90 days", "5", "user", "Encrypted, searchable by number"),
]
VOICE_CURRENCIES = ["USD", "EUR", "GBP"]

# (country, name of it)
NUMBER_COUNTRIES = [
    ("US", "United States"), ("CA", "Canada"), ("GB", "United Kingdom"), ("IE", "Ireland"), ("FR", "France"),
    ("DE", "Germany"), ("ES", "Spain"), ("IT", "Italy"), ("NL", "Netherlands"), ("SE", "Sweden"), ("PL", "Poland"),
    ("GH", "Ghana"), ("KE", "Kenya"), ("ZA", "South Africa"), ("AE", "United Arab Emirates"), ("IL", "Israel"),
    ("IN", "India"), ("JP", "Japan"), ("SG", "Singapore"), ("BR", "Brazil"), ("MX", "Mexico"),
    ("CI", "Côte d'Ivoire"),
]
# (SKU part, name, dollars a month)
NUMBER_KINDS = [("GEO", "Local number", "1.5"), ("MOB", "Mobile number", "3.5"), ("TF", "Freephone number", "12")]

# (SKU part, name, unit, dollars)
USAGE = [
    ("VOICE-LOCAL", "Calls to landlines, zone 1", "minute", "0.0089"),
    ("VOICE-MOBILE", "Calls to mobiles, zone 1", "minute", "0.0245"),
    ("VOICE-Z2", "Calls, zone 2", "minute", "0.0675"),
    ("VOICE-Z3", "Calls, zone 3", "minute", "0.195"),
    ("VOICE-SAT", "Calls to satellite phones", "minute", "5.9"),
    ("SMS-Z1", "SMS, zone 1", "message", "0.0079"),
    ("SMS-Z2", "SMS, zone 2", "message", "0.0435"),
    ("SMS-Z3", "SMS, zone 3", "message", "0.0812"),
    ("MMS", "MMS, North America", "message", "0.02"),
    ("DATA-IOT", "IoT data above the allowance", "MB", "0.015"),
    ("LOOKUP", "Number look-up", "request", "0.004"),
    ("CNAM", "Caller name look-up", "request", "0.0095"),
    ("TRANSCRIPT", "Transcript of a call", "minute", "0.0305"),
]

# market: (currency, name with {speed}, unit, factor)
FIBRE_MARKETS = {
    "GB": ("GBP", "Full Fibre {speed}", "line", "0.9"),
    "DE": ("EUR", "Glasfaser {speed}", "Anschluss", "0.95"),
    "FR": ("EUR", "Fibre Pro {speed} – débit garanti", "ligne", "0.9"),
    "JP": ("JPY", "光回線 {speed}メガ", "回線", "0.85"),
}
FIBRE_SPEEDS = [(100, "34"), (500, "46"), (1000, "62")]
FIBRE_TERMS = {"GB": [12, 24], "DE": [24, 36], "FR": [12, 24], "JP": [24, 36]}

# (SKU part, name, dollars a month, unit, months, what it is)
MANAGED = [
    ("SDWAN-S", "SD-WAN Site, small", "95", "site", [12, 36], "Up to 100 Mbit/s, one router"),
    ("SDWAN-M", "SD-WAN Site, medium", "180", "site", [12, 36], "Up to 500 Mbit/s, router & LTE backup"),
    ("SDWAN-L", "SD-WAN Site, large", "420", "site", [24, 60], "Up to 5 Gbit/s, two routers in two racks"),
    ("MPLS-CORE", "MPLS Core Port", "890", "port", [36, 60], "With five classes of service"),
    ("WIFI-AP", "Managed Wi-Fi Access Point", "18", "access point", [24, 36], "Guests, staff & tills kept apart"),
    ("FW-BASIC", "Managed Firewall", "75", "device", [12, 24], "Rules changed within four hours"),
    ("COLO-HALF", "Colocation, half rack", "390", "rack", [12, 36], "2 kW, two feeds, remote hands extra"),
    ("DARK-FIBRE", "Dark Fibre Pair", "1450", "km", [60, 120], "Metro ring, 1310/1550 nm"),
]

# (SKU part, name, dollars a month, allowance)
IOT = [
    ("G10", "IoT Global 10MB", "1.2", "10MB"), ("G50", "IoT Global 50MB", "2.4", "50MB"),
    ("G500", "IoT Global 500MB", "7", "500MB"), ("EU100", "IoT Europe 100MB", "3.1", "100MB"),
    ("EU1000", "IoT Europe 1GB", "8.3", "1GB"), ("NA250", "IoT North America 250MB", "5.5", "250MB"),
    ("AF50", "IoT Africa 50MB", "3.5", "50MB"), ("NBIOT", "NB-IoT Sensor", "0.6", "2MB"),
    ("CATM", "LTE-M Tracker", "1.1", "5MB"), ("CCTV", "Camera Upload 20GB", "19", "20GB"),
]

# (SKU part, name, dollars, what it is)
PHONES = [
    ("ORRIN7", "Orrin 7", "649", "6.1\" display & two eSIMs"),
    ("ORRIN7P", "Orrin 7 Pro", "899", "6.7\" display, 5× zoom & titanium frame"),
    ("ORRIN6", "Orrin 6", "329", "Last year's favourite"),
    ("VELTOLITE", "Velto Lite", "179", "Light, tough & kind to the wallet"),
    ("VELTOMAX", "Velto Max", "419", "6000 mAh & a proper headphone jack"),
    ("KITSUF2", "Kitsu Fold 2 折りたたみ", "1399", "Opens to 7.8\", closes to pocket size"),
    ("BRAVA", "Brava Señor", "89", "Big keys, SOS button & a loud ringer"),
    ("TARNB", "Tarn Rugged B", "549", "IP69K & push-to-talk"),
]
STORAGE = [("128", "128 GB", "1"), ("256", "256 GB", "1.15")]
COLOURS = [("BLK", "black"), ("SIL", "silver"), ("VRT", "vert forêt"), ("ROS", "różowy")]

# (SKU part, name, dollars, category, what it is)
HARDWARE = [
    ("RT-HEARTH5G", "Hearth 5G Router", "239", "Network Equipment", "Wi-Fi 6E for the whole home"),
    ("RT-HEARTHMINI", "Hearth Mini Hotspot", "79", "Network Equipment", "For up to 16 devices"),
    ("RT-MESH3", "Stølen Mesh, pack of 3", "199", "Network Equipment", "Three points, no dead corner"),
    ("RT-GATEX", "Gate Office X", "459", "Network Equipment", "Dual SIM, failover & rack ears"),
    ("RT-GATE4G", "Gate 4G", "59", "Network Equipment", "Simple 4G router, last units"),
    ("SW-8POE", "Switch, 8 ports PoE+", "129", "Network Equipment", "120 W in all, fanless"),
    ("SW-24POE", "Switch, 24 ports PoE+", "349", "Network Equipment", "370 W in all, 19\" rack"),
    ("SW-48", "Switch, 48 ports", "429", "Network Equipment", "Four SFP+ uplinks"),
    ("AP-IN", "Access Point, indoor", "139", "Network Equipment", "Wi-Fi 7, ceiling or wall"),
    ("AP-OUT", "Access Point, outdoor", "289", "Network Equipment", "IP67, -30 to 60 °C"),
    ("ONT-G", "GPON Terminal", "45", "Network Equipment", "One gigabit port & one for a phone"),
    ("SFP-LX", "SFP Module LX", "24", "Network Equipment", "1310 nm, 10 km, LC"),
    ("UPS-700", "UPS 700 VA", "99", "Network Equipment", "Twenty minutes for router & switch"),
    ("RACK-6U", "Wall Rack 19\", 6 U", "85", "Network Equipment", "450 mm deep, glass door"),
    ("DP-QUILL20", "Quill 20 Desk Phone", "95", "Desk Phones & Headsets", "HD voice, PoE & eight line keys"),
    ("DP-QUILL50", "Quill 50 Video Phone", "310", "Desk Phones & Headsets", "7\" touch screen & camera shutter"),
    ("DP-DECT", "Quill DECT Handset", "79", "Desk Phones & Headsets", "With base, 50 m indoors"),
    ("DP-CONF", "Quill Round", "399", "Desk Phones & Headsets", "For tables of up to ten"),
    ("HS-MURMUR", "Murmur Headset", "69", "Desk Phones & Headsets", "Noise cancelling for open offices & cafés"),
    ("HS-MURMUR2", "Murmur Duo Headset", "89", "Desk Phones & Headsets", "Both ears, USB-C"),
    ("HS-BASE", "Murmur Charging Base", "35", "Desk Phones & Headsets", "Lights up when you are on a call"),
    ("ACC-CASE7", "Case for Orrin 7", "19", "Accessories", "Recycled & compostable, in crème brûlée"),
    ("ACC-GLASS7", "Screen Glass for Orrin 7", "15", "Accessories", "Pack of two with a cloth"),
    ("ACC-DUO65", "Duo Charger 65 W", "39", "Accessories", "Two ports, one plug, \"no brick\""),
    ("ACC-CABLE1", "USB-C Cable 1 m", "9", "Accessories", "Braided"),
    ("ACC-CABLE2", "USB-C Cable 2 m", "12", "Accessories", "Braided"),
    ("ACC-BANK10", "Power Bank 10,000 mAh", "29", "Accessories", "Two phones at once"),
    ("ACC-CAR", "Car Mount", "22", "Accessories", "Magnetic, turns both ways"),
    ("ACC-BAND", "Orrin Band LTE", "149", "Accessories", "Calls & steps without the phone"),
    ("ACC-PEN", "Kitsu Pen", "49", "Accessories", "Writes on both halves"),
    ("ACC-STYLO", "Étui pour Velto Max", "17", "Accessories", "En liège, fabriqué au Portugal"),
    ("SIM-TRIO", "SIM Card, triple cut", "1.5", "SIM Cards", "2FF, 3FF & 4FF in one"),
    ("SIM-TRIO-100", "SIM Cards, triple cut, box of 100", "120", "SIM Cards", "Sorted by ICCID"),
    ("SIM-IND", "Industrial SIM, MFF2", "3.9", "SIM Cards", "-40 to 105 °C, ten years"),
    ("SIM-IND-REEL", "Industrial SIMs, reel of 500", "1750", "SIM Cards", "For pick & place machines"),
    ("SIM-EUICC", "eSIM Card, removable", "6.9", "SIM Cards", "Holds eight profiles"),
    ("SIM-VOUCHER", "eSIM Voucher Card", "0.4", "SIM Cards", "QR code under a scratch field"),
    ("SIM-TOOL", "SIM Eject Tools, bag of 50", "11", "SIM Cards", "Steel"),
    ("IOT-TRACK", "Asset Tracker", "89", "IoT Devices", "Five years on one battery at a report a day"),
    ("IOT-METER", "Meter Reader", "119", "IoT Devices", "Pulse, M-Bus & optical"),
    ("IOT-GATE", "IoT Gateway", "179", "IoT Devices", "Modbus & CAN to MQTT"),
    ("IOT-BUTTON", "Service Button", "25", "IoT Devices", "One press, one ticket"),
    ("IOT-LEAK", "Leak Sensor", "32", "IoT Devices", "Reports within a minute"),
    ("IOT-TEMP", "Cold Chain Logger", "45", "IoT Devices", "Certified to EN 12830"),
]
HARDWARE_CURRENCIES = ["USD", "EUR", "GBP", "JPY", "KWD", "GHS"]

# (SKU part, name, unit, dollars, category)
SERVICES = [
    ("CONS-NET", "Network Consultant", "hour", "140", "Professional Services"),
    ("CONS-SEC", "Security Consultant", "hour", "175", "Professional Services"),
    ("CONS-BILL", "Billing Specialist", "hour", "155", "Professional Services"),
    ("PM", "Project Manager", "day", "980", "Professional Services"),
    ("SURVEY-SITE", "Site Survey", "visit", "260", "Professional Services"),
    ("SURVEY-WIFI", "Wi-Fi Survey, up to 1,000 m²", "visit", "540", "Professional Services"),
    ("INST-STD", "Standard Installation", "visit", "120", "Installation"),
    ("INST-EXP", "Installation within two days", "visit", "210", "Installation"),
    ("INST-NIGHT", "Installation at night or on holidays", "visit", "330", "Installation"),
    ("INST-CABLE", "Extra Cabling", "metre", "4.5", "Installation"),
    ("INST-RACK", "Rack Assembly", "rack", "190", "Installation"),
    ("INST-PORT", "Number Porting", "number", "8", "Installation"),
    ("INST-PORTBLOCK", "Number Porting, block of 100", "block", "95", "Installation"),
    ("INST-SIMSWAP", "SIM Swap on Site", "SIM", "6", "Installation"),
    ("TRN-ADMIN", "Administrator Training", "day", "690", "Training"),
    ("TRN-AGENT", "Agent Training", "half day", "380", "Training"),
    ("TRN-API", "API Workshop", "day", "850", "Training"),
    ("TRN-ESIM", "eSIM Basics, online", "seat", "49", "Training"),
    ("TRN-WIFI", "Wi-Fi Planning, online", "seat", "79", "Training"),
    ("TRN-DE", "Schulung für Vermittlungsplätze", "Tag", "640", "Training"),
    ("TRN-JA", "管理者向け研修", "日", "700", "Training"),
    ("TRN-AR", "تدريب مسؤولي النظام", "يوم", "650", "Training"),
]

# (SKU part, name, dollars a month, response)
SUPPORT = [
    ("BRONZE", "Bronze Support", "29", "next business day"),
    ("SILVER", "Silver Support", "89", "four hours, in office hours"),
    ("GOLD", "Gold Support", "219", "one hour, day & night"),
    ("PLATINUM", "Platinum Support", "590", "fifteen minutes & a named engineer"),
]
SUPPORT_TERMS = [12, 24, 36]

# (SKU part, place, dollars for 5 GB)
TRAVEL = [
    ("EU", "Europe", "12.5"), ("US", "United States", "14"), ("JP", "Japan", "13"), ("TR", "Türkiye", "11"),
    ("TH", "Thailand", "9"), ("MX", "México", "15"), ("BR", "Brasil", "15"), ("AE", "UAE", "16"),
    ("ZA", "South Africa", "13"), ("WW", "World", "29"),
]
# (gigabytes, days, price compared with 5 GB)
TRAVEL_SIZES = [(1, 7, "0.4"), (5, 30, "1"), (20, 30, "2.6")]

# SKU: a description longer than a line
LONG_DESCRIPTIONS = {
    "RT-GATEX-JPY": "Gate Office X keeps an office online when the line is cut.\n\nTwo SIM slots, two WAN ports and a "
                    "battery for four hours; \"failover\" takes less than ten seconds. Rack ears, screws & a 19\" "
                    "shelf are in the box.",
    "SDWAN-L-60": "Two routers in two racks, fed by two carriers. Prices hold for the term; moving house is free once.",
    "PLAN-ENT-YR": "Everything in Business, on a subdomain of your own & with your data where your lawyers want it: "
                   "Frankfurt, Dublin, Montréal, São Paulo, Tōkyō or Sydney.",
}

# ---------------------------------------------------------------------------------------------
# Families
# ---------------------------------------------------------------------------------------------

Products = Iterator[dict]


def product(sku: str, name: str, kind: str, category: str, price: Decimal | str, currency: str = "USD",
            **more: object) -> dict:
    return {"sku": sku, "name": name, "type": kind, "category": category, "price": Decimal(price),
            "currency": currency} | more


def saas_plans() -> Products:
    for part, name, dollars, text, features in SAAS_PLANS:
        for period, suffix, words, months in ((MONTHLY, "MO", "Monthly", 1), (YEARLY, "YR", "Yearly", 10)):
            yield product(f"PLAN-{part}-{suffix}", f"{name} — {words}", "SUBSCRIPTION", "SaaS Plans",
                          Decimal(dollars) * months, unit="seat", billingPeriod=period, description=f"{text}.",
                          features="\n".join(features))


def voice() -> Products:
    for part, name, dollars, unit, text in VOICE:
        for currency in VOICE_CURRENCIES:
            yield product(f"VOX-{part}-{currency}", name, "SUBSCRIPTION", "Voice",
                          shelf_price(Decimal(dollars), currency), currency, unit=unit, billingPeriod=MONTHLY,
                          description=f"{text}.")


def numbers() -> Products:
    for position, (code, country) in enumerate(NUMBER_COUNTRIES):
        for part, name, dollars in NUMBER_KINDS[:2 + position % 2]:
            factor = 1 + Decimal(position % 5) / 5
            yield product(f"DID-{code}-{part}", f"{name}, {country}", "SUBSCRIPTION", "Numbers",
                          Decimal(dollars) * factor, unit="number", billingPeriod=MONTHLY,
                          description="Proof of address is needed." if position % 4 == 1 else None)


def usage() -> Products:
    for part, name, unit, dollars in USAGE:
        yield product(f"USE-{part}", name, "SERVICE", "Usage", dollars, unit=unit,
                      description=f"Billed per {unit}, monthly.")


def fibre() -> Products:
    for code, (currency, name, unit, factor) in FIBRE_MARKETS.items():
        for speed, dollars in FIBRE_SPEEDS:
            for months in FIBRE_TERMS[code]:
                discount = Decimal("0.9") if months == 36 else 1
                price = shelf_price(Decimal(dollars) * Decimal(factor) * discount, currency)
                yield product(f"FIB-{code}-{speed}-{months}", name.format(speed=speed), "CONTRACT", "Internet Access",
                              price, currency, unit=unit, billingPeriod=MONTHLY, termMonths=months,
                              features=f"{speed} Mbit/s down\n{speed // 2} Mbit/s up\nOne fixed IPv4 address & a /56")


def managed() -> Products:
    for part, name, dollars, unit, terms, text in MANAGED:
        for months in terms:
            price = shelf_price(Decimal(dollars) * (1 if months == terms[0] else Decimal("0.88")), "USD")
            yield product(f"{part}-{months}", name, "CONTRACT", "Managed Network", price, unit=unit,
                          billingPeriod=MONTHLY, termMonths=months, description=f"{text}.")


def iot() -> Products:
    for part, name, dollars, allowance in IOT:
        yield product(f"IOT-{part}-MO", name, "SUBSCRIPTION", "IoT Plans", dollars, unit="SIM", billingPeriod=MONTHLY,
                      features=f"{allowance} a month, pooled\nPrivate APN on request")
        yield product(f"IOT-{part}-5Y", f"{name}, five years", "CONTRACT", "IoT Plans",
                      rounded(Decimal(dollars) * 48, "0.5"), unit="SIM", termMonths=60,
                      features=f"{allowance} a month\nPaid once")


def phones() -> Products:
    for position, (part, name, dollars, text) in enumerate(PHONES):
        for storage, size, factor in STORAGE:
            for colour, shown in (COLOURS[position % 4], COLOURS[(position + 1) % 4]):
                yield product(f"PH-{part}-{storage}-{colour}", f"{name}, {size}, {shown}", "PRODUCT", "Phones",
                              shelf_price(Decimal(dollars) * Decimal(factor), "USD"), unit="piece",
                              description=f"{text}.")


def hardware() -> Products:
    for position, (part, name, dollars, category, text) in enumerate(HARDWARE):
        for currency in [HARDWARE_CURRENCIES[(position + step * 2) % 6] for step in range(2)]:
            price = Decimal(dollars) if currency == "USD" else shelf_price(Decimal(dollars), currency)
            yield product(f"{part}-{currency}", name, "PRODUCT", category, price, currency, unit="piece",
                          description=f"{text}.")


def services() -> Products:
    for position, (part, name, unit, dollars, category) in enumerate(SERVICES):
        for currency in (["USD", "EUR"] if position % 3 else ["USD", "GBP"]):
            price = Decimal(dollars) if currency == "USD" else shelf_price(Decimal(dollars), currency)
            yield product(f"SVC-{part}-{currency}", name, "SERVICE", category, price, currency, unit=unit)


def support() -> Products:
    for part, name, dollars, response in SUPPORT:
        for months in SUPPORT_TERMS:
            for period, factor in ((MONTHLY, 1), (YEARLY, 11)):
                yield product(f"SUP-{part}-{months}-{period[0]}", f"{name}, {months} months", "CONTRACT",
                              "Support Contracts", Decimal(dollars) * factor, unit="company", billingPeriod=period,
                              termMonths=months,
                              features=f"Response: {response}\nPaid by the {'month' if period == MONTHLY else 'year'}")


def travel() -> Products:
    for code, place, dollars in TRAVEL:
        for gigabytes, days, factor in TRAVEL_SIZES:
            yield product(f"ESIM-{code}-{gigabytes}G{days}D", f"Travel eSIM {place}, {gigabytes} GB, {days} days",
                          "PRODUCT", "Travel eSIM", shelf_price(Decimal(dollars) * Decimal(factor), "USD"), unit="eSIM",
                          features=f"{gigabytes} GB of data\n{days} days from first use\nHotspot allowed")


FAMILIES = [saas_plans, voice, numbers, usage, fibre, managed, iot, phones, hardware, services, support, travel]

# The product of the published example, with the fields it has there and no others.
EXAMPLE = {"kind": "product", "name": "Pro Plan — Monthly", "type": "SUBSCRIPTION", "sku": "PLAN-PRO-MO", "price": 49,
           "currency": "USD", "unit": "seat", "billingPeriod": MONTHLY, "category": "SaaS Plans"}

# ---------------------------------------------------------------------------------------------
# Records
# ---------------------------------------------------------------------------------------------

FIELD_ORDER = ["kind", "name", "type", "sku", "externalId", "category", "price", "cost", "currency", "unit",
               "billingPeriod", "termMonths", "stockQty", "reorderLevel", "description", "features", "active"]
DROPPABLE = ["category", "cost", "unit", "stockQty", "reorderLevel", "description", "features"]
NULLABLE = ["cost", "billingPeriod", "termMonths", "stockQty", "reorderLevel"]


def acme_record(fields: dict) -> dict:
    sku = fields["sku"]
    if sku == EXAMPLE["sku"]:
        return EXAMPLE
    rng = seeded("ACME", f"products/{sku}")
    record = {"kind": "product"} | keys(rng, sku) | {name: value for name, value in fields.items() if name != "sku"}
    if fields["price"] and rng.random() < 0.6:
        record["cost"] = cost(rng, fields["price"], fields["currency"])
    if fields["type"] == "PRODUCT" and fields["category"] != "Travel eSIM":
        record |= stock(rng)
    if sku in LONG_DESCRIPTIONS:
        record["description"] = LONG_DESCRIPTIONS[sku]
    elif rng.random() < THINNED_SHARE:
        for name in rng.sample(DROPPABLE, rng.randint(1, 2)):
            record.pop(name, None)
    if rng.random() < INACTIVE_SHARE:
        record["active"] = False
    elif rng.random() < 0.3:
        record["active"] = True
    if fields["type"] == "PRODUCT" and rng.random() < 0.1:
        del record["type"]  # PRODUCT is what a product is when it does not say
    if fields["currency"] == "USD" and rng.random() < 0.1:
        del record["currency"]  # and USD what it costs
    nulls = dict.fromkeys(rng.sample(NULLABLE, 2)) if rng.random() < NULLED_SHARE else {}
    return in_order(nulls | {name: value for name, value in record.items() if value is not None})


def keys(rng: random.Random, sku: str) -> dict:
    external_id = rng.choice(["erp:{}", "crm-{}", "legacy/{}"]).format(rng.randint(10**6, 10**7 - 1))
    kind = rng.random()
    if kind < EXTERNAL_ONLY_SHARE:
        return {"externalId": external_id}
    return {"sku": sku, "externalId": external_id} if kind < EXTERNAL_ONLY_SHARE + BOTH_KEYS_SHARE else {"sku": sku}


def cost(rng: random.Random, price: Decimal, currency: str) -> Decimal:
    """A purchase price of 40 to 85 percent, with as many digits as the price has, or its currency."""
    digits = max(CURRENCY_DIGITS[currency], -price.as_tuple().exponent)
    return rounded(price * rng.randint(40, 85) / 100, f"1e-{digits}")


def stock(rng: random.Random) -> dict:
    return {"stockQty": rng.choice([0, rng.randint(1, 40), rng.randint(41, 900), rng.randint(901, 12000)]),
            "reorderLevel": rng.choice([0, 5, 10, 25, 50, 100, 500])}


def in_order(record: dict) -> dict:
    return {name: record[name] for name in FIELD_ORDER if name in record}


# What Globex sells: the first rows under SKUs that Acme has, too, at other prices.
GLOBEX = [
    product("PLAN-PRO-MO", "Globex Pro, monthly", "SUBSCRIPTION", "Software", "44.5", "EUR", unit="user",
            billingPeriod=MONTHLY),
    product("PLAN-PRO-YR", "Globex Pro, yearly", "SUBSCRIPTION", "Software", "455", "EUR", unit="user",
            billingPeriod=YEARLY),
    product("PLAN-BIZ-MO", "Globex Business, monthly", "SUBSCRIPTION", "Software", "89", "EUR", unit="user",
            billingPeriod=MONTHLY, cost=Decimal("31.5")),
    product("VOX-SIP-10-EUR", "SIP-Trunk mit 10 Kanälen", "SUBSCRIPTION", "Telefonie", "49.9", "EUR", unit="Trunk",
            billingPeriod=MONTHLY),
    product("VOX-PBX-TEAM-GBP", "Hosted PBX Team", "SUBSCRIPTION", "Telefonie", "10.25", "GBP", unit="user",
            billingPeriod=MONTHLY),
    product("IOT-G50-MO", "Fleet SIM 50 MB", "SUBSCRIPTION", "Fleet", "1.95", "USD", unit="SIM", billingPeriod=MONTHLY),
    product("SIM-EUICC-EUR", "eSIM Card, removable", "PRODUCT", "Fleet", "5.45", "EUR", unit="piece", stockQty=41000,
            reorderLevel=5000),
    product("FIB-DE-500-24", "Glasfaser Gewerbe 500", "CONTRACT", "Zugang", "39.9", "EUR", unit="Anschluss",
            billingPeriod=MONTHLY, termMonths=24),
    product("SUP-GOLD-12-M", "Rufbereitschaft Gold", "CONTRACT", "Service", "189", "EUR", billingPeriod=MONTHLY,
            termMonths=12, features="Reaktion in einer Stunde\nTag & Nacht"),
    product("SVC-INST-EXP-EUR", "Einbau im Fahrzeug", "SERVICE", "Service", "84", "EUR", unit="Fahrzeug"),
    product("GBX-TRACK-S", "Vehicle Tracker S", "PRODUCT", "Fleet", "79", "EUR", unit="piece", cost=Decimal("41.2"),
            stockQty=730, reorderLevel=100, description="Plugs into OBD-II; no tools, no drilling."),
    product("GBX-TRACK-L", "Vehicle Tracker L", "PRODUCT", "Fleet", "149", "EUR", unit="piece", cost=Decimal("77.9"),
            stockQty=95, reorderLevel=100, description="For 12/24 V, with tachograph & \"CAN\" reader."),
    product("GBX-TRAILER", "Trailer Tracker", "PRODUCT", "Fleet", "199", "EUR", unit="piece", stockQty=0,
            reorderLevel=20),
    product("GBX-CAM-2", "Dash Camera, two lenses", "PRODUCT", "Fleet", "239", "EUR", unit="piece", stockQty=64),
    product("GBX-ANT", "Roof Antenna", "PRODUCT", "Fleet", "34.9", "EUR", unit="piece", stockQty=1200, active=False),
    product("GBX-FLEET-S", "Fleet Portal, up to 20 vehicles", "SUBSCRIPTION", "Fleet", "4.9", "EUR", unit="vehicle",
            billingPeriod=MONTHLY),
    product("GBX-FLEET-L", "Fleet Portal, from 21 vehicles", "SUBSCRIPTION", "Fleet", "3.9", "EUR", unit="vehicle",
            billingPeriod=MONTHLY),
    product("GBX-FLEET-GULF", "بوابة إدارة الأسطول", "SUBSCRIPTION", "Fleet", "1.625", "KWD", unit="مركبة",
            billingPeriod=MONTHLY),
    product("GBX-TAXI-JP", "タクシー配車端末プラン", "SUBSCRIPTION", "Fleet", "1180", "JPY", unit="台",
            billingPeriod=MONTHLY),
    product("GBX-RENT-36", "Tracker Rental", "CONTRACT", "Fleet", "5.5", "EUR", unit="vehicle", billingPeriod=MONTHLY,
            termMonths=36),
    product("GBX-DATA-MB", "Data above the allowance", "SERVICE", "Usage", "0.0125", "EUR", unit="MB"),
    product("GBX-SMS", "SMS alert", "SERVICE", "Usage", "0.069", "EUR", unit="message"),
    product("GBX-TRAIN", "Dispatcher Training", "SERVICE", "Service", "620", "EUR", unit="day"),
    product("", "Alttarif Telematik 2019", "SUBSCRIPTION", "Fleet", "6.2", "EUR", externalId="sap:4711-0815",
            unit="vehicle", billingPeriod=MONTHLY, active=False, description="Nur noch für Bestandskunden."),
    product("", "Sonderposten Halterungen", "PRODUCT", "Fleet", "0", "EUR", externalId="sap:4711-0816", unit="piece",
            cost=None, stockQty=17),
]


def globex_record(fields: dict) -> dict:
    return in_order({"kind": "product"} | {name: value for name, value in fields.items() if name != "sku" or value})


def records(account: str) -> list[dict]:
    if account == "ACME":
        lines = [acme_record(fields) for family in FAMILIES for fields in family()]
    else:
        lines = [globex_record(fields) for fields in GLOBEX]
    check(lines)
    return lines


def check(products: list[dict]) -> None:
    for name in ("sku", "externalId"):
        if twice := repeated([product[name] for product in products if name in product]):
            raise ValueError(f"repeated {name}: {twice}")
    if nameless := [product["name"] for product in products if "sku" not in product and "externalId" not in product]:
        raise ValueError(f"neither SKU nor external id: {nameless}")


# ---------------------------------------------------------------------------------------------
# CSV
# ---------------------------------------------------------------------------------------------

CSV_FIELDS = [name for name in FIELD_ORDER if name != "kind"]

# (SKU part, name with {v}, variants, dollars, category, unit, description)
CSV_ARTICLES = [
    ("PATCH", "Patch Cable Cat 6A, {v}", ["0.5 m", "1 m", "2 m", "5 m", "10 m"], "3.2", "Cables", "piece",
     "Shielded, halogen-free, {v}"),
    ("FIBER", "Fibre Patch Cable LC-LC, {v}", ["1 m", "3 m", "10 m"], "8.5", "Cables", "piece", "OS2, 9/125 µm"),
    ("COAX", "Antenna Cable, {v}", ["3 m", "5 m", "10 m"], "14", "Cables", "piece", "SMA to SMA, low loss, black"),
    ("PANEL", "Patch Panel 19\", {v}", ["12 ports", "24 ports", "48 ports"], "38", "Racks", "piece",
     "Cat 6A, \"keystone\" ready"),
    ("SHELF", "Rack Shelf 19\", {v}", ["1 U", "2 U"], "27", "Racks", "piece", "Up to 25 kg, vented"),
    ("ANT", "Outdoor Antenna, {v}", ["4G", "5G", "GNSS"], "49", "Antennas", "piece",
     "IP67, pole or wall, screws included"),
    ("PSU", "Power Supply, {v}", ["12 V 1 A", "12 V 2 A", "48 V 0.5 A"], "13", "Power", "piece",
     "Plugs for EU, UK, US & AU"),
    ("BATT", "Backup Battery, {v}", ["2 Ah", "7 Ah"], "24", "Power", "piece", None),
    ("LABEL", "Cable Labels, {v}", ["100 pieces", "1,000 pieces"], "6", "Supplies", "roll",
     "White, for laser printers"),
    ("BOX", "Junction Box, {v}", ["indoor", "outdoor"], "11", "Supplies", "piece", "With 12 clamps, grey"),
    ("TESTER", "Line Tester, {v}", ["copper", "fibre"], "89", "Tools", "piece",
     "Says \"pass\" or \"fail\", nothing else"),
]
# Rows that are no goods, field by field.
CSV_ROWS = [
    {"name": "Cabling Team, two people", "type": "SERVICE", "sku": "CSV-TEAM", "category": "Installation",
     "price": "115", "unit": "hour", "description": "Travel, ladder and drill included; parking is not."},
    {"name": "Line Measurement", "type": "SERVICE", "sku": "CSV-MEASURE", "category": "Installation", "price": "18.5",
     "unit": "line"},
    {"name": "Cable Audit \"from cellar to roof\"", "type": "SERVICE", "sku": "CSV-AUDIT", "category": "Installation",
     "price": "640", "unit": "building", "description": "Delivery address:\nthe caretaker's office, ring twice."},
    {"name": "Spare Parts on Site", "type": "CONTRACT", "sku": "CSV-SPARES-12", "category": "Support", "price": "35",
     "billingPeriod": MONTHLY, "termMonths": "12", "unit": "site"},
    {"name": "Spare Parts on Site", "type": "CONTRACT", "sku": "CSV-SPARES-36", "category": "Support", "price": "29.9",
     "billingPeriod": MONTHLY, "termMonths": "36", "unit": "site"},
    {"name": "Antenna Maintenance", "type": "CONTRACT", "sku": "CSV-MAINT", "category": "Support", "price": "240",
     "billingPeriod": YEARLY, "termMonths": "24", "unit": "antenna", "externalId": "erp:9000101"},
    {"name": "Floor Plan Tool", "type": "SUBSCRIPTION", "sku": "CSV-PLAN-MO", "category": "Software", "price": "15",
     "billingPeriod": MONTHLY, "unit": "seat", "features": "Import of DWG, PDF, PNG"},
    {"name": "Floor Plan Tool, yearly", "type": "SUBSCRIPTION", "sku": "CSV-PLAN-YR", "category": "Software",
     "price": "150", "billingPeriod": YEARLY, "unit": "seat", "features": "Import of DWG, PDF, PNG"},
    {"name": "Label Designer", "type": "SUBSCRIPTION", "sku": "CSV-LABELS", "category": "Software", "price": "0",
     "billingPeriod": MONTHLY, "unit": "seat", "active": "false"},
    {"name": "Câble de rallonge, 3 m", "sku": "CSV-RALLONGE", "price": "7.9", "currency": "EUR"},
    {"name": "Überspannungsschutz", "sku": "CSV-SURGE", "price": "31", "currency": "EUR", "stockQty": "0"},
    {"name": "LANケーブル 3m", "sku": "CSV-LAN-JP", "price": "880", "currency": "JPY", "unit": "本"},
]


def csv_text() -> str:
    """Products as CSV; an empty cell is a field that is not given."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(csv_goods() + CSV_ROWS)
    return text.getvalue()


def csv_goods() -> list[dict]:
    rows = []
    for part, name, variants, dollars, category, unit, text in CSV_ARTICLES:
        for step, variant in enumerate(variants):
            for currency in ("USD", "EUR")[:1 + (step + len(variants)) % 2]:
                sku = f"CSV-{part}-{step + 1}-{currency}"
                rng = seeded("CSV", sku)
                price = shelf_price(Decimal(dollars) * (1 + Decimal(step) * Decimal("0.6")), currency)
                rows.append({
                    "name": name.format(v=variant), "type": "PRODUCT", "sku": sku, "category": category,
                    "price": to_json(price), "cost": to_json(cost(rng, price, currency)), "currency": currency,
                    "unit": unit, "description": text and text.format(v=variant), "active": "true",
                } | stock(rng))
    return rows
