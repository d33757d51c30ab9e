//! What each call of the admin API needs: one table by path. A path that is not in it is for admins only.

use http::Method;
use percent_encoding::percent_decode_str;

use super::{Authority, Role};

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The least role.
    pub(crate) role: Role,
    /// For which APIs.
    pub(crate) scope: Scope,
}

/// For which APIs somebody has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Any or none: it is not about an API, or each resource is looked at where it is listed, read or changed.
    Any,
    /// The one that the path names behind `/v1/apis/`.
    InPath,
    /// The one that the query names as `id`, if it does; what is changed is looked at besides.
    InQuery,
    /// All: it tells of every API.
    All,
}

use Role::{Admin, Operator, Publisher, Viewer};
use Scope::{All, Any, InPath, InQuery};

/// Paths, with a slash at the end for what is below one; what reading needs, what all else needs, and for which APIs. The first one that fits holds.
const RULES: [(&str, Option<Role>, Option<Role>, Scope); 22] = [
    ("/v1/whoami", Some(Viewer), None, Any),
    ("/v1/status", Some(Viewer), None, Any),
    // it has settings of plugins, which may be secrets
    ("/v1/config", Some(Operator), None, Any),
    ("/v1/reload", None, Some(Operator), Any),
    ("/v1/modules", Some(Operator), Some(Operator), Any),
    // it has settings, too
    ("/v1/plugins/", Some(Operator), Some(Operator), Any),
    ("/v1/plugins", Some(Viewer), None, Any),
    ("/v1/certificates", Some(Operator), Some(Operator), Any),
    ("/v1/apis/", Some(Viewer), Some(Publisher), InPath),
    ("/v1/apis", Some(Viewer), Some(Publisher), Any),
    ("/v1/imports", None, Some(Publisher), InQuery),
    ("/v1/bundle", Some(Viewer), Some(Publisher), Any),
    (
        "/v1/domains/{parent}/certificates",
        Some(Operator),
        Some(Operator),
        Any,
    ),
    ("/v1/domains", Some(Viewer), Some(Operator), Any),
    // a question about policies that it brings along
    ("/v1/policy/explain", None, Some(Viewer), Any),
    ("/v1/shadows", Some(Operator), Some(Operator), All),
    ("/v1/api-keys", Some(Operator), Some(Operator), All),
    ("/v1/usage-plans", Some(Operator), Some(Operator), All),
    ("/v1/waf", Some(Operator), Some(Operator), All),
    ("/v1/audit", Some(Operator), None, All),
    ("/v1/principals/", Some(Admin), Some(Admin), Any),
    ("/v1/principals", Some(Admin), Some(Admin), Any),
];

/// The rule of a call; `None` where the table has none. `route` is the path as the router has it.
pub(crate) fn rule(method: &Method, route: &str) -> Option<Rule> {
    let below = |path: &str| route.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    let fits = |path: &str| match path.strip_suffix('/') {
        Some(path) => below(path),
        None => route == path || below(path),
    };
    let (_, read, write, scope) = RULES.iter().find(|(path, ..)| fits(path))?;
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let role = if reads { *read } else { *write };
    role.map(|role| Rule { role, scope: *scope })
}

