"""The sample catalogs `acme.ndjson` and `globex.ndjson`: offerings and promotions.

All names, networks, prices and promotions are invented; places are real.
"""

import html
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from shared import seeded, shelf_price

ARCHIVED_SHARE = 0.09
MINIMAL_SHARE = 0.05  # offerings with the required fields alone
THINNED_SHARE = 0.15  # offerings that lack one or two optional fields

C, B = "CONSUMER", "BUSINESS"

# ---------------------------------------------------------------------------------------------
# Places
# ---------------------------------------------------------------------------------------------

# code: (name, shelf, price tier 1 to 4, packages, network, line for the shop)
COUNTRIES = {
    "FR": ("France", "EUROPE", 1, 5, "hexatel", "From the cafés of Paris to the Côte d'Azur"),
    "ES": ("Spain", "EUROPE", 1, 5, "solmovil", "Tapas in Sevilla, sunsets in A Coruña, mañana & beyond"),
    "IT": ("Italy", "EUROPE", 1, 5, "ondanet", "Rome, Cefalù and every piazza in between"),
    "DE": ("Germany", "EUROPE", 1, 5, "funkwerk", "München, Köln & the long way through Thüringen"),
    "GB": ("United Kingdom", "EUROPE", 1, 5, "albion", "Borders, Highlands & a pub called \"The Signal\""),
    "PT": ("Portugal", "EUROPE", 1, 3, "ondamar", "Pastéis in Lisboa, waves in Nazaré"),
    "NL": ("Netherlands", "EUROPE", 1, 3, "polderlink", "Canals, bikes & full bars in 's-Hertogenbosch"),
    "BE": ("Belgium", "EUROPE", 1, 2, "brabantel", "Gent, Liège and the best frites you will ever post"),
    "CH": ("Switzerland", "EUROPE", 2, 3, "alpenfunk", "Zürich to Genève, with bars on the summit"),
    "AT": ("Austria", "EUROPE", 1, 3, "donaunet", "Wien, Graz & the slopes of Sölden"),
    "IE": ("Ireland", "EUROPE", 1, 2, "shannonet", "Dún Laoghaire to Donegal on one profile"),
    "PL": ("Poland", "EUROPE", 1, 3, "wislatel", "Kraków, Łódź & Gdańsk, with żurek on the way"),
    "CZ": ("Czechia", "EUROPE", 1, 2, "vltavanet", "Praha, Brno and Český Krumlov"),
    "SE": ("Sweden", "EUROPE", 1, 3, "nordlys", "Malmö, Göteborg & the midnight sun in Luleå"),
    "NO": ("Norway", "EUROPE", 1, 2, "fjordtel", "Tromsø, Ålesund and fjords with five bars"),
    "DK": ("Denmark", "EUROPE", 1, 2, "oresund", "København, Århus & a proper smørrebrød"),
    "FI": ("Finland", "EUROPE", 1, 2, "suomiverkko", "Saunas in Jyväskylä, saved in the cloud"),
    "IS": ("Iceland", "EUROPE", 2, 2, "geysir", "Reykjavík to Ísafjörður & around the ring road"),
    "GR": ("Greece", "EUROPE", 1, 5, "aegeanet", "Island-hopping from Naxos to Santorini"),
    "HR": ("Croatia", "EUROPE", 1, 3, "jadranka", "Split, Poreč & a thousand islands"),
    "HU": ("Hungary", "EUROPE", 1, 2, "dunatel", "Thermal baths in Budapest, wine in Győr"),
    "RO": ("Romania", "EUROPE", 1, 2, "carpatia", "București, Brașov & the Făgăraș road"),
    "BG": ("Bulgaria", "EUROPE", 2, 2, "balkanet", "Sofia, Plovdiv & the Black Sea coast"),
    "CY": ("Cyprus", "EUROPE", 2, 2, "kyprolink", "Beaches & ruins, hotspot included"),
    "MT": ("Malta", "EUROPE", 1, 2, "marsatel", "Valletta, Gozo & Mdina's \"silent city\""),
    "TR": ("Türkiye", "EUROPE", 2, 5, "anadolu", "İstanbul, Göreme & the Muğla coast"),
    "GE": ("Georgia", "EUROPE", 2, 2, "kavkaz", "Khinkali in Tbilisi, 4G on the way to Kazbegi"),
    "US": ("United States", "NORTH_AMERICA", 2, 5, "starlane", "Coast to coast, parks & parkways included"),
    "CA": ("Canada", "NORTH_AMERICA", 2, 5, "mapletel", "Montréal, Québec & the Rockies"),
    "MX": ("Mexico", "NORTH_AMERICA", 2, 5, "azteka", "Ciudad de México, Mérida & Cancún"),
    "CR": ("Costa Rica", "NORTH_AMERICA", 3, 2, "puravida", "San José to the cloud forest, ¡pura vida!"),
    "PA": ("Panama", "NORTH_AMERICA", 3, 2, "istmo", "Canal, islands & Bocas del Toro"),
    "DO": ("Dominican Republic", "NORTH_AMERICA", 3, 2, "quisqueya", "Samaná whales & Punta Cana beaches"),
    "JM": ("Jamaica", "NORTH_AMERICA", 3, 2, "bluepeak", "Kingston beats & Negril sunsets"),
    "BR": ("Brazil", "SOUTH_AMERICA", 2, 5, "ipetel", "São Paulo, Florianópolis & Maranhão"),
    "AR": ("Argentina", "SOUTH_AMERICA", 2, 3, "platanet", "Buenos Aires, Iguazú & Neuquén"),
    "CL": ("Chile", "SOUTH_AMERICA", 2, 3, "andina", "Valparaíso to Chiloé & the Atacama"),
    "CO": ("Colombia", "SOUTH_AMERICA", 2, 3, "cafetel", "Bogotá, Medellín & the coffee hills"),
    "PE": ("Peru", "SOUTH_AMERICA", 2, 3, "incanet", "Lima, Cusco & the road to Machu Picchu"),
    "EC": ("Ecuador", "SOUTH_AMERICA", 3, 2, "equalink", "Quito, Baños & the Galápagos ferry"),
    "UY": ("Uruguay", "SOUTH_AMERICA", 3, 2, "charrua", "Montevideo & Paysandú, mate in hand"),
    "JP": ("Japan", "ASIA_PACIFIC", 1, 5, "sakuranet", "Tōkyō, Kyōto & ramen in Sapporo 🍜"),
    "KR": ("South Korea", "ASIA_PACIFIC", 1, 5, "hanriver", "Seoul subways, Busan beaches & 5G all along"),
    "TW": ("Taiwan", "ASIA_PACIFIC", 1, 3, "formosa", "Night markets in Taipei & trails in Taroko"),
    "CN": ("China", "ASIA_PACIFIC", 2, 3, "longwall", "Běijīng, Chéngdū & the fast trains between"),
    "HK": ("Hong Kong", "ASIA_PACIFIC", 1, 3, "harbourlink", "Dim sum, ferries & a very long escalator"),
    "SG": ("Singapore", "ASIA_PACIFIC", 1, 3, "merlion", "Hawker centres & gardens, no contract"),
    "MY": ("Malaysia", "ASIA_PACIFIC", 1, 3, "titiwangsa", "Penang laksa, KL skyline & Borneo treks"),
    "TH": ("Thailand", "ASIA_PACIFIC", 1, 5, "siamtel", "Bangkok, Chiang Mai & \"one more island\""),
    "VN": ("Vietnam", "ASIA_PACIFIC", 1, 3, "senviet", "Hà Nội, Đà Nẵng & phở for breakfast"),
    "ID": ("Indonesia", "ASIA_PACIFIC", 1, 3, "nusanet", "Bali, Java & 17,000 other islands"),
    "PH": ("Philippines", "ASIA_PACIFIC", 2, 3, "perlas", "Cebu, Palawan & Boracay"),
    "IN": ("India", "ASIA_PACIFIC", 2, 3, "deccan", "Delhi, Goa & the backwaters of Kerala"),
    "LK": ("Sri Lanka", "ASIA_PACIFIC", 2, 2, "serendib", "Tea trains, Galle & leopards in Yala"),
    "KH": ("Cambodia", "ASIA_PACIFIC", 2, 2, "mekongo", "Sunrise at Angkor, uploaded by breakfast"),
    "NZ": ("New Zealand", "ASIA_PACIFIC", 2, 3, "aotea", "Whangārei to Ōamaru in a camper van"),
    "AU": ("Australia", "ASIA_PACIFIC", 2, 5, "southcross", "Reef, outback & flat whites"),
    "AE": ("United Arab Emirates", "MIDDLE_EAST", 2, 5, "falconet", "Dubai, Abu Dhabi & the dunes of Liwa"),
    "SA": ("Saudi Arabia", "MIDDLE_EAST", 2, 3, "najdtel", "Riyadh, AlUla & the Red Sea"),
    "QA": ("Qatar", "MIDDLE_EAST", 2, 2, "pearlnet", "Doha's souqs & stadiums"),
    "KW": ("Kuwait", "MIDDLE_EAST", 2, 3, "dhowtel", "The Towers, the Avenues & the Gulf breeze"),
    "BH": ("Bahrain", "MIDDLE_EAST", 3, 2, "dilmun", "Manama & the race track"),
    "OM": ("Oman", "MIDDLE_EAST", 3, 2, "frankincense", "Wadis, Muscat & the road to Salalah"),
    "JO": ("Jordan", "MIDDLE_EAST", 3, 2, "petralink", "Petra, Wadi Rum & the Dead Sea"),
    "IL": ("Israel", "MIDDLE_EAST", 2, 5, "galil", "Tel Aviv, Jerusalem & the Galilee"),
    "EG": ("Egypt", "AFRICA", 2, 3, "nilenet", "Cairo, Luxor & the reefs of Dahab"),
    "MA": ("Morocco", "AFRICA", 2, 3, "atlasnet", "Marrakech, Fès & the Atlas passes"),
    "TN": ("Tunisia", "AFRICA", 2, 2, "carthage", "Tunis, Djerba & Sidi Bou Saïd"),
    "ZA": ("South Africa", "AFRICA", 2, 3, "protea", "Cape Town, Kruger & the Garden Route"),
    "KE": ("Kenya", "AFRICA", 3, 3, "savanna", "Nairobi to the Maasai Mara"),
    "TZ": ("Tanzania", "AFRICA", 3, 2, "kilima", "Kilimanjaro & Zanzibar on one profile"),
    "GH": ("Ghana", "AFRICA", 3, 3, "voltanet", "Accra, Kumasi & the coast at Cape Coast"),
    "NG": ("Nigeria", "AFRICA", 3, 2, "lagoonet", "Lagos traffic, sorted with maps & music"),
    "SN": ("Senegal", "AFRICA", 3, 2, "teranga", "Dakar, Gorée & Saint-Louis"),
    "MU": ("Mauritius", "AFRICA", 3, 2, "dodonet", "Lagoons, sega & Île aux Cerfs"),
}

