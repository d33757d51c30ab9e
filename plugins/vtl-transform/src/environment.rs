//! What a template can see of the exchange, apart from the body.

/// Names and values in order; of several values of a name the last one counts.
pub type Pairs = Vec<(String, String)>;

/// What a template can see.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Environment {
    /// `$input.params().path`
    pub path: Pairs,
    /// `$input.params().querystring`
    pub querystring: Pairs,
    /// `$input.params().header`; names are compared without case.
    pub header: Pairs,
    /// `$context`
    pub context: serde_json::Map<String, serde_json::Value>,
    /// `$stageVariables`
    pub stage_variables: serde_json::Map<String, serde_json::Value>,
}