/// Whether somebody may make a call; else why not. `route` is the path as the router has it, `path` and `query` are those of the request.
pub(crate) fn decide(
    authority: &Authority,
    method: &Method,
    route: &str,
    path: &str,
    query: Option<&str>,
) -> Result<(), String> {
    let rule = rule(method, route).unwrap_or(Rule {
        role: Admin,
        scope: All,
    });
    if !authority.has(rule.role) {
        let own = authority.role().map_or("nobody", Role::name);
        return Err(format!("this takes the role `{}`, and you are {own}", rule.role));
    }
    let api = match rule.scope {
        Any => return Ok(()),
        All if authority.is_whole() => return Ok(()),
        All => {
            return Err(format!(
                "this tells of every API, and you are for {} only",
                authority.told()
            ));
        }
        InPath => path.split('/').nth(3).map(decoded),
        InQuery => query.and_then(|query| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let (_, id) = pairs.find(|(name, _)| decoded(name) == "id")?;
            Some(decoded(id))
        }),
    };
    match api {
        Some(api) if !authority.covers(&api) => {
            // the same whether there is such an API or not
            Err(format!(
                "you are for APIs {}, and `{api}` is not one of them",
                authority.told()
            ))
        }
        _ => Ok(()),
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn authority(role: &str, apis: &[&str]) -> Authority {
        Authority::of(&serde_json::from_value(json!({"role": role, "apis": apis})).unwrap())
    }

    #[test]
    fn each_role_may_what_it_is_for() {
        // path, then what viewer, publisher and operator may: read, write
        let cases = [
            ("/v1/whoami", "r r r"),
            ("/v1/status", "r r r"),
            ("/v1/config", "- - r"),
            ("/v1/reload", "- - w"),
            ("/v1/modules/{digest}", "- - rw"),
            ("/v1/plugins", "r r r"),
            ("/v1/plugins/{name}", "- - rw"),
            ("/v1/plugins/{name}/publish", "- - rw"),
            ("/v1/certificates", "- - rw"),
            ("/v1/apis", "r rw rw"),
            ("/v1/apis/{parent}/routes/{name}", "r rw rw"),
            ("/v1/imports", "- w w"),
            ("/v1/bundle", "r rw rw"),
            ("/v1/domains/{parent}/mappings", "r r rw"),
            ("/v1/domains/{parent}/certificates/{name}", "- - rw"),
            ("/v1/policy/explain", "w w w"),
            ("/v1/policy", "- - -"),
            ("/v1/shadows/{name}/counts", "- - rw"),
            ("/v1/api-keys", "- - rw"),
            ("/v1/usage-plans/{name}", "- - rw"),
            ("/v1/waf", "- - rw"),
            ("/v1/audit", "- - r"),
            ("/v1/audit/verify", "- - r"),
            ("/v1/principals", "- - -"),
            ("/v1/principals/{parent}/tokens", "- - -"),
            // none of these has a rule
            ("/v1/statuses", "- - -"),
            ("/v1/backup", "- - -"),
            ("/v2/apis", "- - -"),
        ];
        for (route, expected) in cases {
            let may = |role: &str| {
                let authority = authority(role, &["*"]);
                let may = |method| decide(&authority, method, route, route, None).is_ok();
                match (may(&Method::GET), may(&Method::PUT)) {
                    (true, true) => "rw",
                    (true, false) => "r",
                    (false, true) => "w",
                    (false, false) => "-",
                }
            };
            let told = ["viewer", "publisher", "operator"].map(may).join(" ");
            assert_eq!(told, expected, "{route}");
            for method in [Method::GET, Method::POST, Method::DELETE] {
                assert_eq!(
                    decide(&Authority::all(), &method, route, route, None),
                    Ok(()),
                    "{route}"
                );
                assert!(decide(&Authority::none(), &method, route, route, None).is_err());
            }
        }
    }

    #[test]
    fn the_api_of_a_call_is_the_one_that_its_handler_sees() {
        let pets = authority("publisher", &["pets", "shop-*"]);
        let route = "/v1/apis/{parent}/routes/{name}";
        for (path, may) in [
            ("/v1/apis/pets/routes/GET%20%2F", true),
            ("/v1/apis/%70ets/routes/x", true),
            ("/v1/apis/shop-eu/routes/x", true),
            ("/v1/apis/cats/routes/pets", false),
            ("/v1/apis/pets%2Fx/routes/x", false),
            ("/v1/apis//routes/x", false),
        ] {
            assert_eq!(
                decide(&pets, &Method::PUT, route, path, None).is_ok(),
                may,
                "{path}"
            );
        }
        for (query, may) in [
            (Some("id=pets"), true),
            (Some("dry-run=true&id=cats"), false),
            (Some("%69d=cats"), false),
            (Some("x=1"), true),
            (None, true),
        ] {
            let told = decide(&pets, &Method::POST, "/v1/imports", "/v1/imports", query);
            assert_eq!(told.is_ok(), may, "{query:?}");
        }
        let operator = authority("operator", &["pets"]);
        assert!(decide(&operator, &Method::GET, "/v1/audit", "/v1/audit", None).is_err());
    }
}