# slug: (name, countries, regions, price factor, [(gigabytes, days)], flag, line for the shop)
AREAS = {
    "europe": ("Europe", [], ["EUROPE"], "1.2", [(1, 7), (3, 15), (5, 30), (10, 30), (30, 60)], "🇪🇺",
               "One profile from Málaga to Kraków"),
    "north-america": ("North America", [], ["NORTH_AMERICA"], "1.7", [(1, 7), (5, 30), (10, 30)], "🗽",
                      "The US, Canada & México without swapping SIMs"),
    "south-america": ("South America", [], ["SOUTH_AMERICA"], "2.1", [(1, 7), (3, 30), (10, 30)], "🏔️",
                      "Bogotá to Patagonia, São Paulo to Lima"),
    "americas": ("Americas", [], ["AMERICAS"], "2.2", [(3, 15), (5, 30), (20, 60)], "🌎",
                 "Alaska to Tierra del Fuego, border after border"),
    "asia-pacific": ("Asia-Pacific", [], ["ASIA_PACIFIC"], "1.6", [(1, 7), (3, 15), (5, 30), (10, 30), (20, 60)],
                     "🌏", "Tōkyō, Bangkok & Auckland in one go"),
    "middle-east": ("Middle East", [], ["MIDDLE_EAST"], "2.0", [(1, 7), (3, 30), (10, 30)], "🕌",
                    "From the Gulf to the Levant"),
    "africa": ("Africa", [], ["AFRICA"], "2.6", [(1, 7), (3, 30), (5, 30)], "🌍",
               "Cape to Cairo & Dakar to Mombasa"),
    "global": ("Global", [], ["GLOBAL"], "3.0", [(1, 7), (3, 30), (5, 60), (10, 180), (20, 365)], "🌐",
               "Nearly everywhere on earth, \"just land & go\""),
    "europe-africa": ("Europe & Africa", [], ["EUROPE", "AFRICA"], "2.5", [(5, 30), (10, 60)], "🧭",
                      "Both sides of the Mediterranean & far beyond"),
    "europe-middle-east": ("Europe & Middle East", [], ["EUROPE", "MIDDLE_EAST"], "1.9", [(5, 30), (10, 30)],
                           "🧭", "London to Doha, with every stopover"),
    "nordics": ("Nordics", ["DK", "FI", "IS", "NO", "SE"], [], "1.1", [(3, 15), (10, 30)], "❄️",
                "Fjords, saunas & smörgåsbord"),
    "dach": ("DACH", ["AT", "CH", "DE"], [], "1.1", [(5, 30), (20, 30)], "🏔️",
             "Zürich, Wien & Nürnberg on business or on skis"),
    "benelux": ("Benelux", ["BE", "LU", "NL"], [], "1.0", [(3, 15), (10, 30)], "🚲",
                "Three small countries, one small price"),
    "balkans": ("Balkans", ["AL", "BA", "BG", "GR", "HR", "ME", "MK", "RO", "RS", "SI"], [], "1.6",
                [(3, 15), (10, 30)], "⛰️", "Ten countries, from Ljubljana to Lefkáda"),
    "baltics": ("Baltics", ["EE", "LT", "LV"], [], "1.1", [(3, 15), (10, 30)], "🌲",
                "Tallinn, Rīga & Klaipėda by bus"),
    "gulf": ("Gulf States", ["AE", "BH", "KW", "OM", "QA", "SA"], [], "1.9", [(3, 15), (10, 30)], "🐪",
             "Six countries around the Gulf"),
    "japan-korea": ("Japan & South Korea", ["JP", "KR"], [], "1.1", [(5, 15), (20, 30)], "🌸",
                    "Cherry blossom in both capitals"),
    "southeast-asia": ("Southeast Asia", ["ID", "KH", "LA", "MY", "PH", "SG", "TH", "VN"], [], "1.3",
                       [(5, 15), (10, 30)], "🏝️", "Eight countries for the grand tour"),
    "anz": ("Australia & New Zealand", ["AU", "NZ"], [], "1.4", [(5, 30), (20, 30)], "🦘",
            "Both sides of the Tasman"),
    "east-africa": ("East Africa", ["KE", "RW", "TZ", "UG"], [], "2.3", [(3, 15), (5, 30)], "🦒",
                    "Safari from Nairobi to Kigali"),
    "andes": ("Andes", ["BO", "CL", "CO", "EC", "PE"], [], "1.9", [(3, 15), (10, 30)], "🦙",
              "From Medellín to Valparaíso by way of La Paz"),
}

# How running text speaks of a place, where its name alone will not do.
PLACES_IN_TEXT = {
    "GB": "the United Kingdom", "US": "the United States", "NL": "the Netherlands", "PH": "the Philippines",
    "AE": "the United Arab Emirates", "DO": "the Dominican Republic", "americas": "the Americas",
    "middle-east": "the Middle East", "global": "more than 100 countries", "nordics": "the Nordic countries",
    "dach": "Germany, Austria & Switzerland", "benelux": "the Benelux countries", "balkans": "the Balkans",
    "baltics": "the Baltic states", "gulf": "the Gulf States", "andes": "the Andes",
    "europe-middle-east": "Europe & the Middle East",
}

# Packages by the number a country has, and the price of a package in dollars for tier 1.
PACKAGES = {
    5: [(1, 7), (3, 15), (5, 30), (10, 30), (20, 30)],
    3: [(1, 7), (3, 30), (10, 30)],
    2: [(1, 7), (5, 30)],
}
GIGABYTES_PRICE = {1: "4", 3: "8.4", 5: "12.5", 10: "20.5", 20: "33", 30: "44", 50: "62"}
TIER_FACTOR = {1: "1", 2: "1.35", 3: "2.1", 4: "3"}
DAY_PASS_PRICE = Decimal("3.4")
BUSINESS_FACTOR = Decimal("0.9")
BUSINESS_AREAS = ["europe", "americas", "global"]
DAY_PASSES = ["US", "FR", "JP", "GB", "ES", "IT", "TR", "TH"]

# Shops in another language: (language, currency, id suffix, gigabytes, days, destinations by local name)
STOREFRONTS = [
    ("ja", "JPY", "jpy", 5, 15, {"KR": "韓国", "TW": "台湾", "TH": "タイ", "US": "アメリカ", "FR": "フランス",
                                 "IT": "イタリア", "SG": "シンガポール", "AU": "オーストラリア", "VN": "ベトナム",
                                 "HK": "香港"}),
    ("ar", "KWD", "kwd", 10, 30, {"TR": "تركيا", "EG": "مصر", "AE": "الإمارات", "SA": "السعودية", "GB": "بريطانيا",
                                  "GE": "جورجيا", "MY": "ماليزيا", "FR": "فرنسا"}),
    ("he", "USD", "he", 10, 15, {"GR": "יוון", "CY": "קפריסין", "TH": "תאילנד", "US": "ארצות הברית", "IT": "איטליה",
                                 "GE": "גאורגיה"}),
    ("de", "EUR", "eur", 10, 30, {"ES": "Spanien", "IT": "Italien", "TR": "der Türkei", "HR": "Kroatien",
                                  "GR": "Griechenland", "US": "den USA", "AT": "Österreich"}),
    ("fr", "EUR", "eur-fr", 5, 30, {"MA": "au Maroc", "TN": "en Tunisie", "PT": "au Portugal", "CA": "au Québec et au Canada",
                                    "SN": "au Sénégal"}),
]
# Destinations whose own packages are described in the language of the place.
LOCAL_NAMES = {
    "ar": {"AE": "الإمارات", "SA": "السعودية", "QA": "قطر", "KW": "الكويت", "BH": "البحرين", "OM": "عُمان",
           "JO": "الأردن", "EG": "مصر"},
    "he": {"IL": "ישראל"},
}

# code: (currency, language, price factor, network)
MARKETS = {
    "US": ("USD", "en", "1.3", "starlane"),
    "GB": ("GBP", "en", "0.9", "albion"),
    "DE": ("EUR", "de", "0.9", "funkwerk"),
    "FR": ("EUR", "fr", "0.75", "hexatel"),
    "ES": ("EUR", "es", "0.8", "solmovil"),
    "JP": ("JPY", "ja", "0.85", "sakuranet"),
    "KW": ("KWD", "ar", "0.9", "dhowtel"),
    "GH": ("GHS", "en", "0.4", "voltanet"),
}

# ---------------------------------------------------------------------------------------------
# What is sold (prices in dollars; periods as (period, interval), None for a single payment)
# ---------------------------------------------------------------------------------------------

MONTH, YEAR = ("MONTHLY", 1), ("YEARLY", 1)

# (slug, name, Japanese name, customer, gigabytes, minutes, messages, price, period, bound months)
PLANS = [
    ("talk-2gb", "Talk & Text 2GB", "トーク2GB", C, 2, 300, 500, "9", MONTH, None),
    ("seamless-10gb", "Seamless 10GB", "シームレス10GB", C, 10, 1000, 1000, "16", MONTH, None),
    ("seamless-25gb", "Seamless 25GB", "シームレス25GB", C, 25, None, 2000, "24", MONTH, 12),
    ("youth-15gb", "Youth 15GB \"Under 26\"", "U26プラン15GB", C, 15, 600, 3000, "13", MONTH, None),
    ("family-60gb", "Family Share 60GB", "ファミリーシェア60GB", C, 60, None, None, "49", MONTH, 12),
    ("unlimited", "Unlimited Plus", "アンリミテッド・プラス", C, None, None, None, "42", MONTH, 24),
    ("saver-annual-5gb", "Annual Saver 5GB", "年間セーバー5GB", C, 5, 500, 500, "110", YEAR, 12),
    ("team-20gb", "Team 20GB", "チーム20GB（法人向け）", B, 20, None, 1000, "21", MONTH, 24),
    ("team-unlimited", "Team Unlimited & Roaming", "チーム無制限（法人向け）", B, None, None, None, "46", MONTH, 24),
]

