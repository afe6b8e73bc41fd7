//! Single values: what a text in YAML or JSON means for a field of a kind.
//!
//! The way is Envoy's own: YAML becomes JSON first (quoted texts are strings; of plain ones, those
//! that YAML 1.1 takes for booleans and whole numbers are that, and all others, fractions
//! included, are strings), and then the JSON mapping of protobuf decides.

use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use prost_reflect::{EnumDescriptor, Kind, MapKey, Value};

use super::diagnostic::{Fault, shown};
use super::spelling::Speller;

/// A text as JSON would have it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar<'a> {
    Bool(bool),
    Integer(i128),
    Text(&'a str),
}

// === impl Scalar ===

impl<'a> Scalar<'a> {
    pub(super) fn of(text: &'a str, plain: bool) -> Self {
        if !plain {
            return Self::Text(text);
        }
        match (yaml_bool(text), yaml_integer(text)) {
            (Some(b), _) => Self::Bool(b),
            (None, Some(n)) => Self::Integer(n),
            (None, None) => Self::Text(text),
        }
    }
}

/// `true`, `no`, `On` …: in lower case, in upper case, or capitalized.
fn yaml_bool(text: &str) -> Option<bool> {
    let lower = text.to_ascii_lowercase();
    let rest = text.get(1..)?;
    let one_case = text == lower
        || text == text.to_ascii_uppercase()
        || (text.starts_with(|c: char| c.is_ascii_uppercase())
            && rest == rest.to_ascii_lowercase());
    match lower.as_str() {
        _ if !one_case => None,
        "y" | "yes" | "true" | "on" => Some(true),
        "n" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// Decimal, hexadecimal (`0x`) or octal (`0`), of 64 bits with a sign.
fn yaml_integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let magnitude = if let Some(hex) = digits
        .strip_prefix('0')
        .and_then(|rest| rest.strip_prefix(['x', 'X']))
    {
        i128::from_str_radix(hex, 16).ok()?
    } else if digits.len() > 1 && digits.starts_with('0') {
        i128::from_str_radix(digits, 8).ok()?
    } else {
        digits.parse().ok()?
    };
    let value = if negative { -magnitude } else { magnitude };
    i64::try_from(value).is_ok().then_some(value)
}

/// The value for a field of this kind; messages are read elsewhere.
pub(super) fn read(
    kind: &Kind,
    text: &str,
    plain: bool,
    speller: &Speller,
) -> Result<Value, Fault> {
    let scalar = Scalar::of(text, plain);
    match kind {
        Kind::Bool => match scalar {
            Scalar::Bool(b) => Ok(Value::Bool(b)),
            Scalar::Text("true" | "false") => Err(Fault::new(
                "expected true or false, found a text",
                "remove the quotes",
            )),
            _ => Err(Fault::new(
                format!("expected true or false, found {}", shown(text)),
                "",
            )),
        },
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            integer(&scalar, text, i32::MIN, i32::MAX).map(Value::I32)
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            integer(&scalar, text, i64::MIN, i64::MAX).map(Value::I64)
        }
        Kind::Uint32 | Kind::Fixed32 => integer(&scalar, text, 0, u32::MAX).map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => integer(&scalar, text, 0, u64::MAX).map(Value::U64),
        Kind::Double => number(&scalar, text).map(Value::F64),
        Kind::Float => {
            let wide = number(&scalar, text)?;
            // Rounding is what a float does.
            let narrow = wide as f32;
            if wide.is_finite() && !narrow.is_finite() {
                return Err(Fault::new(
                    format!("{} is too large for a float", shown(text)),
                    "",
                ));
            }
            Ok(Value::F32(narrow))
        }
        Kind::String => match scalar {
            Scalar::Text(text) => Ok(Value::String(text.to_owned())),
            Scalar::Bool(_) => Err(not_a_text("a boolean", text)),
            Scalar::Integer(_) => Err(not_a_text("a number", text)),
        },
        Kind::Bytes => match scalar {
            Scalar::Text(text) => from_base64(text),
            Scalar::Bool(_) => Err(not_a_text("a boolean", text)),
            Scalar::Integer(_) => Err(not_a_text("a number", text)),
        },
        Kind::Enum(descriptor) => enumeration(descriptor, &scalar, text, speller),
        Kind::Message(_) => Err(Fault::new(
            format!("expected a mapping, found {}", shown(text)),
            "",
        )),
    }
}

