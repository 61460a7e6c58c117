//! Kubernetes quantities: `500m`, `10Gi`, `1e3`.

use std::str::FromStr;

use schemars::{Schema, SchemaGenerator, json_schema};

/// The form that the API server accepts, as controller-gen writes it for every quantity in a CRD, without the
/// sign of what is below zero: nobody can have less than nothing of a resource.
const QUANTITY_PATTERN: &str = r"^\+?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAQuantity(String);

impl std::fmt::Display for NotAQuantity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{:?} is not a quantity; right would be, for example, 500m or 10Gi",
            self.0
        )
    }
}

impl std::error::Error for NotAQuantity {}

/// The value of a quantity in thousandths, the finest that Kubernetes keeps; finer parts round up.
///
/// # Errors
/// When `text` does not have the form of a quantity, or is beyond what fits.
pub fn quantity_millis(text: &str) -> Result<i128, NotAQuantity> {
    parse(text).ok_or_else(|| NotAQuantity(text.to_owned()))
}

/// The schema of a map from resource name to quantity; a bare number is a quantity too.
pub(crate) fn quantities_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "pattern": QUANTITY_PATTERN,
            "x-kubernetes-int-or-string": true,
        },
    })
}

fn parse(text: &str) -> Option<i128> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let digits_end = unsigned
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(digits_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // More digits than this mean a value that Kubernetes cannot hold either (2^63 - 1).
    if (whole.is_empty() && fraction.is_empty()) || number.len() > 30 || fraction.contains('.') {
        return None;
    }
    let (base, exponent) = scale(suffix)?;
    let mantissa = i128::from_str(&format!("0{whole}{fraction}")).ok()?;
    let scaled = mantissa.checked_mul(1000)?.checked_mul(base)?;
    let decimals = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = 10_i128.checked_pow(decimals.unsigned_abs())?;
    let millis = if decimals >= 0 {
        scaled.checked_mul(power)?
    } else {
        (scaled + power - 1) / power
    };
    Some(if negative { -millis } else { millis })
}

/// The factor and the power of ten that a suffix stands for.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "" => (1, 0),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            (
                1,
                i32::from_str(exponent)
                    .ok()
                    .filter(|exponent| exponent.abs() <= 30)?,
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::quantity_millis;

    #[test]
    fn quantities_that_are_equal_in_value_are_equal() {
        for (left, right) in [
            ("1", "1000m"),
            ("1Gi", "1024Mi"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1k"),
            ("+.5", "500m"),
            ("5.", "5"),
            ("0.0001", "1m"),
            ("-1k", "-1000"),
            ("16Ei", "16384Pi"),
        ] {
            assert_eq!(
                quantity_millis(left),
                quantity_millis(right),
                "{left} and {right}"
            );
            assert!(quantity_millis(left).is_ok(), "{left}");
        }
    }

    #[test]
    fn what_is_not_a_quantity_is_refused_by_name() {
        for text in [
            "", "-", ".", "Gi", "1GiB", "ten", "1 Gi", "1.2.3", "1e", "1e99", "--1", "1_000",
        ] {
            let error = quantity_millis(text).expect_err(text);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }
}
