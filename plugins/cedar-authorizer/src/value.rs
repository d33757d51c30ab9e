//! JSON as values of Cedar. Texts stay texts: there is no way for one to become an entity or a call of an extension.

use cedar_policy::RestrictedExpression;
use serde_json::Value;

/// Deepest nesting.
const DEPTH_MAX: usize = 8;
/// Most values in one attribute, those within values too.
const VALUES_MAX: usize = 1000;

/// The value: texts, truth values, integers, lists as sets, objects as records. None for what Cedar has no value for (`null`, fractions); within lists and
/// objects it is left out.
///
/// # Errors
/// It is too deep or too large.
pub fn of(value: &Value) -> Result<Option<RestrictedExpression>, String> {
    let mut left = VALUES_MAX;
    convert(value, DEPTH_MAX, &mut left)
}

fn convert(value: &Value, depth: usize, left: &mut usize) -> Result<Option<RestrictedExpression>, String> {
    *left = left
        .checked_sub(1)
        .ok_or_else(|| format!("more than {VALUES_MAX} values"))?;
    let deeper = || {
        depth
            .checked_sub(1)
            .ok_or_else(|| format!("nested deeper than {DEPTH_MAX}"))
    };
    Ok(match value {
        Value::Null => None,
        Value::Bool(truth) => Some(RestrictedExpression::new_bool(*truth)),
        Value::Number(number) => number.as_i64().map(RestrictedExpression::new_long),
        Value::String(text) => Some(RestrictedExpression::new_string(text.clone())),
        Value::Array(list) => {
            let depth = deeper()?;
            let mut members = Vec::new();
            for one in list {
                members.extend(convert(one, depth, left)?);
            }
            Some(RestrictedExpression::new_set(members))
        }
        Value::Object(object) => {
            let depth = deeper()?;
            let mut members = Vec::new();
            for (name, one) in object {
                if let Some(one) = convert(one, depth, left)? {
                    members.push((name.clone(), one));
                }
            }
            Some(record(members)?)
        }
    })
}

/// A record.
///
/// # Errors
/// A name is there twice.
pub fn record(members: Vec<(String, RestrictedExpression)>) -> Result<RestrictedExpression, String> {
    RestrictedExpression::new_record(members).map_err(|error| error.to_string())
}

/// A record of texts.
///
/// # Errors
/// A name is there twice.
pub fn texts(members: &[(String, String)]) -> Result<RestrictedExpression, String> {
    let members = members
        .iter()
        .map(|(name, text)| (name.clone(), RestrictedExpression::new_string(text.clone())));
    record(members.collect())
}

/// A moment, in milliseconds since 1970, as Cedar's `datetime` is written. None from the year 10000 on, which cannot be written.
#[must_use]
pub fn datetime(now_ms: u64) -> Option<String> {
    let seconds = i64::try_from(now_ms / 1000).ok()?;
    let moment = time::OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    Some(format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        moment.year(),
        u8::from(moment.month()),
        moment.day(),
        moment.hour(),
        moment.minute(),
        moment.second(),
        now_ms % 1000
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cedar_has_no_value_for_is_left_out() {
        for none in [json!(null), json!(1.5), json!(u64::MAX)] {
            assert!(of(&none).unwrap().is_none(), "{none}");
        }
        let value = of(&json!({"a": [1, null, "x"], "b": null})).unwrap().unwrap();
        let text = format!("{value:?}");
        assert!(text.contains("\"x\"") && !text.contains("\"b\""), "{text}");
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = (0..9).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(of(&nested).err().unwrap(), "nested deeper than 8");
        assert_eq!(of(&json!(vec![1; 1000])).err().unwrap(), "more than 1000 values");
        assert!(of(&json!(vec![1; 999])).is_ok());
    }

    #[test]
    fn moments_are_written_as_cedar_reads_them() {
        assert_eq!(datetime(0).as_deref(), Some("1970-01-01T00:00:00.000Z"));
        assert_eq!(
            datetime(1_709_210_096_007).as_deref(),
            Some("2024-02-29T12:34:56.007Z")
        );
        assert_eq!(datetime(253_402_300_800_000), None);
    }
}