# Prepaid plans: (market, slug, name, megabytes, minutes, messages, price, period)
PREPAID = [
    ("GH", "daily-300mb", "Akwaaba Daily 300MB", 300, 15, 20, "0.4", ("DAILY", 1)),
    ("GH", "weekly-2gb", "Akwaaba Weekly 2GB", 2048, 60, 100, "1.6", ("WEEKLY", 1)),
    ("GH", "fortnight-4gb", "Akwaaba Fortnight 4GB", 4096, 150, 200, "2.8", ("WEEKLY", 2)),
    ("US", "quarter-12gb", "Quarterly 12GB", 12288, 3000, 3000, "45", ("MONTHLY", 3)),
    ("GB", "half-year-6gb", "Six-Month SIM 6GB", 6144, 1800, 1800, "40", ("MONTHLY", 6)),
    ("KW", "weekly-5gb", "Weekly 5GB", 5120, 100, 50, "6", ("WEEKLY", 1)),
]

# (slug, name, customer, gigabytes, price, bound months)
DATA_SIMS = [
    ("20gb", "Data SIM 20GB", C, 20, "12", None),
    ("100gb", "Data SIM 100GB", C, 100, "24", 12),
    ("pool-500gb", "Pooled Data SIM 500GB", B, 500, "95", 24),
]

# (slug, name, customer, megabits down, up, price, bound months)
BROADBAND = [
    ("fibre-100", "Fibre 100", C, 100, 40, "29", 12),
    ("fibre-500", "Fibre 500", C, 500, 250, "41", 24),
    ("home-5g", "Home Box 5G", C, 300, 50, "35", None),
    ("office-1000", "Office Fibre 1000", B, 1000, 1000, "79", 36),
]

# (slug, name, megabytes, messages, countries, regions, currency, price, period)
M2M = [
    ("global-10mb", "M2M Global 10MB", 10, 10, [], ["GLOBAL"], "USD", "1.2", MONTH),
    ("global-50mb", "M2M Global 50MB", 50, 30, [], ["GLOBAL"], "USD", "2.4", MONTH),
    ("global-500mb", "M2M Global 500MB", 500, 50, [], ["GLOBAL"], "USD", "7", MONTH),
    ("europe-5mb", "M2M Europe 5MB", 5, 10, [], ["EUROPE"], "EUR", "0.95", MONTH),
    ("europe-100mb", "M2M Europe 100MB", 100, 50, [], ["EUROPE"], "EUR", "3", MONTH),
    ("europe-1gb", "M2M Europe 1GB", 1024, 100, [], ["EUROPE"], "EUR", "8", MONTH),
    ("uk-smart-meter", "Smart Meter UK", 3, 5, ["GB"], [], "GBP", "9", YEAR),
    ("uk-cctv-20gb", "CCTV Upload UK 20GB", 20480, 0, ["GB"], [], "GBP", "17", MONTH),
    ("americas-250mb", "M2M Americas 250MB", 250, 50, [], ["AMERICAS"], "USD", "5.5", MONTH),
    ("us-telematics-1gb", "Telematics US 1GB", 1024, 100, ["US", "CA"], [], "USD", "6.5", MONTH),
    ("apac-100mb", "M2M Asia-Pacific 100MB", 100, 20, [], ["ASIA_PACIFIC"], "USD", "4", MONTH),
    ("jp-vending-50mb", "自動販売機テレメトリー 50MB", 50, 0, ["JP"], [], "JPY", "2", MONTH),
    ("jp-taxi-3gb", "タクシー配車端末 3GB", 3072, 0, ["JP"], [], "JPY", "8", MONTH),
    ("gulf-tracker-30mb", "Asset Tracker Gulf 30MB", 30, 30, ["AE", "BH", "KW", "OM", "QA", "SA"], [], "KWD", "3.4",
     MONTH),
    ("gh-solar-20mb", "Solar Home Kit 20MB", 20, 20, ["GH"], [], "GHS", "0.6", MONTH),
    ("africa-pos-50mb", "Point of Sale Africa 50MB", 50, 100, [], ["AFRICA"], "USD", "3.5", MONTH),
]

# (area or country, customer, currency, price); a price of 0 is a profile given away with a package
TRAVEL_SUBSCRIPTIONS = [
    ("global", C, "USD", "0"), ("global", B, "USD", "4.99"), ("europe", C, "USD", "0"), ("europe", C, "EUR", "2"),
    ("europe", B, "EUR", "4"), ("north-america", C, "USD", "1.99"), ("south-america", C, "USD", "2.99"),
    ("americas", C, "USD", "2.99"), ("asia-pacific", C, "USD", "1.99"), ("asia-pacific", C, "JPY", "3"),
    ("middle-east", C, "USD", "2.49"), ("middle-east", C, "KWD", "2.5"), ("africa", C, "USD", "3.49"),
    ("nordics", C, "EUR", "2"), ("gulf", B, "KWD", "5"), ("US", C, "GBP", "2"), ("JP", C, "USD", "1.99"),
    ("TR", C, "EUR", "2"),
]

# (slug, megabytes, customer, price, validity in days)
EXTRA_DATA = [("500mb", 500, C, "3", 7), ("2gb", 2048, C, "7", 30), ("10gb", 10240, C, "18", 30),
              ("team-50gb", 51200, B, "60", 30)]

# (slug, name, customer, megabytes, minutes, regions, price, period, validity in days)
ABROAD = [
    ("day-pass", "Abroad Day Pass", C, 1024, 30, ["EUROPE"], "3", None, 1),
    ("week-pass", "Abroad Week Pass", C, 5120, 100, ["EUROPE", "NORTH_AMERICA"], "12", None, 7),
    ("business-world", "Business Abroad: World", B, 10240, 300, ["GLOBAL"], "35", MONTH, None),
]

# (slug, name, category or None, price, period, what it does)
LICENSES = [
    ("pbx-user-basic", "Cloud PBX User Basic", "PBX_USER", "6", MONTH,
     "Desk phone or softphone, voicemail & one direct number"),
    ("pbx-user-standard", "Cloud PBX User Standard", "PBX_USER", "11", MONTH,
     "Ring groups, hot desking & a mobile app for every user"),
    ("pbx-user-pro", "Cloud PBX User Pro", "PBX_USER", "18", MONTH,
     "Everything in Standard, with video rooms & \"busy on busy\""),
    ("pbx-user-standard-annual", "Cloud PBX User Standard, yearly", "PBX_USER", "115", YEAR,
     "Twelve months for the price of ten & a half"),
    ("pbx-call-recording", "Call Recording", "PBX_FEATURE", "5", MONTH, "Records calls & keeps them for 90 days"),
    ("pbx-ivr", "IVR Designer", "PBX_FEATURE", "14", MONTH, "\"Press 1 for sales\": menus by drag & drop"),
    ("pbx-queue", "Call Queues", "PBX_FEATURE", "19", MONTH, "Queues with music, estimates & call-back"),
    ("pbx-fax", "Fax to E-mail", "PBX_FEATURE", "4", MONTH, "For those who still need one"),
    ("pbx-transcripts", "Transcripts & Summaries", "PBX_FEATURE", "9", MONTH, "Text of every call in 14 languages"),
    ("softphone-client", "Softphone Client", None, "29", None, "A licence for one workstation, for good"),
    ("fleet-portal-seat", "Fleet Portal Seat", None, "8", MONTH, "SIM inventory, alerts & usage reports"),
]
LICENSE_CURRENCIES = ["USD", "EUR", "GBP", "JPY", "KWD"]

# (slug, name, kind, price, customer, catalog "clearance" too, what it is)
DEVICES = [
    ("phone-orrin-7-128gb", "Orrin 7 (128 GB)", "phone", "649", C, False, "6.1\" display, two eSIMs & a two-day battery"),
    ("phone-orrin-7-pro-256gb", "Orrin 7 Pro (256 GB)", "phone", "899", C, False, "6.7\" display, 5× zoom & titanium frame"),
    ("phone-orrin-6-64gb", "Orrin 6 (64 GB)", "phone", "329", C, True, "Last year's favourite, while stocks last"),
    ("phone-velto-lite", "Velto Lite", "phone", "179", C, False, "Light, tough & kind to the wallet"),
    ("phone-velto-max", "Velto Max", "phone", "419", C, False, "A 6000 mAh battery & a proper headphone jack"),
    ("phone-kitsu-fold-2", "Kitsu Fold 2 折りたたみ", "phone", "1399", C, False, "Opens to 7.8\", closes to pocket size"),
    ("phone-brava-senior", "Brava Señor", "phone", "89", C, True, "Big keys, SOS button & a loud ringer"),
    ("phone-tarn-rugged-b", "Tarn Rugged B", "phone", "549", B, False, "IP69K & push-to-talk for crews outdoors"),
    ("router-hearth-5g", "Hearth 5G Router", "router", "239", C, False, "Wi-Fi 6E for the whole home"),
    ("router-hearth-mini", "Hearth Mini Hotspot", "router", "79", C, False, "Pocket hotspot for up to 16 devices"),
    ("router-stølen-mesh", "Stølen Mesh, pack of 3", "router", "199", C, False, "Three points, no dead corner"),
    ("router-gate-office-x", "Gate Office X", "router", "459", B, False, "Dual SIM, failover & rack ears"),
    ("router-gate-4g-old", "Gate 4G", "router", "59", B, True, "Simple 4G router, last units"),
    ("deskphone-quill-20", "Quill 20 desk phone", "deskphone", "95", B, False, "HD voice, PoE & eight line keys"),
    ("deskphone-quill-50", "Quill 50 video phone", "deskphone", "310", B, False, "7\" touch screen & camera shutter"),
    ("headset-murmur", "Murmur Headset", "accessory", "69", B, False, "Noise cancelling for open offices & cafés"),
    ("case-orrin-7", "Case for Orrin 7", "accessory", "19", C, False, "Recycled & compostable, in crème brûlée"),
    ("charger-duo-65w", "Duo Charger 65 W", "accessory", "39", C, False, "Two ports, one plug, \"no brick\""),
    ("watch-orrin-band", "Orrin Band LTE", "accessory", "149", C, False, "Calls & steps without the phone"),
    ("sim-card-pack", "SIM Card Starter Pack", "accessory", "0", C, False, "A triple-cut SIM, posted free of charge"),
]
DEVICE_CURRENCIES = ["USD", "EUR", "GBP", "JPY", "KWD", "GHS"]

# (slug, name, customer, price, period, what it is)
DEVICE_ADDONS = [
    ("insurance-phone", "Phone Insurance", C, "9", MONTH, "Screens, theft & \"it fell in the pool\""),
    ("insurance-fleet", "Fleet Device Insurance", B, "6", MONTH, "Per device, replaced next business day"),
    ("warranty-plus-3y", "Warranty Plus, 3 years", C, "49", None, "Parts & labour for two years more"),
    ("care-yearly", "Device Care, yearly", C, "79", YEAR, "One battery & one screen a year"),
    ("install-onsite", "On-site Installation", B, "120", None, "An engineer, cabling up to 20 m & a tidy desk"),
    ("express-delivery", "Express Delivery", C, "12", None, "Tomorrow before noon, or it's free"),
    ("data-transfer", "Data Transfer Service", C, "25", None, "Photos, contacts & chats moved for you"),
    ("engraving", "Engraving", C, "15", None, "Up to 20 characters, é, ü, ñ & ł included ✍️"),
]

