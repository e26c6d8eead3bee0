//! Countries, regions, and which region contains which country.
//!
//! Countries are ISO 3166-1 alpha-2 codes, plus `XK` (Kosovo, a user-assigned code, because mobile networks
//! there carry it). The regions are the eight of the published API (Connect). Which region contains a country
//! follows the United Nations' M49 geoscheme: the Caribbean and Central America belong to North America,
//! Western Asia is the Middle East, and the rest of Asia with Oceania is Asia-Pacific. Two deviations follow
//! the usage of travel products: Cyprus belongs to Europe, and Iran to the Middle East.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::{parsed, spelled_enum};

spelled_enum! {
    /// A coverage region.
    pub enum Region {
        /// Europe, Russia and Cyprus included.
        Europe = "EUROPE",
        /// Both Americas.
        Americas = "AMERICAS",
        /// Asia without the Middle East, and Oceania.
        AsiaPacific = "ASIA_PACIFIC",
        /// Everywhere.
        Global = "GLOBAL",
        /// Northern and Central America and the Caribbean.
        NorthAmerica = "NORTH_AMERICA",
        /// South America.
        SouthAmerica = "SOUTH_AMERICA",
        /// Africa.
        Africa = "AFRICA",
        /// Western Asia and Iran.
        MiddleEast = "MIDDLE_EAST",
    }
}

impl Region {
    /// The region itself and all regions that contain it.
    #[must_use]
    pub const fn with_containing(self) -> &'static [Self] {
        match self {
            Self::Global => &[Self::Global],
            Self::Americas => &[Self::Americas, Self::Global],
            Self::NorthAmerica => &[Self::NorthAmerica, Self::Americas, Self::Global],
            Self::SouthAmerica => &[Self::SouthAmerica, Self::Americas, Self::Global],
            Self::Europe => &[Self::Europe, Self::Global],
            Self::AsiaPacific => &[Self::AsiaPacific, Self::Global],
            Self::Africa => &[Self::Africa, Self::Global],
            Self::MiddleEast => &[Self::MiddleEast, Self::Global],
        }
    }
}

/// A country, identified by its two-letter code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country([u8; 2]);

crate::schema::schema!(Country, { "type": "string", "pattern": "^[A-Z]{2}$" });

impl Country {
    /// Parses an ISO 3166-1 alpha-2 code in upper case.
    ///
    /// # Errors
    /// The message for the sender.
    pub fn parse(code: &str) -> Result<Self, String> {
        match code.as_bytes() {
            &[a, b] if region_of([a, b]).is_some() => Ok(Self([a, b])),
            _ => {
                Err("must be an ISO 3166-1 alpha-2 country code in upper case, such as GH"
                    .to_owned())
            }
        }
    }

    /// All countries, region by region.
    pub fn all() -> impl Iterator<Item = Self> {
        let codes = COUNTRIES.iter().flat_map(|(_, codes)| codes.split_ascii_whitespace());
        codes.filter_map(|code| Self::parse(code).ok())
    }

    #[must_use]
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// All regions that contain the country, the widest last.
    #[must_use]
    pub fn regions(self) -> &'static [Region] {
        region_of(self.0).unwrap_or(Region::Global).with_containing()
    }
}

parsed!(Country, code, String);

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The smallest region that contains a country; `None` if there is no such country.
fn region_of(code: [u8; 2]) -> Option<Region> {
    COUNTRIES.iter().find_map(|(region, codes)| {
        codes.split_ascii_whitespace().any(|c| c.as_bytes() == code).then_some(*region)
    })
}

/// All countries by the smallest region that contains them (UN M49, with the deviations that the module
/// lists). Only GLOBAL contains Antarctica.
const COUNTRIES: &[(Region, &str)] = &[
    (
        Region::Europe,
        "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT \
         LU LV MC MD ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        Region::NorthAmerica,
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA \
         PM PR SV SX TC TT US VC VG VI",
    ),
    (Region::SouthAmerica, "AR BO BR BV CL CO EC FK GF GS GY PE PY SR UY VE"),
    (
        Region::AsiaPacific,
        "AF AS AU BD BN BT CC CK CN CX FJ FM GU HK HM ID IN JP KG KH KI KP KR KZ LA LK MH MM MN MO MP \
         MV MY NC NF NP NR NU NZ PF PG PH PK PN PW SB SG TH TJ TK TL TM TO TV TW UM UZ VN VU WF WS",
    ),
    (
        Region::Africa,
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW IO KE KM LR LS LY MA MG \
         ML MR MU MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TF TG TN TZ UG YT ZA ZM ZW",
    ),
    (Region::MiddleEast, "AE AM AZ BH GE IL IQ IR JO KW LB OM PS QA SA SY TR YE"),
    (Region::Global, "AQ"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_the_249_countries_of_iso_3166_and_kosovo_each_once() {
        let mut countries: Vec<Country> = Country::all().collect();
        assert_eq!(countries.len(), 250);
        countries.sort_unstable();
        countries.dedup();
        assert_eq!(countries.len(), 250);
    }

    #[test]
    fn a_country_lies_in_its_region_and_in_all_that_contain_it() {
        let regions = |code: &str| Country::parse(code).expect(code).regions();
        assert_eq!(regions("US"), [Region::NorthAmerica, Region::Americas, Region::Global]);
        assert_eq!(regions("BR"), [Region::SouthAmerica, Region::Americas, Region::Global]);
        assert_eq!(regions("GH"), [Region::Africa, Region::Global]);
        assert_eq!(regions("AQ"), [Region::Global]);
    }

    #[test]
    fn a_country_is_shown_as_its_code() {
        let ghana = Country::parse("GH").expect("a country");
        assert_eq!(format!("{ghana} {ghana:?}"), "GH GH");
    }

    #[test]
    fn what_is_no_country_is_refused() {
        for code in ["", "G", "GHA", "gh", "XX", "ZZ", "UK", "É", "🇬🇭"] {
            let error = Country::parse(code).expect_err(code);
            let message = "must be an ISO 3166-1 alpha-2 country code in upper case, such as GH";
            assert_eq!(error, message, "{code:?}");
        }
    }
}
