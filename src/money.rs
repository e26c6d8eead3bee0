//! Money: exact decimals and ISO 4217 currencies.
//!
//! Amounts are decimal end to end: an amount is parsed from the text of a JSON number and written back as
//! one, and is never a binary float.

use std::fmt;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use serde_json::value::RawValue;

use crate::text::parsed;

/// An exact decimal amount: up to 28 significant digits, at most 28 of them after the decimal point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Amount(Decimal);

/// Why a number is not a valid [`Amount`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a number in JSON's sense (RFC 8259 section 6).
    #[error("must be a number")]
    NotANumber,
    /// A number that 28 decimal digits cannot hold exactly.
    #[error("must be a number of at most 28 digits")]
    TooPrecise,
}

impl Amount {
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Parses a JSON number, with or without an exponent, without rounding.
    ///
    /// # Errors
    /// [`AmountError`] if the text is not a JSON number or needs more than 28 digits.
    pub fn parse(text: &str) -> Result<Self, AmountError> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (unsigned, None),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return Err(AmountError::NotANumber),
            Some((whole, fraction)) => (whole, fraction),
            None => (mantissa, ""),
        };
        let digits_only = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if whole.is_empty() || leading_zero || !digits_only(whole) || !digits_only(fraction) {
            return Err(AmountError::NotANumber);
        }
        let exponent = exponent.map_or(Ok(0), parse_exponent)?;

        let digits = format!("{whole}{fraction}");
        let significant = digits.trim_start_matches('0');
        if significant.is_empty() {
            return Ok(Self::ZERO);
        }
        let trimmed = significant.trim_end_matches('0');
        let dropped_zeros = significant.len() - trimmed.len();
        let too_precise = |_| AmountError::TooPrecise;
        // The value is `trimmed` times ten to the power of minus `scale`.
        let scale = i64::try_from(fraction.len()).map_err(too_precise)?
            - i64::try_from(dropped_zeros).map_err(too_precise)?
            - exponent;
        let zeros = usize::try_from(-scale.min(0)).map_err(too_precise)?;
        if trimmed.len().saturating_add(zeros) > 28 {
            return Err(AmountError::TooPrecise);
        }
        let mut value: i128 = format!("{trimmed}{}", "0".repeat(zeros))
            .parse()
            .map_err(|_| AmountError::TooPrecise)?;
        if negative {
            value = -value;
        }
        let scale = u32::try_from(scale.max(0)).map_err(too_precise)?;
        Decimal::try_from_i128_with_scale(value, scale)
            .map(Self)
            .map_err(|_| AmountError::TooPrecise)
    }

    #[must_use]
    pub fn is_negative(self) -> bool {
        self < Self::ZERO
    }

    /// This percentage of the amount, not rounded; `None` if it does not fit into 28 digits.
    #[must_use]
    pub fn percent(self, percent: Self) -> Option<Self> {
        self.0.checked_mul(percent.0)?.checked_div(Decimal::ONE_HUNDRED).map(Self)
    }

    /// The difference, or zero if it would be negative.
    #[must_use]
    pub fn minus_floored(self, other: Self) -> Self {
        Self(self.0.checked_sub(other.0).unwrap_or_default().max(Decimal::ZERO))
    }

    /// The amount as an integer; `None` if it has a fraction or is negative.
    #[must_use]
    pub fn whole(self) -> Option<u128> {
        let normal = self.0.normalize();
        (normal.scale() == 0).then(|| u128::try_from(normal.mantissa()).ok())?
    }

    /// Rounds half to even, to the currency's minor unit (JPY 0 digits, USD 2, KWD 3). An amount in a
    /// currency without a minor unit (such as gold) keeps all its digits.
    #[must_use]
    pub fn round_to(self, currency: Currency) -> Self {
        match currency.minor_digits() {
            Some(digits) => {
                Self(self.0.round_dp_with_strategy(digits, RoundingStrategy::MidpointNearestEven))
            }
            None => self,
        }
    }
}

/// Parses an exponent. One beyond a thousand is out of range for any amount.
fn parse_exponent(text: &str) -> Result<i64, AmountError> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AmountError::NotANumber);
    }
    let size: i64 = unsigned.parse().unwrap_or(i64::MAX).min(1_000);
    Ok(if text.starts_with('-') { -size } else { size })
}

impl From<u64> for Amount {
    fn from(whole: u64) -> Self {
        Self(whole.into())
    }
}

impl fmt::Display for Amount {
    /// Plain digits, without exponent and trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.normalize(), f)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse(raw.get()).map_err(D::Error::custom)
    }
}

crate::schema::schema!(Amount, { "type": "number" });

/// An ISO 4217 currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency(iso_currency::Currency);

crate::schema::schema!(Currency, { "type": "string", "pattern": "^[A-Z]{3}$" });