IMAGE_HOST = "https://cdn.example.com/images"

# ---------------------------------------------------------------------------------------------
# Words
# ---------------------------------------------------------------------------------------------

# language: ("so much data", "unlimited data"), where {n} is a number of gigabytes
DATA_WORDS = {
    "en": ("{n} GB of data", "unlimited data"),
    "de": ("{n} GB Datenvolumen", "unbegrenztes Datenvolumen"),
    "fr": ("{n} Go de données", "données illimitées"),
    "es": ("{n} GB de datos", "datos ilimitados"),
    "ja": ("{n}GBのデータ容量", "データ無制限"),
    "ar": ("{n} جيجابايت من البيانات", "بيانات غير محدودة"),
    "he": ("{n} ג׳יגה גלישה", "גלישה ללא הגבלה"),
}
CALL_WORDS = {
    "en": ("{n} minutes to any network", "Unlimited calls"),
    "de": ("{n} Minuten in alle Netze", "Allnet-Flat"),
    "fr": ("{n} minutes vers tous les opérateurs", "Appels illimités"),
    "es": ("{n} minutos a cualquier operador", "Llamadas ilimitadas"),
    "ja": ("国内通話 {n}分", "国内通話かけ放題"),
    "ar": ("{n} دقيقة إلى جميع الشبكات", "مكالمات غير محدودة"),
}
RIGHT_TO_LEFT = {"ar", "he"}

# Mobile plans and data SIMs: {name}, {data}, {brand}
PLAN_LEADS = {
    "en": ["{name} by {brand}: {data}, calls & texts on one simple bill.",
           "\"{name}\" gives you {data} every period & keeps what you don't use for the next one.",
           "Made for everyday life: {data}, Wi-Fi calling & a spend cap you set yourself."],
    "de": ["{name} von {brand}: {data}, Telefonie & SMS auf einer übersichtlichen Rechnung.",
           "Für jeden Tag gemacht – {data}, WLAN-Telefonie und \"volle Kostenkontrolle\"."],
    "fr": ["{name} par {brand} : {data}, appels & SMS sur une seule facture, sans surprise.",
           "Le forfait de tous les jours : {data}, appels Wi-Fi et réseau 5G là où vous êtes déjà."],
    "es": ["{name} de {brand}: {data}, llamadas y SMS en una sola factura, sin letra pequeña.",
           "Para el día a día: {data}, llamadas por wifi y el control del gasto en tu móvil, mañana también."],
    "ja": ["{brand}の「{name}」。{data}と通話・SMSをひとつにまとめた、わかりやすい料金プランです。",
           "毎日使える{data}。余ったデータは翌月に繰り越せます。"],
    "ar": ["باقة {name} من {brand}: {data} ومكالمات ورسائل في فاتورة واحدة واضحة.",
           "مصممة للحياة اليومية: {data}، مع إمكانية ترحيل البيانات غير المستخدمة إلى الشهر التالي."],
}
PLAN_POINTS = {
    "en": ["5G where available", "Wi-Fi calling &amp; VoLTE", "Unused data rolls over once", "eSIM or plastic SIM",
           "Voicemail as text", "Keep your number, we do the paperwork"],
    "de": ["5G, wo verfügbar", "WLAN-Telefonie &amp; VoLTE", "Rufnummer einfach mitnehmen", "eSIM oder Plastikkarte",
           "EU-Roaming ohne Aufpreis"],
    "fr": ["5G là où elle est disponible", "Appels Wi-Fi &amp; VoLTE", "Numéro conservé", "eSIM ou carte classique",
           "Itinérance en Europe incluse"],
    "es": ["5G donde esté disponible", "Llamadas por wifi &amp; VoLTE", "Conserva tu número", "eSIM o tarjeta física",
           "Roaming en la UE incluido"],
    "ja": ["5Gエリア対応", "Wi-Fi通話・VoLTE対応", "eSIMまたは物理SIM", "番号そのまま乗り換え（MNP）", "余ったデータは翌月へ繰り越し"],
    "ar": ["شبكة الجيل الخامس حيثما توفرت", "الاتصال عبر الواي فاي", "شريحة إلكترونية أو عادية", "احتفظ برقمك الحالي"],
}
DATA_LEADS = {
    "en": ["{data} for tablets, routers & laptops, on a SIM of its own.",
           "{data} by {brand} for everything without a keypad; top up \"as you go\"."],
    "de": ["{data} für Tablet, Router & Laptop – mit eigener SIM und ohne Umwege."],
    "fr": ["{data} pour tablettes, routeurs & ordinateurs, avec une carte rien que pour eux."],
    "es": ["{data} para tabletas, routers y portátiles, con su propia SIM y sin líos de compañía."],
    "ja": ["タブレットやルーター、ノートPCで使える{data}のデータ専用プランです。"],
    "ar": ["{data} للأجهزة اللوحية وأجهزة التوجيه والحواسيب المحمولة، على شريحة مستقلة."],
}
DATA_POINTS = {
    "en": ["5G where available", "Usage alerts at 80 &amp; 100 %", "Top up in the app", "No activation fee",
           "Content filter for children, if you want it"],
    "de": ["5G, wo verfügbar", "Hinweis bei 80 &amp; 100 % Verbrauch", "Nachbuchen in der App", "Kein Anschlusspreis für Kunden"],
    "fr": ["5G là où elle est disponible", "Alertes à 80 &amp; 100 %", "Recharge dans l'application", "Sans frais d'activation"],
    "es": ["5G donde esté disponible", "Avisos al 80 y al 100 %", "Recarga desde la aplicación", "Sin cuota de activación"],
    "ja": ["5Gエリア対応", "使用量80%・100%でお知らせ", "アプリからチャージ", "事務手数料なし"],
    "ar": ["شبكة الجيل الخامس حيثما توفرت", "تنبيهات عند استهلاك 80٪ و100٪", "إعادة الشحن من التطبيق", "بدون رسوم تفعيل"],
}
# {size}, {days}, {brand}
EXTRA_DATA_LEADS = {
    "en": "Running low? {size} more for {days} days, on top of any {brand} plan.",
    "de": "Datenvolumen aufgebraucht? {size} mehr für {days} Tage, passend zu jedem Tarif von {brand}.",
    "fr": "Presque à sec ? {size} de plus pendant {days} jours, avec tous les forfaits {brand}.",
    "es": "¿Te quedas sin datos? {size} más durante {days} días, con cualquier tarifa de {brand}.",
    "ja": "データが足りないときに。どのプランにも{size}を追加でき、{days}日間使えます。",
    "ar": "هل أوشكت بياناتك على النفاد؟ أضف {size} إلى أي باقة من {brand} (مدة الصلاحية بالأيام: {days}).",
}
# {where}, {size}, {minutes}, {brand}
ABROAD_LEADS = {
    "en": "Take your {brand} plan along ({where}): {size} & {minutes} minutes, \"home & abroad\".",
    "ja": "海外（{where}）でもいつものスマホがそのまま使えます。データ{size}、通話{minutes}分。",
    "ar": "خذ باقتك معك في السفر ({where}): {size} و{minutes} دقيقة بدون مفاجآت.",
}
# What JPY prices are shown with, by slug
JAPANESE_TEXTS = {
    "pbx-user-pro": "スタンダードの全機能に、ビデオ会議室と話中着信制御を加えた上位ライセンス",
    "pbx-user-standard-annual": "12か月分を約10か月半の料金でご利用いただける年間ライセンス",
    "pbx-fax": "受信したファクスをメールでお届けします",
    "pbx-transcripts": "通話を14言語で文字起こしし、要約します",
    "phone-orrin-6-64gb": "昨年の人気モデル。在庫限り",
    "phone-velto-lite": "軽くて丈夫、お財布にもやさしい一台",
    "router-hearth-5g": "家じゅうをカバーするWi-Fi 6E対応の5Gルーター",
    "router-hearth-mini": "最大16台を接続できるポケットサイズのモバイルルーター",
    "deskphone-quill-50": "7インチのタッチ画面とカメラシャッターを備えたビデオ電話機",
    "headset-murmur": "オープンオフィスでも静かに話せるノイズキャンセリング",
    "insurance-fleet": "法人端末1台ごとの補償。翌営業日に交換",
    "warranty-plus-3y": "部品代と修理費の保証を2年間延長",
    "care-yearly": "年に1回の電池交換と1回の画面修理つき",
    "engraving": "20文字まで刻印できます ✍️",
}
PLAN_NOTES = {
    "en": ["<h4>Good to know</h4><p>Fair use applies to tethering. Cancel any time after the minimum term.</p>",
           "<h4>The small print, in large</h4><p>Prices stay put for <strong>24 months</strong>. No set-up fee.</p>",
           "<p>💡 Add <em>extra data</em> from the app whenever you run low.</p>"],
    "de": ["<h4>Gut zu wissen</h4><p>Nach der Mindestlaufzeit <strong>monatlich kündbar</strong>. Keine Anschlussgebühr.</p>",
           "<p>💡 Zusätzliches Datenvolumen lässt sich jederzeit über die App buchen.</p>"],
    "fr": ["<h4>Bon à savoir</h4><p>Résiliable à tout moment après la période d'engagement, <strong>sans frais cachés</strong>.</p>",
           "<p>💡 Une recharge de données s'ajoute en deux gestes dans l'application.</p>"],
    "es": ["<h4>Conviene saberlo</h4><p>Sin cuota de alta. <strong>Cancela cuando quieras</strong> tras la permanencia.</p>",
           "<p>💡 Añade más datos desde la aplicación en un momento.</p>"],
    "ja": ["<h4>ご利用にあたって</h4><p>最低利用期間の経過後は<strong>いつでも解約</strong>できます。事務手数料はかかりません。</p>",
           "<p>💡 データが足りないときはアプリからすぐに追加できます。</p>"],
    "ar": ["<h4>معلومات مفيدة</h4><p>يمكنك الإلغاء في أي وقت بعد انتهاء مدة الالتزام. <strong>بدون رسوم تفعيل</strong>.</p>"],
}

