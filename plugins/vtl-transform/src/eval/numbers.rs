//! Methods of numbers and truth values. Those that are static in Java work on any number: `#set($Integer = 0)`, then
//! `$Integer.parseInt("7")`.

use super::Machine;
use super::expression::float;
use crate::fault::Fault;
use crate::value::Value;

impl Machine {
    pub(super) fn number_method(
        value: &Value,
        name: &str,
        arguments: &[Value],
    ) -> Result<Option<Value>, Fault> {
        let wrong = |text: &str| Fault::NumberFormat(text.to_owned());
        Ok(Some(match (value, name, arguments) {
            (Value::Bool(truth), "booleanValue", []) => Value::Bool(*truth),
            (Value::Bool(_), "parseBoolean" | "valueOf", [Value::Text(text)]) => {
                Value::Bool(text.eq_ignore_ascii_case("true"))
            }
            (Value::Bool(_), ..) => return Ok(None),
            (Value::Int(_), "parseInt" | "parseLong" | "valueOf", [Value::Text(text)]) => {
                Value::Int(text.parse().map_err(|_no_number| wrong(text))?)
            }
            (_, "parseDouble" | "parseFloat" | "valueOf", [Value::Text(text)]) => {
                Value::Float(text.trim().parse().map_err(|_no_number| wrong(text))?)
            }
            (_, "valueOf", [number @ (Value::Int(_) | Value::Float(_) | Value::Number(_))]) => number.clone(),
            (Value::Int(number), "intValue" | "longValue", []) => Value::Int(*number),
            (_, "intValue" | "longValue", []) => {
                #[expect(clippy::cast_possible_truncation, reason = "as in Java, it stops at the ends")]
                let whole = float(value).unwrap_or_default() as i64;
                Value::Int(whole)
            }
            (_, "doubleValue" | "floatValue", []) => Value::Float(float(value).unwrap_or_default()),
            (_, "compareTo", [other]) => match (float(value), float(other)) {
                (Some(left), Some(right)) => Value::Int(left.total_cmp(&right) as i64),
                _ => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }
}