/// The key of a map, which is a text whatever its kind.
pub(super) fn read_key(kind: &Kind, text: &str, speller: &Speller) -> Result<MapKey, Fault> {
    let value = match (kind, text) {
        (Kind::Bool, "true") => Value::Bool(true),
        (Kind::Bool, "false") => Value::Bool(false),
        (kind, text) => read(kind, text, false, speller)?,
    };
    value
        .into_map_key()
        .ok_or_else(|| Fault::new(format!("{} can't be a key here", shown(text)), ""))
}

fn not_a_text(found: &str, text: &str) -> Fault {
    Fault::new(
        format!("expected a text, found {found}"),
        format!("put it in quotes: \"{text}\""),
    )
}

fn integer<T>(scalar: &Scalar<'_>, text: &str, min: T, max: T) -> Result<T, Fault>
where
    T: Into<i128> + TryFrom<i128> + Copy,
{
    let (min, max): (i128, i128) = (min.into(), max.into());
    let range = || format!("it takes whole numbers from {min} to {max}");
    let value = match scalar {
        Scalar::Integer(value) => Some(*value),
        Scalar::Text(text) => whole(text),
        Scalar::Bool(_) => None,
    };
    let Some(value) = value else {
        return Err(Fault::new(
            format!("expected a whole number, found {}", shown(text)),
            range(),
        ));
    };
    T::try_from(value).map_err(|_| Fault::new(format!("{} is out of range", shown(text)), range()))
}

/// A whole number as JSON writes it, be it `5`, `5.0` or `5e0`.
fn whole(text: &str) -> Option<i128> {
    if text
        .chars()
        .any(|c| !(c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E')))
    {
        return None;
    }
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    let value: f64 = text.parse().ok()?;
    // Below 2^53 and whole.
    (value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0).then_some(value as i128)
}

fn number(scalar: &Scalar<'_>, text: &str) -> Result<f64, Fault> {
    let expected = || Fault::new(format!("expected a number, found {}", shown(text)), "");
    // Envoy's parser of JSON minds no blanks around a fraction in quotes.
    let scalar = match scalar {
        Scalar::Text(text) => &Scalar::Text(text.trim_ascii()),
        other => other,
    };
    match scalar {
        // Rounding is what a double does.
        Scalar::Integer(value) => Ok(*value as f64),
        Scalar::Text("NaN") => Ok(f64::NAN),
        Scalar::Text("Infinity") => Ok(f64::INFINITY),
        Scalar::Text("-Infinity") => Ok(f64::NEG_INFINITY),
        Scalar::Text(text)
            if !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E')) =>
        {
            let value: f64 = text.parse().map_err(|_| expected())?;
            if value.is_finite() {
                Ok(value)
            } else {
                Err(Fault::new(
                    format!("{} is too large for a double", shown(text)),
                    "",
                ))
            }
        }
        _ => Err(expected()),
    }
}

fn from_base64(text: &str) -> Result<Value, Fault> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let standard = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
    let url_safe = GeneralPurpose::new(&base64::alphabet::URL_SAFE, config);
    standard
        .decode(text)
        .or_else(|_| url_safe.decode(text))
        .map(|bytes| Value::Bytes(bytes.into()))
        .map_err(|cause| {
            Fault::new(
                format!("not base64: {}", cause.to_string().to_lowercase()),
                "bytes are written in base64; where there is an `inline_string`, it takes text",
            )
        })
}

/// The value of an enum that has this number.
fn numbered(descriptor: &EnumDescriptor, number: i128, text: &str) -> Result<Value, Fault> {
    match i32::try_from(number) {
        Ok(number) if descriptor.get_value(number).is_some() => Ok(Value::EnumNumber(number)),
        _ => Err(Fault::new(
            format!("{} is no {}", shown(text), descriptor.name()),
            "write its name",
        )),
    }
}

fn enumeration(
    descriptor: &EnumDescriptor,
    scalar: &Scalar<'_>,
    text: &str,
    speller: &Speller,
) -> Result<Value, Fault> {
    match scalar {
        Scalar::Text(name) => {
            let values: Vec<_> = descriptor.values().collect();
            // Envoy's parser of JSON doesn't look at the case.
            let same = values.iter().find(|v| v.name().eq_ignore_ascii_case(name));
            if let Some(value) = same {
                return Ok(Value::EnumNumber(value.number()));
            }
            // Nor does it mind quotes around a number.
            if let Ok(number) = name.trim_ascii().parse() {
                return numbered(descriptor, number, text);
            }
            let names = values.iter().map(|value| value.name());
            let upper = name.to_ascii_uppercase();
            Err(Fault::new(
                format!("{} is no {}", shown(name), descriptor.name()),
                speller.suggest(&upper, names, "there are"),
            ))
        }
        Scalar::Integer(number) => numbered(descriptor, *number, text),
        Scalar::Bool(_) => Err(Fault::new(
            format!("expected a name of {}, found a boolean", descriptor.name()),
            format!("put it in quotes: \"{text}\""),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &Kind, text: &str, plain: bool) -> Result<Value, Fault> {
        super::read(kind, text, plain, &Speller::default())
    }

    #[test]
    fn plain_words_are_what_yaml_1_1_takes_them_for() {
        for (text, wanted) in [
            ("yes", Scalar::Bool(true)),
            ("Off", Scalar::Bool(false)),
            ("YES", Scalar::Bool(true)),
            ("yEs", Scalar::Text("yEs")),
            ("0x1F", Scalar::Integer(31)),
            ("010", Scalar::Integer(8)),
            ("08", Scalar::Text("08")),
            ("-3", Scalar::Integer(-3)),
            ("1.5", Scalar::Text("1.5")),
            ("9223372036854775808", Scalar::Text("9223372036854775808")),
            ("-", Scalar::Text("-")),
        ] {
            assert_eq!(Scalar::of(text, true), wanted, "{text}");
            assert_eq!(Scalar::of(text, false), Scalar::Text(text));
        }
    }

    #[test]
    fn whole_numbers_are_taken_in_every_form_of_json_and_in_range_only() {
        let read = |text| read(&Kind::Uint32, text, true).ok();
        assert_eq!(read("5"), Some(Value::U32(5)));
        assert_eq!(read("5.0"), Some(Value::U32(5)));
        assert_eq!(read("4294967295"), Some(Value::U32(u32::MAX)));
        for bad in ["4294967296", "-1", "5.5", "true", "five", "1e99", ""] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_in_quotes_are_values_of_enums_and_fractions_with_blanks_are_numbers() {
        let pool = crate::config::schema::pool();
        let family = pool.get_enum_by_name("envoy.config.cluster.v3.Cluster.DnsLookupFamily");
        let kind = Kind::Enum(family.unwrap());
        for text in ["1", "+1", " 1 ", "v4_only"] {
            let value = read(&kind, text, false).unwrap();
            assert_eq!(value, Value::EnumNumber(1), "{text}");
        }
        for text in ["9", "1.0", "4294967297", " V4_ONLY"] {
            assert!(read(&kind, text, false).is_err(), "{text}");
        }
        for text in ["1.5", " 1.5", "1.5\n"] {
            assert_eq!(read(&Kind::Double, text, false).ok(), Some(Value::F64(1.5)));
        }
        assert!(read(&Kind::Double, " ", false).is_err());
    }

    #[test]
    fn bytes_are_base64_of_both_alphabets_with_or_without_padding() {
        for text in ["+/8=", "-_8=", "+/8"] {
            let value = read(&Kind::Bytes, text, false).unwrap();
            assert_eq!(value, Value::Bytes(vec![0xfb, 0xff].into()), "{text}");
        }
        assert!(read(&Kind::Bytes, "?", false).is_err());
    }
}