# Travel packages: {place}, {data}, {days}, {line}
TRAVEL_LEADS = {
    "en": ["{line}: {data} in {place} for {days} days, with no roaming bill waiting at home.",
           "{data} for {days} days in {place}. {line}.",
           "Land, switch on & share: {data} in {place}, valid {days} days. {line}.",
           "Prepaid data for {place}: {data}, {days} days, \"no contract, no surprises\"."],
    "de": ["{data} in {place} für {days} Tage – ohne Vertrag und ohne böse Überraschung auf der Rechnung.",
           "Surfen in {place}: {data}, gültig {days} Tage ab der ersten Nutzung, Tethering inklusive & ohne Aufpreis."],
    "fr": ["{data} {place} pendant {days} jours, sans contrat et sans mauvaise surprise au retour.",
           "Partez l'esprit léger : {data} {place}, valables {days} jours, partage de connexion compris."],
    "ja": ["{place}で使える{data}。有効期間は{days}日間、追加のローミング料金はかかりません。",
           "到着後すぐにつながる{place}用eSIM。{data}・{days}日間、契約は不要です。"],
    "ar": ["ابقَ على اتصال في {place} مع {data} لمدة {days} يومًا، دون رسوم تجوال مفاجئة.",
           "شريحة إلكترونية للسفر إلى {place}: {data}، صالحة لمدة {days} يومًا وبدون عقد."],
    "he": ["גולשים ב{place} עם {data} למשך {days} ימים, בלי הפתעות בחשבון.",
           "כרטיס eSIM ל{place}: {data}, בתוקף ל־{days} ימים, ללא התחייבות."],
}
TRAVEL_POINTS = {
    "en": ["Hotspot &amp; tethering included", "Top up as often as you like", "Keep your own number for calls",
           "4G/5G on the strongest local network", "Chat support day &amp; night", "Install before you fly",
           "No ID check, no shop, no queue"],
    "de": ["Hotspot &amp; Tethering inklusive", "Beliebig oft nachbuchbar", "Eigene Rufnummer bleibt erreichbar",
           "Einrichtung per QR-Code vor dem Abflug"],
    "fr": ["Partage de connexion inclus", "Rechargeable à volonté", "Votre numéro reste joignable",
           "Installation par QR code avant le départ"],
    "ja": ["テザリング対応", "何度でもチャージ可能", "いつもの電話番号はそのまま", "QRコードでかんたん設定"],
    "ar": ["مشاركة نقطة الاتصال مسموحة", "إعادة الشحن في أي وقت", "تفعيل عبر رمز QR", "احتفظ برقمك الأصلي للمكالمات"],
    "he": ["שיתוף נקודה חמה כלול", "אפשר לטעון שוב בכל עת", "התקנה מהירה בקוד QR", "המספר הרגיל נשאר זמין"],
}
ACTIVATION_NOTES = {
    "en": {"FIRST_USE": "<h4>When it starts</h4><p>The clock starts at the <strong>first connection</strong>, not at the till.</p>",
           "INSTANT": "<h4>When it starts</h4><p>Active <strong>right after purchase</strong>, so buy it at the gate.</p>"},
    "de": {"FIRST_USE": "<h4>Ab wann?</h4><p>Die Laufzeit beginnt mit der <strong>ersten Verbindung</strong>.</p>",
           "INSTANT": "<h4>Ab wann?</h4><p>Gültig <strong>sofort nach dem Kauf</strong>.</p>"},
    "fr": {"FIRST_USE": "<h4>Début de validité</h4><p>Dès la <strong>première connexion</strong> sur place.</p>",
           "INSTANT": "<h4>Début de validité</h4><p><strong>Dès l'achat</strong>, sans délai.</p>"},
    "ja": {"FIRST_USE": "<h4>利用開始</h4><p><strong>現地で最初に接続した時点</strong>から期間が始まります。</p>",
           "INSTANT": "<h4>利用開始</h4><p><strong>ご購入後すぐ</strong>に有効になります。</p>"},
    "ar": {"FIRST_USE": "<h4>بداية الصلاحية</h4><p>تبدأ المدة عند <strong>أول اتصال بالشبكة</strong>.</p>",
           "INSTANT": "<h4>بداية الصلاحية</h4><p>تبدأ <strong>فور الشراء</strong>.</p>"},
    "he": {"FIRST_USE": "<h4>תחילת התוקף</h4><p>הספירה מתחילה <strong>בחיבור הראשון</strong> לרשת.</p>",
           "INSTANT": "<h4>תחילת התוקף</h4><p><strong>מיד עם הרכישה</strong>.</p>"},
}
TRAVEL_NAMES = {
    "en": "{place} {size} – {days} days",
    "de": "{size} in {place}, {days} Tage",
    "fr": "{size} {place}, {days} jours",
    "ja": "{place} {size}・{days}日間",
    "ar": "{place} {size} – {days} يومًا",
    "he": "{place} {size} – {days} ימים",
}

BUSINESS_POINTS = ["One invoice for every line", "Roles &amp; approvals in the portal", "REST API &amp; webhooks",
                   "Usage alerts by e-mail or SMS", "Named contact for support", "Static IP on request"]
# kind: (group name, what the box contains)
DEVICE_KINDS = {
    "phone": ("Phones", ["The phone", "USB-C cable", "A very short manual"]),
    "router": ("Routers", ["The router", "Power supply", "Wall mount &amp; screws"]),
    "deskphone": ("Desk Phones", ["The phone", "Stand", "Network cable, 2 m"]),
    "accessory": ("Accessories", ["One piece", "A card that says \"Grüezi\""]),
}
DEVICE_POINTS = ["30 days to change your mind", "Two years' warranty", "Ships within one working day",
                 "Trade in your old one", "Packed without plastic ♻️", "Free returns by post"]

PLAN_EMOJI = ["📱", "🚀", "⭐", "🎧", "💬"]
TAGS = ["bestseller", "new", "été", "eco", "staff-pick", "5g", "línea-básica"]

# ---------------------------------------------------------------------------------------------
# Accounts and promotions
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Account:
    """What an account sells, and for how much."""

    name: str
    brand: str
    price_factor: str
    countries: list[str]
    package_count: int  # at most this many packages a country: 2, 3 or 5
    areas: list[str]
    markets: list[str]
    broadband_markets: list[str]
    storefronts: list[str]
    license_currencies: int  # currencies each licence is sold in
    device_currencies: int
    full_range: bool  # else only a part of what consumers and travellers are offered

    def rng(self, key: str) -> random.Random:
        return seeded(self.name, key)

    def sells_to(self, customer: str) -> bool:
        return self.full_range or customer == B


ACME = Account(
    name="ACME", brand="Acme Mobile", price_factor="1", countries=list(COUNTRIES), package_count=5, areas=list(AREAS),
    markets=list(MARKETS), broadband_markets=["US", "GB", "DE", "FR", "JP"],
    storefronts=["ja", "ar", "he", "de", "fr"], license_currencies=2, device_currencies=2, full_range=True,
)
GLOBEX = Account(
    name="GLOBEX", brand="Globex Connect", price_factor="0.86",
    countries=["FR", "ES", "DE", "GB", "IT", "PL", "SE", "TR", "US", "CA", "MX", "BR", "JP", "KR", "TH", "AU", "AE",
               "SA", "IL", "ZA", "KE", "GH"],
    package_count=2, areas=["europe", "americas", "asia-pacific", "middle-east", "africa", "global", "gulf", "dach"],
    markets=["GB", "DE", "JP", "KW"], broadband_markets=["GB", "DE"], storefronts=["ja"], license_currencies=1,
    device_currencies=1, full_range=False,
)

ACCOUNTS = [ACME, GLOBEX]

PROMOTIONS = {
    "ACME": [
        {"code": "SUMMER25", "percentOff": 25},
        {"code": "TRAVEL5", "amountOff": 5, "currency": "USD", "categories": ["TRAVEL_ESIM_PACKAGE"]},
        {"code": "EXPIRED10", "percentOff": 10, "validFrom": "2024-01-01T00:00:00.000Z",
         "validUntil": "2024-06-30T23:59:59.000Z"},
        {"code": "FUTURE20", "percentOff": 20, "validFrom": "2035-01-01T00:00:00.000Z"},
        {"code": "WELCOME10", "percentOff": 10, "validFrom": "2025-01-01T00:00:00.000Z",
         "validUntil": "2035-12-31T23:59:59.000Z"},
        {"code": "BIZ15", "percentOff": 15, "customerTypes": ["BUSINESS"]},
        {"code": "PARIS50", "percentOff": 50,
         "productOfferingIds": ["esim-pkg-fr-1gb-7d", "esim-pkg-fr-5gb-30d", "esim-pkg-fr-10gb-30d"]},
        {"code": "student12", "percentOff": Decimal("12.5"), "categories": ["SUBSCRIPTION_CELL", "EXTRA_DATA"],
         "customerTypes": ["CONSUMER"]},
        {"code": "HANAMI500", "amountOff": 500, "currency": "JPY", "validUntil": "2035-04-30T14:59:59.000Z",
         "customerTypes": ["CONSUMER"]},
        {"code": "GULF1500", "amountOff": Decimal("1.5"), "currency": "KWD"},
        {"code": "FREESIM", "percentOff": 100, "productOfferingIds": ["esim-travel-americas-usd", "esim-travel-africa-usd"]},
        {"code": "BLACKFRIDAY40", "percentOff": 40, "validFrom": "2024-11-29T00:00:00.000Z",
         "validUntil": "2024-12-02T23:59:59.000Z", "categories": ["EXTERNAL_PRODUCT"]},
    ],
    "GLOBEX": [
        {"code": "WELCOME10", "percentOff": 10, "customerTypes": ["BUSINESS"]},
        {"code": "SUMMER25", "percentOff": 5},
        {"code": "FLEET20", "percentOff": 20, "categories": ["SUBSCRIPTION_M2M"]},
        {"code": "partner3", "amountOff": 3, "currency": "EUR", "validUntil": "2035-06-30T23:59:59.000Z"},
        {"code": "TOKYO300", "amountOff": 300, "currency": "JPY", "productOfferingIds": ["m2m-jp-taxi-3gb"]},
        {"code": "LAUNCH2024", "percentOff": 30, "validUntil": "2024-03-31T23:59:59.000Z"},
        {"code": "NEXTGEN", "amountOff": Decimal("2.5"), "currency": "USD", "validFrom": "2035-01-01T00:00:00.000Z"},
    ],
}

# ---------------------------------------------------------------------------------------------
# Small parts of an offering
# ---------------------------------------------------------------------------------------------


def price(account: Account, dollars: Decimal | str, currency: str, customer: str, period: tuple[str, int] | None = None,
          bound_months: int | None = None) -> dict:
    result = {
        "currency": currency,
        "priceType": "RECURRING" if period else "ONE_TIME",
        "grossPrice": shelf_price(Decimal(dollars) * Decimal(account.price_factor), currency),
        "taxIncluded": customer == C and currency != "USD",
        "boundMonths": bound_months,
    }
    if period:
        result["billingCycle"] = {"period": period[0], "interval": period[1]}
    return without_nones(result)