#[derive(Debug, thiserror::Error)]
#[error("must be an ISO 4217 currency code such as USD")]
pub struct UnknownCurrency;

impl Currency {
    /// The US dollar: the default wallet currency.
    pub const USD: Self = Self(iso_currency::Currency::USD);

    /// Parses a code in upper case.
    ///
    /// # Errors
    /// [`UnknownCurrency`].
    pub fn parse(code: &str) -> Result<Self, UnknownCurrency> {
        iso_currency::Currency::from_code(code).map(Self).ok_or(UnknownCurrency)
    }

    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// The number of decimal digits of its minor unit; `None` if it has no minor unit.
    #[must_use]
    pub fn minor_digits(self) -> Option<u32> {
        self.0.exponent().map(u32::from)
    }
}

parsed!(Currency, code, UnknownCurrency);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written_exactly() {
        for (written, read) in [
            ("0.1", "0.1"),
            ("19.99", "19.99"),
            ("12345678901234.56", "12345678901234.56"),
            ("1e-7", "0.0000001"),
            ("2.50", "2.5"),
            ("49", "49"),
            ("1E3", "1000"),
            ("-0", "0"),
            ("0e999999999999999999999", "0"),
            ("0.10e1", "1"),
            ("-4.05", "-4.05"),
            ("9999999999999999999999999999", "9999999999999999999999999999"),
            ("-0.0000000000000000000000000001", "-0.0000000000000000000000000001"),
            ("1234567890123456789012345678e-28", "0.1234567890123456789012345678"),
        ] {
            let amount: Amount = serde_json::from_str(written).expect(written);
            assert_eq!(serde_json::to_string(&amount).expect(written), read, "{written}");
        }
    }

    #[test]
    fn what_is_no_exact_number_is_refused() {
        for text in
            ["", "-", "+1", ".5", "1.", "01", "1e", "1e+", "NaN", "Infinity", "0x10", "1_0", "1 "]
        {
            assert_eq!(Amount::parse(text), Err(AmountError::NotANumber), "{text:?}");
        }
        for text in [
            "1e400",
            "1e-400",
            "1e-29",
            "1e28",
            "1e99999999999999999999",
            "0.12345678901234567890123456789",
            "10000000000000000000000000001",
        ] {
            assert_eq!(Amount::parse(text), Err(AmountError::TooPrecise), "{text}");
        }
        assert!(serde_json::from_str::<Amount>("\"5\"").is_err());
        assert!(serde_json::from_str::<Amount>("null").is_err());
    }

    #[test]
    fn only_an_amount_below_zero_is_negative_and_only_one_without_a_fraction_is_whole() {
        for (text, is_negative, whole) in [
            ("-1", true, None),
            ("-0.1", true, None),
            ("0", false, Some(0)),
            ("1.50", false, None),
            ("2.00", false, Some(2)),
            ("12e2", false, Some(1_200)),
        ] {
            let amount = Amount::parse(text).expect(text);
            assert_eq!((amount.is_negative(), amount.whole()), (is_negative, whole), "{text}");
        }
    }

    #[test]
    fn a_percentage_is_not_rounded_and_a_difference_is_at_least_zero() {
        let amount = |text: &str| Amount::parse(text).expect(text);
        assert_eq!(amount("19.99").percent(amount("12.5")), Some(amount("2.49875")));
        let most = amount("9999999999999999999999999999");
        assert_eq!(most.percent(most), None);
        assert_eq!(amount("3").minus_floored(amount("1.5")), amount("1.5"));
        assert_eq!(amount("1.5").minus_floored(amount("3")), Amount::ZERO);
    }

    #[test]
    fn a_currency_is_known_by_its_code_and_the_digits_of_its_minor_unit() {
        for (code, digits) in [("JPY", Some(0)), ("USD", Some(2)), ("KWD", Some(3)), ("XAU", None)]
        {
            let currency = Currency::parse(code).expect(code);
            assert_eq!((currency.code(), currency.minor_digits()), (code, digits));
        }
        let error = Currency::parse("usd").expect_err("lower case").to_string();
        assert_eq!(error, "must be an ISO 4217 currency code such as USD");
    }

    #[test]
    fn rounding_is_half_to_even_in_the_minor_unit() {
        let round = |text: &str, code: &str| {
            let currency = Currency::parse(code).expect(code);
            Amount::parse(text).expect(text).round_to(currency).to_string()
        };
        assert_eq!(round("0.125", "USD"), "0.12");
        assert_eq!(round("0.135", "USD"), "0.14");
        assert_eq!(round("2.5", "JPY"), "2");
        assert_eq!(round("3.5", "JPY"), "4");
        assert_eq!(round("1.2345", "KWD"), "1.234");
        assert_eq!(round("1.23456789", "XAU"), "1.23456789");
    }
}
