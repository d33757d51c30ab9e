//! Configuration as an operator writes it. `plan` checks it and turns it into steps.

use serde::Deserialize;

/// Configuration of the `headers` plugin.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "headers"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Operations on the request, in order, before it goes upstream.
    pub request: Vec<Operation>,
    /// Operations on the response, in order, before it goes to the client.
    pub response: Vec<Operation>,
    /// Applies the response operations to error responses of the gateway too. Default false.
    pub gateway_errors: bool,
    /// Name of the authorizer binding whose claims `${claims...}` reads. Default: the first binding that left claims.
    pub claims_from: Option<String>,
}

/// An operation: exactly one of `set`, `append`, `remove` and `rename`.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Operation {
    /// Name of the field whose lines are all replaced by one with `value`.
    pub set: Option<String>,
    /// Name of the field that gets a further line with `value`.
    pub append: Option<String>,
    /// Name of the field whose lines are removed.
    pub remove: Option<String>,
    /// Name of the field whose lines get the name `to`; lines that had that name already are removed. Without such a field nothing happens.
    pub rename: Option<String>,
    /// `set`, `append`: the value, a text with variables like `${request.path}`.
    pub value: Option<String>,
    /// `rename`: the new name.
    pub to: Option<String>,
    /// `set`, `append`: does nothing when a variable has no value; otherwise it counts as empty text. Default false.
    pub skip_if_missing: bool,
    /// The operation happens only if this holds. Default: always.
    pub when: Option<When>,
}

/// A condition on a header field: exactly one of `present` and `equals`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct When {
    /// Name of the field.
    pub header: String,
    /// The message that has the field. Default: the one that the operation changes.
    #[serde(default)]
    pub of: Option<Of>,
    /// The field is there (true) or is not (false).
    #[serde(default)]
    pub present: Option<bool>,
    /// A line of the field has exactly this value.
    #[serde(default)]
    pub equals: Option<String>,
}

/// A message of the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Of {
    /// The request.
    Request,
    /// The response.
    Response,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the schema anew when `UPDATE_SCHEMA` is set.
    #[test]
    fn config_schema_json_matches_the_structs() {
        edgeward_sdk::testing::schema_is_written(&schemars::schema_for!(Config));
    }
}