def without_nones(fields: dict) -> dict:
    return {name: value for name, value in fields.items() if value is not None}


def features(megabytes: int | None = None, minutes: int | None = None, messages: int | None = None,
             days: int | None = None, countries: list[str] | None = None, regions: list[str] | None = None,
             activation: str | None = None) -> dict:
    return without_nones({
        "dataMb": megabytes,
        "includedCallSeconds": minutes * 60 if minutes is not None else None,
        "includedSms": messages,
        "validityDays": days,
        "countries": countries or None,
        "regions": regions or None,
        "activationType": activation,
    })


def product(product_id: str, kind: str, category: str | None, network: str | None = None,
            features: dict | None = None) -> dict:
    return without_nones({
        "productId": f"prd-{product_id}",
        "internalName": product_id.replace("-", "_").upper(),
        "type": kind,
        "category": category,
        "networkProviderId": network,
        "features": features or None,
    })


def group(slug: str, name: str, category: str | None, description: str) -> dict:
    return without_nones({
        "productOfferingGroupId": slug,
        "name": name,
        "category": category,
        "description": description,
        "internalDescription": f"grp_{slug.replace('-', '_')}",
    })


def rich(language: str, title: str, points: list[str], note: str = "") -> str:
    """HTML of the shop page; `points` and `note` are HTML, `title` is text."""
    body = f"<h3>{html.escape(title, quote=False)}</h3>{html_list(points)}{note}"
    if language in RIGHT_TO_LEFT:
        return f'<div dir="rtl" lang="{language}">{body}</div>'
    return body


def html_list(items: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def shown_text(slug: str, text: str, currency: str) -> str:
    """The sentence a shop shows: in Japanese next to a price in yen, where there is one."""
    if currency == "JPY" and slug in JAPANESE_TEXTS:
        return f"{JAPANESE_TEXTS[slug]}。"
    return f"{text}."


def words(table: dict, language: str, amount: int | None) -> str:
    some, unlimited = table[language]
    return unlimited if amount is None else some.format(n=amount)


def flag(country: str) -> str:
    return "".join(chr(0x1F1E6 + ord(letter) - ord("A")) for letter in country)


def megabytes(gigabytes: int | None) -> int | None:
    return None if gigabytes is None else gigabytes * 1024


def size_text(mb: int) -> str:
    return f"{mb // 1024} GB" if mb >= 1024 else f"{mb} MB"


def business_suffix(customer: str) -> str:
    return "-biz" if customer == B else ""


def upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]


# ---------------------------------------------------------------------------------------------
# Families of offerings: each yields (id, fields), in the order the shop shows them
# ---------------------------------------------------------------------------------------------

Offerings = Iterator[tuple[str, dict]]


def mobile_plans(account: Account) -> Offerings:
    for market in account.markets:
        currency, language, factor, network = MARKETS[market]
        for slug, name, japanese, customer, gb, minutes, messages, dollars, period, bound in PLANS:
            if not account.sells_to(customer) and slug != "seamless-10gb":
                continue
            offering_id = f"cell-{market.lower()}-{slug}"
            rng = account.rng(offering_id)
            name = japanese if language == "ja" else name
            data = words(DATA_WORDS, language, gb)
            roaming = ["EUROPE"] if market in ("DE", "FR", "ES", "GB") and gb is None else None
            points = [upper_first(data), words(CALL_WORDS, language, minutes), *rng.sample(PLAN_POINTS[language], 2)]
            if customer == B:
                points[-1] = rng.choice(BUSINESS_POINTS)
            yield offering_id, {
                "name": name,
                "price": price(account, Decimal(dollars) * Decimal(factor), currency, customer, period, bound),
                "customerType": customer,
                "description": rng.choice(PLAN_LEADS[language]).format(name=name, data=data, brand=account.brand),
                "richContent": rich(language, f"{rng.choice(PLAN_EMOJI)} {name}", points,
                                    rng.choice(PLAN_NOTES[language]) if gb else PLAN_NOTES[language][0]),
                "product": product(offering_id, "SUBSCRIPTION", "SUBSCRIPTION_CELL", f"{network}-{market.lower()}",
                                   features(megabytes(gb), minutes, messages, countries=[market], regions=roaming)),
                "group": group(f"mobile-plans-{market.lower()}", f"Mobile Plans {flag(market)}", "SUBSCRIPTION_CELL",
                               f"Calls, texts & data in {country_destination(market).in_text}."),
                "addonCategories": ["EXTRA_DATA", "ABROAD"],
                "imageUrl": f"{IMAGE_HOST}/mobile-{slug}.png",
                "metadata": plan_metadata(rng, gb is None, market),
                "productCatalogIds": catalogs(rng, customer),
            }


def prepaid_plans(account: Account) -> Offerings:
    for market, slug, name, mb, minutes, messages, dollars, period in PREPAID:
        if market not in account.markets or not account.full_range:
            continue
        currency, language, _, network = MARKETS[market]
        offering_id = f"prepaid-{market.lower()}-{slug}"
        rng = account.rng(offering_id)
        yield offering_id, {
            "name": name,
            "price": price(account, dollars, currency, C, period),
            "customerType": C,
            "description": f"{name}: {size_text(mb)}, {minutes} minutes & {messages} texts, renewed until you say \"stop\".",
            "richContent": rich("en", f"🔁 {name}", [f"{size_text(mb)} of data", f"{minutes} minutes &amp; {messages} texts",
                                                     *rng.sample(DATA_POINTS["en"], 2)],
                                "<p>Paid from your balance: if it runs dry, so does the plan.</p>"),
            "product": product(offering_id, "SUBSCRIPTION", "SUBSCRIPTION_CELL", f"{network}-{market.lower()}",
                               features(mb, minutes, messages, countries=[market])),
            "group": group("prepaid", "Prepaid", "SUBSCRIPTION_CELL", "Pay as you go, renewed by the day or the week."),
            "addonCategories": ["EXTRA_DATA"],
            "imageUrl": f"{IMAGE_HOST}/prepaid.png",
            "metadata": {"prepaid": True, "ussd": f"*{rng.randint(100, 999)}*{rng.randint(1, 9)}#"},
            "productCatalogIds": catalogs(rng, C),
        }


def data_sims(account: Account) -> Offerings:
    for market in account.markets:
        currency, language, factor, network = MARKETS[market]
        for slug, name, customer, gb, dollars, bound in DATA_SIMS:
            offering_id = f"data-sim-{market.lower()}-{slug}"
            rng = account.rng(offering_id)
            data = words(DATA_WORDS, language, gb)
            points = [upper_first(data), *rng.sample(DATA_POINTS[language], 3)]
            if customer == B:
                points.append(rng.choice(BUSINESS_POINTS))
            yield offering_id, {
                "name": name,
                "price": price(account, Decimal(dollars) * Decimal(factor), currency, customer, MONTH, bound),
                "customerType": customer,
                "description": upper_first(rng.choice(DATA_LEADS[language]).format(data=data, brand=account.brand)),
                "richContent": rich(language, f"📶 {name}", points, rng.choice(PLAN_NOTES[language])),
                "product": product(offering_id, "SUBSCRIPTION", "SUBSCRIPTION_DATA_SIM", f"{network}-{market.lower()}",
                                   features(megabytes(gb), countries=[market])),
                "group": group(f"data-sims-{market.lower()}", "Data SIMs", "SUBSCRIPTION_DATA_SIM",
                               "For tablets, routers & everything else without a keypad."),
                "addonCategories": ["EXTRA_DATA"],
                "imageUrl": f"{IMAGE_HOST}/data-sim.png",
                "metadata": plan_metadata(rng, False, market),
                "productCatalogIds": catalogs(rng, customer),
            }


def broadband(account: Account) -> Offerings:
    for market in account.broadband_markets:
        currency, language, factor, network = MARKETS[market]
        for slug, name, customer, down, up, dollars, bound in BROADBAND:
            if not account.sells_to(customer) and slug != "home-5g":
                continue
            offering_id = f"bb-{market.lower()}-{slug}"
            rng = account.rng(offering_id)
            speed = f"{down}/{up} Mbit/s"
            unlimited = upper_first(words(DATA_WORDS, language, None))
            points = [f"<strong>{speed}</strong>", unlimited, rng.choice(DATA_POINTS[language])]
            yield offering_id, {
                "name": f"{name} ({COUNTRIES[market][0]})",
                "price": price(account, Decimal(dollars) * Decimal(factor), currency, customer, MONTH, bound),
                "customerType": customer,
                "description": f"{account.brand} {name}: {speed}, router on loan & a line that stays up "
                               "when it's \"raining hard\".",
                "richContent": rich(language, f"🏠 {name}", points, PLAN_NOTES[language][0]),
                "product": product(offering_id, "SUBSCRIPTION", "SUBSCRIPTION_BROADBAND", f"{network}-{market.lower()}",
                                   features(countries=[market])),
                "group": group(f"broadband-{market.lower()}", "Broadband", "SUBSCRIPTION_BROADBAND",
                               "Fibre & 5G for home and office."),
                "addonCategories": ["EXTERNAL_PRODUCT_ADDON"],
                "imageUrl": f"{IMAGE_HOST}/broadband-{slug}.jpg",
                "metadata": {"speed": {"downMbit": down, "upMbit": up}, "fixedIp": customer == B,
                             "technology": "5G" if "5g" in slug else "FTTH"},
                "productCatalogIds": catalogs(rng, customer),
            }


def m2m_plans(account: Account) -> Offerings:
    for slug, name, mb, messages, countries, regions, currency, dollars, period in M2M:
        offering_id = f"m2m-{slug}"
        rng = account.rng(offering_id)
        text = (f"{size_text(mb)}を複数の回線で共有できる、機器間通信（IoT）向けプランです。" if currency == "JPY" else
                f"{size_text(mb)} per SIM for meters, trackers & gateways; unused data is pooled across the fleet.")
        yield offering_id, {
            "name": name,
            "price": price(account, dollars, currency, B, period, rng.choice([None, 12, 36])),
            "customerType": B,
            "description": text,
            "richContent": rich("en", f"🛰️ {name}", [f"{size_text(mb)} · {messages} SMS", *rng.sample(BUSINESS_POINTS, 3)],
                                "<h4>Built for fleets</h4><p>Suspend, resume &amp; swap over the API. "
                                "SIMs come as 2FF, 3FF, 4FF, MFF2 or <em>iSIM</em>.</p>"),
            "product": product(offering_id, "SUBSCRIPTION", "SUBSCRIPTION_M2M", "roamhub-iot",
                               features(mb, None, messages, 365, countries, regions, "FIRST_USE")),
            "group": group("m2m", "M2M & IoT", "SUBSCRIPTION_M2M", "Connectivity for things."),
            "addonCategories": ["EXTRA_DATA"],
            "imageUrl": f"{IMAGE_HOST}/m2m.svg",
            "metadata": {"bearer": rng.choice(["NB-IoT", "LTE-M", "4G"]), "minimumOrder": rng.choice([10, 50, 100]),
                         "apn": {"name": "things.example.com", "private": rng.random() < 0.5}},
            "productCatalogIds": ["enterprise", "partner"],
        }


