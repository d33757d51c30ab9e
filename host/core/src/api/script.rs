//! Templates of integrations that are scripts (Velocity) and not just text: a plugin renders them. It gets all of an API in its configuration, by the
//! names that are made here.

use std::collections::BTreeMap;

use super::{Definition, Integration, IntegrationType, Route};

/// Whether a text is a script and not just text.
#[must_use]
pub fn is_script(text: &str) -> bool {
    text.contains(['$', '#'])
}

/// Name of the template of requests of a media type.
#[must_use]
pub fn request_script(integration: &str, kind: &str) -> String {
    format!("{integration}/request-templates/{kind}")
}

/// Name of the template of responses of a media type; `index` is the place among the integration's responses.
#[must_use]
pub fn response_script(integration: &str, index: usize, kind: &str) -> String {
    format!("{integration}/responses[{index}].templates/{kind}")
}

impl Integration {
    /// Whether its templates are rendered at all.
    #[must_use]
    pub fn has_templates(&self) -> bool {
        matches!(self.kind, IntegrationType::Http | IntegrationType::Mock)
    }
}

impl Definition {
    /// Whether requests pass a plugin, in a pipeline or as an authorizer.
    #[must_use]
    pub fn passes(&self, plugin: &str) -> bool {
        let mut pipelines = self.routes.values().flat_map(|route| &route.pipeline);
        let mut authorizers = self.authorizers.values();
        pipelines.any(|name| name == plugin) || authorizers.any(|authorizer| authorizer.plugin == plugin)
    }

    /// Plugins that the requests of a route pass, in order: the authorizer's before those of the pipeline.
    #[must_use]
    pub fn passed_by<'d>(&'d self, route: &'d Route) -> Vec<&'d str> {
        let authorizer = route.authorizer.as_ref();
        let gate = authorizer.and_then(|name| self.authorizers.get(name));
        let gate = gate.map(|authorizer| authorizer.plugin.as_str());
        let pipeline = route.pipeline.iter().map(String::as_str);
        let others = pipeline.filter(|name| Some(*name) != gate);
        gate.into_iter().chain(others).collect()
    }

    /// All scripts by name.
    #[must_use]
    pub fn scripts(&self) -> BTreeMap<String, String> {
        let mut scripts = BTreeMap::new();
        for (name, integration) in self.integrations.iter().filter(|(_, of)| of.has_templates()) {
            for (kind, text) in integration
                .request_templates
                .iter()
                .filter(|(_, text)| is_script(text))
            {
                scripts.insert(request_script(name, kind), text.clone());
            }
            for (index, response) in integration.responses.iter().enumerate() {
                for (kind, text) in response.templates.iter().filter(|(_, text)| is_script(text)) {
                    scripts.insert(response_script(name, index, kind), text.clone());
                }
            }
        }
        scripts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_have_names_of_their_own_and_plain_texts_are_none() {
        let definition: Definition = serde_json::from_value(serde_json::json!({"integrations": {
            "a": {"type": "HTTP", "request-templates": {"a/b": "$input.body", "c/d": "plain"}, "responses": [{"status": 200}, {"status": 500, "templates": {"a/b": "#if(1)#end"}}]},
            "b": {"type": "HTTP_PROXY", "request-templates": {"a/b": "$input.body"}},
        }}))
        .unwrap();
        let names: Vec<_> = definition.scripts().into_keys().collect();
        assert_eq!(names, ["a/request-templates/a/b", "a/responses[1].templates/a/b"]);
    }
}
