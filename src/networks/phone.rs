//! Phone numbers, and the carriers that their prefixes belong to.
//!
//! `data/phone_prefixes.py` generates the table from libphonenumber's prefixes. It is text, and searched
//! without parsing it first (binary search): lines of equal length, sorted by number, each with the beginning
//! of a range and the number of its carrier.

use std::fmt;

use crate::geography::Country;

const PREFIXES: &[u8] = include_bytes!("phone_prefixes.txt");
const CARRIERS: &str = include_str!("carriers.txt");

/// The number of digits of a range's beginning.
const DIGITS: usize = 9;

/// The length of a line: `233540000 0119` and the line break.
const LINE: usize = DIGITS + 1 + 4 + 1;

/// A phone number in E.164 format: a plus and 7 to 15 digits, of which the first are a country's calling
/// code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// Parses an international number. Spaces, hyphens, dots and brackets are ignored. The plus may be
    /// missing, because in a query string an unescaped plus arrives as a space.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.strip_prefix('+').unwrap_or(text);
        let mut number = "+".to_owned();
        for character in digits.chars() {
            match character {
                '0'..='9' => number.push(character),
                ' ' | '-' | '.' | '(' | ')' => {}
                _ => return None,
            }
        }
        // No calling code begins with 0 (ITU-T E.164).
        let is_number = (8..=16).contains(&number.len()) && !number.starts_with("+0");
        is_number.then_some(Self(number))
    }

    /// The carrier of the number's prefix, if it is known.
    #[must_use]
    pub fn carrier(&self) -> Option<Carrier> {
        let mut digits = self.0.as_bytes()[1..].to_vec();
        digits.resize(DIGITS, b'0');
        let (mut from, mut to) = (0, PREFIXES.len() / LINE);
        // Find the last range that begins at or before the number.
        while from < to {
            let middle = usize::midpoint(from, to);
            if line(middle)[..DIGITS] <= digits[..] {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        let found = line(from.checked_sub(1)?);
        let place = std::str::from_utf8(&found[DIGITS + 1..LINE - 1]).ok()?.parse().ok()?;
        let mut parts = CARRIERS.lines().nth(place)?.split('|');
        let countries = parts.next()?.split(',').filter_map(|code| Country::parse(code).ok());
        Some(Carrier { countries: countries.collect(), names: parts.collect() })
    }
}

fn line(place: usize) -> &'static [u8] {
    &PREFIXES[place * LINE..(place + 1) * LINE]
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The carrier that a prefix was assigned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carrier {
    /// The countries in which it may be: some share a calling code.
    pub countries: Vec<Country>,
    /// Its names, from different lists.
    pub names: Vec<&'static str>,
}

/// How well a network's name matches a carrier's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// It contains all words of a carrier's name, and others: `MTN Ghana`.
    Words,
    /// It equals a carrier's name, except for case and spaces.
    Same,
}

impl Carrier {
    /// Whether a network of one of the countries is this carrier, judging by its name.
    #[must_use]
    pub fn is_called(&self, network: &str) -> Option<Likeness> {
        let given = words(network);
        let likeness = |name: &&str| {
            let wanted = words(name);
            if wanted.concat() == given.concat() {
                Some(Likeness::Same)
            } else if wanted.iter().all(|word| given.contains(word)) {
                Some(Likeness::Words)
            } else {
                None
            }
        };
        self.names.iter().filter_map(likeness).max()
    }
}

fn words(name: &str) -> Vec<String> {
    let lower = name.to_lowercase();
    let words = lower.split(|character: char| !character.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carrier(number: &str) -> Option<(Vec<String>, Vec<&'static str>)> {
        let found = PhoneNumber::parse(number).expect("a number").carrier()?;
        Some((
            found.countries.iter().map(|country| country.code().to_owned()).collect(),
            found.names,
        ))
    }

    #[test]
    fn a_number_is_read_however_it_is_spaced() {
        for text in ["+233541112259", " 233541112259", "+233 54-111.2259", "+233 (54) 1112259"] {
            assert_eq!(PhoneNumber::parse(text).expect(text).to_string(), "+233541112259");
        }
        for text in
            ["", "+", "mtn", "+0233541112259", "+12345", "+1234567890123456", "++233541112259"]
        {
            assert_eq!(PhoneNumber::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_longest_prefix_of_a_number_tells_its_carrier() {
        assert_eq!(carrier("+233541112259"), Some((vec!["GH".to_owned()], vec!["MTN"])));
        assert_eq!(carrier("+2335411"), Some((vec!["GH".to_owned()], vec!["MTN"])));
        assert_eq!(
            carrier("+447400000000").map(|(countries, _)| countries),
            Some(vec!["GB".to_owned()])
        );
        // Of the countries that share a calling code, the one that the digits after it belong to.
        for (number, country) in
            [("+18765512345", "JM"), ("+12687251234", "AG"), ("+77011234567", "KZ")]
        {
            let (countries, _) = carrier(number).expect(number);
            assert_eq!(countries, [country], "{number}");
        }
        // A landline, and a calling code that is not assigned.
        assert_eq!(carrier("+233302000000"), None);
        assert_eq!(carrier("+999999999999"), None);
        assert_eq!(carrier("+1000000"), None);
    }

    #[test]
    fn the_table_is_sorted_and_each_of_its_carriers_is_known() {
        assert_eq!(PREFIXES.len() % LINE, 0);
        let carriers = CARRIERS.lines().count();
        let mut before: &[u8] = b"";
        for place in 0..PREFIXES.len() / LINE {
            let line = line(place);
            assert!(line[..DIGITS] > *before && line[LINE - 1] == b'\n');
            let number: usize =
                String::from_utf8_lossy(&line[DIGITS + 1..LINE - 1]).parse().expect("a number");
            assert!(number < carriers || number == 9_999);
            before = &line[..DIGITS];
        }
        for line in CARRIERS.lines() {
            let (countries, names) = line.split_once('|').expect("countries");
            assert!(countries.split(',').all(|code| Country::parse(code).is_ok()), "{line}");
            assert!(names.split('|').all(|name| !words(name).is_empty()), "{line}");
        }
    }

    #[test]
    fn a_network_is_found_by_any_of_the_carriers_names() {
        let carrier = Carrier { countries: Vec::new(), names: vec!["at", "AirtelTigo"] };
        assert_eq!(carrier.is_called("Airtel Tigo"), Some(Likeness::Same));
        assert_eq!(carrier.is_called("AirtelTigo Ghana"), Some(Likeness::Words));
        assert_eq!(carrier.is_called("MTN"), None);
        assert_eq!(carrier.is_called("Dat"), None);
    }
}