@dataclass(frozen=True)
class Destination:
    """Where a travel eSIM works."""

    slug: str
    name: str
    in_text: str
    line: str
    countries: list[str]
    regions: list[str]
    emoji: str
    network: str
    shelf: str
    price_factor: Decimal


def country_destination(code: str) -> Destination:
    name, shelf, tier, _, network, line = COUNTRIES[code]
    return Destination(
        slug=code.lower(), name=name, in_text=PLACES_IN_TEXT.get(code, name), line=line, countries=[code], regions=[],
        emoji=flag(code), network=f"{network}-{code.lower()}", shelf=shelf.replace("_", " ").title(),
        price_factor=Decimal(TIER_FACTOR[tier]))


def area_destination(slug: str) -> Destination:
    name, countries, regions, factor, _, emoji, line = AREAS[slug]
    return Destination(
        slug=slug, name=name, in_text=PLACES_IN_TEXT.get(slug, name), line=line, countries=countries, regions=regions,
        emoji=emoji, network="roamhub", shelf="Several Countries", price_factor=Decimal(factor))


def in_language(destination: Destination, local_name: str) -> Destination:
    return replace(destination, name=local_name, in_text=local_name)


def travel_subscriptions(account: Account) -> Offerings:
    for place, customer, currency, dollars in TRAVEL_SUBSCRIPTIONS:
        if place in account.areas:
            destination = area_destination(place)
        elif place in account.countries:
            destination = country_destination(place)
        else:
            continue
        name = f"Travel eSIM {destination.name}"
        offering_id = f"esim-travel-{destination.slug}-{currency.lower()}{business_suffix(customer)}"
        rng = account.rng(offering_id)
        yield offering_id, {
            "name": name + (" for Business" if customer == B else ""),
            "price": price(account, dollars, currency, customer),
            "customerType": customer,
            "description": f"{destination.line}. One eSIM profile to keep; add a package whenever you travel.",
            "richContent": rich("en", f"{destination.emoji} {name}", rng.sample(TRAVEL_POINTS["en"], 4),
                                "<h4>Three steps</h4><ol><li>Scan the QR code</li><li>Pick a package</li><li>Land ✈️</li></ol>"),
            "product": product(f"esim-travel-{destination.slug}", "SUBSCRIPTION", "TRAVEL_ESIM", "roamhub",
                               features(countries=destination.countries, regions=destination.regions, activation="INSTANT")),
            "group": group("travel-esim", "Travel eSIM", "TRAVEL_ESIM", "Profiles that packages are added to."),
            "addonCategories": ["TRAVEL_ESIM_PACKAGE"],
            "imageUrl": f"{IMAGE_HOST}/esim/{destination.slug}.png",
            "metadata": {"esim": {"smdp": "smdp.example.com", "reusable": True}, "profileMonths": rng.choice([12, 24])},
            "productCatalogIds": catalogs(rng, customer),
        }


def country_packages(account: Account) -> Offerings:
    for country in account.countries:
        count = min(COUNTRIES[country][3], account.package_count)
        for gb, days in PACKAGES[count]:
            offering_id = f"esim-pkg-{country.lower()}-{gb}gb-{days}d"
            destination = country_destination(country)
            language = local_language(account.rng(offering_id + "/language"), country, days)
            if language != "en":
                destination = in_language(destination, LOCAL_NAMES[language][country])
            yield offering_id, travel_package(account, offering_id, destination, gb, days, language)


def local_language(rng: random.Random, country: str, days: int) -> str:
    """The language of the place for most of the longer packages of the Middle East, else English."""
    for language, names in LOCAL_NAMES.items():
        if country in names and days > 10 and rng.random() < 0.85:
            return language
    return "en"


def day_passes(account: Account) -> Offerings:
    for country in DAY_PASSES:
        if country not in account.countries or not account.full_range:
            continue
        destination = country_destination(country)
        offering_id = f"esim-pkg-{country.lower()}-unlimited-daily"
        name = f"{destination.name} Unlimited, by the day"
        fields = travel_package(account, offering_id, destination, None, 1)
        yield offering_id, fields | {
            "name": name,
            "price": price(account, DAY_PASS_PRICE * destination.price_factor, "USD", C, ("DAILY", 1)),
            "description": f"{destination.line}: unlimited data in {destination.in_text}, charged by the day "
                           "until you switch it off.",
            "richContent": rich("en", f"{destination.emoji} {name}",
                                ["Unlimited data", *account.rng(offering_id).sample(TRAVEL_POINTS["en"], 3)],
                                "<h4>How a day counts</h4><p>24 hours from the first megabyte, <em>not</em> until midnight.</p>"),
        }


def area_packages(account: Account) -> Offerings:
    for slug in account.areas:
        packages = AREAS[slug][4]
        for gb, days in packages if account.full_range else packages[:2]:
            for customer in (C, B) if slug in BUSINESS_AREAS and gb >= 10 else (C,):
                offering_id = f"esim-pkg-{slug}-{gb}gb-{days}d{business_suffix(customer)}"
                yield offering_id, travel_package(account, offering_id, area_destination(slug), gb, days, customer=customer)


def storefront_packages(account: Account) -> Offerings:
    for language, currency, suffix, gb, days, destinations in STOREFRONTS:
        if language not in account.storefronts:
            continue
        for country, local_name in destinations.items():
            offering_id = f"esim-pkg-{country.lower()}-{gb}gb-{days}d-{suffix}"
            destination = in_language(country_destination(country), local_name)
            yield offering_id, travel_package(account, offering_id, destination, gb, days, language, currency)


def travel_package(account: Account, offering_id: str, destination: Destination, gb: int | None, days: int,
                   language: str = "en", currency: str = "USD", customer: str = C) -> dict:
    rng = account.rng(offering_id)
    data = words(DATA_WORDS, language, gb)
    dollars = Decimal(GIGABYTES_PRICE[gb]) * destination.price_factor if gb else DAY_PASS_PRICE
    activation = "INSTANT" if days == 1 else rng.choice(["FIRST_USE", "FIRST_USE", "INSTANT"])
    name = upper_first(TRAVEL_NAMES[language].format(place=destination.name, size=f"{gb}GB", days=days))
    lead = rng.choice(TRAVEL_LEADS[language]).format(place=destination.in_text, data=data, days=days, line=destination.line)
    points = [upper_first(data), *rng.sample(TRAVEL_POINTS[language], 3)]
    if customer == B:
        name += " (Business)"
        dollars *= BUSINESS_FACTOR
        points[-1] = rng.choice(BUSINESS_POINTS)
    return {
        "name": name,
        "price": price(account, dollars, currency, customer),
        "customerType": customer,
        "description": upper_first(lead),
        "richContent": rich(language, f"{destination.emoji} {name}", points, ACTIVATION_NOTES[language][activation]),
        "product": product(offering_id.removesuffix("-biz"), "SUBSCRIPTION_ADDON", "TRAVEL_ESIM_PACKAGE", destination.network,
                           features(megabytes(gb), days=days, countries=destination.countries,
                                    regions=destination.regions, activation=activation)),
        "group": group(f"esim-packages-{destination.shelf.lower().replace(' ', '-')}",
                       f"Travel Packages: {destination.shelf}", "TRAVEL_ESIM_PACKAGE", "Prepaid data for a travel eSIM."),
        "imageUrl": f"{IMAGE_HOST}/esim/{destination.slug}.png",
        "metadata": travel_metadata(rng, gb, language),
        "productCatalogIds": catalogs(rng, customer),
    }


def extra_data(account: Account) -> Offerings:
    for market in account.markets:
        currency, language, factor, network = MARKETS[market]
        for slug, mb, customer, dollars, days in EXTRA_DATA:
            if not account.sells_to(customer) and slug != "2gb":
                continue
            offering_id = f"extra-data-{market.lower()}-{slug}"
            rng = account.rng(offering_id)
            data = words(DATA_WORDS, language, mb // 1024) if mb >= 1024 else size_text(mb)
            yield offering_id, {
                "name": f"Extra Data {size_text(mb)}",
                "price": price(account, Decimal(dollars) * Decimal(factor), currency, customer),
                "customerType": customer,
                "description": EXTRA_DATA_LEADS[language].format(size=size_text(mb), days=days, brand=account.brand),
                "richContent": rich(language, f"➕ {size_text(mb)}", [upper_first(data), *rng.sample(DATA_POINTS[language], 3)]),
                "product": product(offering_id, "SUBSCRIPTION_ADDON", "EXTRA_DATA", f"{network}-{market.lower()}",
                                   features(mb, days=days, countries=[market], activation="INSTANT")),
                "group": group("extra-data", "Extra Data", "EXTRA_DATA", "Top-ups for mobile plans & data SIMs."),
                "imageUrl": f"{IMAGE_HOST}/extra-data.png",
                "metadata": {"stackable": rng.random() < 0.7, "maxPerMonth": rng.choice([3, 5, 10])},
                "productCatalogIds": catalogs(rng, customer),
            }


def abroad(account: Account) -> Offerings:
    for market in account.markets:
        currency, language, factor, network = MARKETS[market]
        for slug, name, customer, mb, minutes, regions, dollars, period, days in ABROAD:
            if not account.sells_to(customer) and slug != "week-pass":
                continue
            offering_id = f"abroad-{market.lower()}-{slug}"
            rng = account.rng(offering_id)
            where = " & ".join(region.replace("_", " ").title() for region in regions)
            yield offering_id, {
                "name": f"{name} ({size_text(mb)})",
                "price": price(account, Decimal(dollars) * Decimal(factor), currency, customer, period),
                "customerType": customer,
                "description": ABROAD_LEADS.get(language, ABROAD_LEADS["en"]).format(
                    where=where, size=size_text(mb), minutes=minutes, brand=account.brand),
                "richContent": rich("en", f"🧳 {name}", [f"{size_text(mb)} of data", f"{minutes} minutes",
                                                        f"Valid in: {html.escape(where)}", *rng.sample(DATA_POINTS["en"], 1)],
                                    "<p>Starts by itself the first time you use your phone <em>\"over there\"</em>.</p>"),
                "product": product(offering_id, "SUBSCRIPTION_ADDON", "ABROAD", f"{network}-{market.lower()}",
                                   features(mb, minutes, days=days, regions=regions, activation="FIRST_USE")),
                "group": group("abroad", "Abroad", "ABROAD", "Roaming passes for mobile plans."),
                "imageUrl": f"{IMAGE_HOST}/abroad-{slug}.png",
                "metadata": {"roaming": {"zone": rng.randint(1, 4), "inbound": True}, "autoStart": True},
                "productCatalogIds": catalogs(rng, customer),
            }


def licenses(account: Account) -> Offerings:
    for position, (slug, name, category, dollars, period, text) in enumerate(LICENSES):
        for currency in rotating(LICENSE_CURRENCIES, position, account.license_currencies):
            offering_id = f"{slug}-{currency.lower()}"
            rng = account.rng(offering_id)
            shown = shown_text(slug, text, currency)
            yield offering_id, {
                "name": name,
                "price": price(account, dollars, currency, B, period, 12 if period == YEAR else None),
                "customerType": B,
                "description": shown,
                "richContent": rich("en", f"☎️ {name}", [html.escape(shown, quote=False), *rng.sample(BUSINESS_POINTS, 3)],
                                    "<h4>Licence terms</h4><p>Counted per <strong>named user</strong>; move a licence "
                                    "to someone else once a day.</p>"),
                "product": product(slug, "LICENSE", category),
                "group": group("cloud-pbx" if category else "software", "Cloud PBX" if category else "Software", category,
                               "Telephony & tools for teams."),
                "addonCategories": ["PBX_FEATURE"] if category == "PBX_USER" else None,
                "imageUrl": f"{IMAGE_HOST}/licences/{slug}.svg",
                "metadata": {"sku": f"LIC-{rng.randint(10000, 99999)}",
                             "seats": {"min": 1, "max": rng.choice([50, 500, 5000])}, "trialDays": rng.choice([0, 14, 30])},
                "productCatalogIds": ["enterprise"] if rng.random() < 0.6 else ["enterprise", "partner"],
            }


def devices(account: Account) -> Offerings:
    for position, (slug, name, kind, dollars, customer, clearance, text) in enumerate(DEVICES):
        if not account.sells_to(customer):
            continue
        slug = slug.replace("ø", "o")
        for currency in rotating(DEVICE_CURRENCIES, position, account.device_currencies):
            offering_id = f"{slug}-{currency.lower()}"
            cost = price(account, dollars, currency, customer)
            yield offering_id, device(account, offering_id, slug, name, kind, cost, customer, clearance, text)
        if kind == "phone" and not clearance:
            offering_id, name = f"{slug}-24m", f"{name}, 24 instalments"
            cost = price(account, Decimal(dollars) / 24, "USD", customer, MONTH, 24)
            yield offering_id, device(account, offering_id, slug, name, kind, cost, customer, False, text)


def device(account: Account, offering_id: str, slug: str, name: str, kind: str, cost: dict, customer: str,
           clearance: bool, text: str) -> dict:
    rng = account.rng(offering_id)
    group_name, box = DEVICE_KINDS[kind]
    shown = shown_text(slug, text, cost["currency"])
    return {
        "name": name,
        "price": cost,
        "customerType": customer,
        "description": f"{name}. {shown}",
        "richContent": rich("en", f"🛒 {name}", [html.escape(shown, quote=False), *rng.sample(DEVICE_POINTS, 3)],
                            "<h4>In the box</h4>" + html_list(box)),
        "product": product(slug, "EXTERNAL_PRODUCT", "EXTERNAL_PRODUCT"),
        "group": group(f"devices-{kind}", group_name, "EXTERNAL_PRODUCT", "Devices to go with a plan."),
        "addonCategories": ["EXTERNAL_PRODUCT_ADDON"],
        "imageUrl": f"{IMAGE_HOST}/devices/{slug}.webp",
        "metadata": {"ean": f"40{rng.randint(10**10, 10**11 - 1)}", "weightGrams": rng.randint(20, 900),
                     "colours": rng.sample(["noir", "crème", "grün", "azul", "różowy", "silver"], 2),
                     "dualSim": kind == "phone"},
        "productCatalogIds": ["clearance"] if clearance else catalogs(rng, customer),
    }


def device_addons(account: Account) -> Offerings:
    for position, (slug, name, customer, dollars, period, text) in enumerate(DEVICE_ADDONS):
        if not account.sells_to(customer):
            continue
        for currency in rotating(DEVICE_CURRENCIES, position, account.device_currencies + 1):
            offering_id = f"addon-{slug}-{currency.lower()}"
            rng = account.rng(offering_id)
            shown = shown_text(slug, text, currency)
            insured = slug.startswith("insurance")
            yield offering_id, {
                "name": name,
                "price": price(account, dollars, currency, customer, period),
                "customerType": customer,
                "description": shown,
                "richContent": rich("en", f"🛡️ {name}", [html.escape(shown, quote=False), *rng.sample(DEVICE_POINTS, 2)],
                                    "<p>Added to the order of a device; not sold alone.</p>"),
                "product": product(slug, "EXTERNAL_PRODUCT", "EXTERNAL_PRODUCT_ADDON"),
                "group": group("device-services", "Device Services", "EXTERNAL_PRODUCT_ADDON", "Cover & care for devices."),
                "imageUrl": f"{IMAGE_HOST}/services/{slug}.png",
                "metadata": {"provider": {"name": "Müller & Søn" if insured else "In-house", "external": insured}},
                "productCatalogIds": catalogs(rng, customer),
            }


FAMILIES = [mobile_plans, prepaid_plans, data_sims, broadband, m2m_plans, travel_subscriptions, country_packages,
            day_passes, area_packages, storefront_packages, extra_data, abroad, licenses, devices, device_addons]


def rotating(items: list[str], start: int, count: int) -> list[str]:
    return [items[(start + step) % len(items)] for step in range(count)]


def catalogs(rng: random.Random, customer: str) -> list[str] | None:
    if customer == B:
        return rng.choice([["enterprise"], ["enterprise", "partner"], ["enterprise", "web"]])
    return rng.choice([["retail", "web"], ["retail", "web"], ["web"], ["retail", "web", "partner"], None])


def plan_metadata(rng: random.Random, unlimited: bool, market: str) -> dict:
    result = {"market": market, "salesRank": rng.randint(1, 40)}
    if unlimited:
        result["unlimitedData"] = True
    if rng.random() < 0.5:
        result["legal"] = {"terms": f"terms-{market.lower()}-v{rng.randint(1, 6)}", "coolingOffDays": 14}
    return result


def travel_metadata(rng: random.Random, gb: int | None, language: str) -> dict:
    return rng.choice([
        {},
        {"hotspot": True, "speed": rng.choice(["4G", "5G"])},
        {"tags": rng.sample(TAGS, 2), "salesRank": rng.randint(1, 300)},
        {"locale": language, "seo": {"title": f"eSIM {gb}GB" if gb else "eSIM unlimited", "noindex": rng.random() < 0.2}},
        {"supplier": {"ref": f"RH-{rng.randint(1000, 9999)}", "costUsd": Decimal(rng.randint(80, 900)) / 100}},
    ])


# ---------------------------------------------------------------------------------------------
# Records
# ---------------------------------------------------------------------------------------------

FIELD_ORDER = ["kind", "productOfferingId", "status", "name", "price", "customerType", "description", "richContent",
               "product", "group", "addonCategories", "internalDescription", "imageUrl", "metadata",
               "productCatalogIds", "createdAt", "updatedAt"]
DROPPABLE = ["description", "richContent", "group", "internalDescription", "imageUrl", "metadata"]


def offering_record(account: Account, offering_id: str, fields: dict) -> dict:
    rng = account.rng(offering_id + "/record")
    named = {promoted for promotion in PROMOTIONS[account.name] for promoted in promotion.get("productOfferingIds", [])}
    if rng.random() < MINIMAL_SHARE and offering_id not in named:
        return minimal_record(offering_id, fields)
    archived = rng.random() < ARCHIVED_SHARE and offering_id not in named
    created, updated = timestamps(rng, archived)
    record = fields | {
        "kind": "offering",
        "productOfferingId": offering_id,
        "status": "ARCHIVED" if archived else "AVAILABLE",
        "internalDescription": f"{account.name.lower()}_{offering_id.replace('-', '_')}",
        "createdAt": created,
        "updatedAt": updated,
    }
    if rng.random() < THINNED_SHARE and offering_id not in named:
        for name in rng.sample(DROPPABLE, rng.randint(1, 2)):
            del record[name]
    return {name: record[name] for name in FIELD_ORDER if record.get(name) is not None}


def minimal_record(offering_id: str, fields: dict) -> dict:
    kept = ("currency", "priceType", "grossPrice", "billingCycle")
    return {
        "kind": "offering",
        "productOfferingId": offering_id,
        "name": fields["name"],
        "price": {name: value for name, value in fields["price"].items() if name in kept},
        "customerType": fields["customerType"],
        "product": {name: fields["product"][name] for name in ("productId", "type")},
    }


def timestamps(rng: random.Random, archived: bool) -> tuple[str, str]:
    """Created in 2023 to 2025 (2023 when archived), updated by the end of January 2026."""
    start, last = datetime(2023, 1, 9, 7), datetime(2026, 1, 31, 18)
    created = start + timedelta(days=rng.randrange(340 if archived else 1000), minutes=rng.randrange(600),
                                milliseconds=rng.randrange(60000))
    updated = created + (last - created) * rng.choice([0, 1, 1]) * rng.random()
    return timestamp(created), timestamp(updated)


def timestamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds") + "Z"


def records(account: Account) -> list[dict]:
    offerings = [offering_record(account, offering_id, fields)
                 for family in FAMILIES for offering_id, fields in family(account)]
    promotions = [{"kind": "promotion"} | promotion for promotion in PROMOTIONS[account.name]]
    check(offerings, promotions)
    return offerings + promotions


def check(offerings: list[dict], promotions: list[dict]) -> None:
    ids = Counter(offering["productOfferingId"] for offering in offerings)
    repeated = [offering_id for offering_id, count in ids.items() if count > 1]
    unknown = [offering_id for promotion in promotions for offering_id in promotion.get("productOfferingIds", [])
               if offering_id not in ids]
    if repeated or unknown:
        raise ValueError(f"repeated offerings: {repeated}; promoted but not sold: {unknown}")
