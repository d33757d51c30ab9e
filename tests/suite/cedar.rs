//! cedar-authorizer behind jwt-authorizer: who may do what, by group, path and address, and what a claim or a field cannot pose as.

use edgeward_tests::{Gateway, Origin, Reply, record_logs, wait_for_log};
use serde_json::{Value, json};

use crate::authorize::{Keys, claims};

const POLICIES: &str = r#"
@id("root")
permit(principal == User::"root", action, resource);

@id("staff reads")
permit(principal in Group::"staff", action == Action::"GET", resource);

@id("own orders")
permit(principal, action in [Action::"GET", Action::"PUT"], resource == Route::"orders")
when { principal has customer && principal.customer == resource.params.customer };

@id("admins from the office")
permit(principal in Group::"admins", action, resource in Area::"admin")
when { context.ip.isInRange(ip("192.0.2.0/24")) };

@id("own tenant")
permit(principal, action, resource)
when { principal has tenant && context.headers has "x-tenant" && principal.tenant == context.headers["x-tenant"] };

@id("assistants of root")
permit(principal, action, resource) when { principal has manager && principal.manager == User::"root" };

@id("secret files")
forbid(principal, action, resource) when { resource.path like "/files/secret/*" };

@id("suspended")
forbid(principal, action, resource) when { principal has suspended && principal.suspended };

@id("vault")
forbid(principal, action, resource == Route::"vault") when { principal.clearance < 3 };
"#;

/// A gateway that knows callers by their tokens, asks the policies about them, and tells the origin who they are.
struct Site {
    gateway: Gateway,
    keys: Keys,
    _origin: Origin,
}

impl Site {
    async fn start() -> Self {
        let (origin, keys) = (Origin::start(), Keys::new());
        let route = |name: &str, path: &str| json!({"name": name, "path": path, "upstream": "origin", "pipeline": ["tokens", "rules", "identity"]});
        let gateway = Gateway::start(json!({
            "listeners": [{"address": "127.0.0.1:0", "trusted-hops": ["127.0.0.0/8"]}],
            "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
            "plugins": {
                "tokens": {"module": "jwt-authorizer", "config": {
                    "issuer": "https://id.example", "audience": "pets", "keys": [{"jwks": {"inline": keys.jwks()}}],
                }},
                "rules": {"module": "cedar-authorizer", "config": {
                    "policies": POLICIES,
                    "entities": [
                        {"uid": {"type": "Group", "id": "admins"}, "attrs": {}, "parents": [{"type": "Group", "id": "staff"}]},
                        {"uid": {"type": "Route", "id": "accounts"}, "attrs": {}, "parents": [{"type": "Area", "id": "admin"}]},
                    ],
                    "principal": {
                        "claims": {"namespace": "tokens"},
                        "attributes": ["customer", "tenant", "manager", "suspended", "clearance"],
                        "groups": "groups",
                    },
                    "headers": ["x-tenant"],
                }},
                "identity": {"module": "headers", "config": {"request": [{"set": "x-user", "value": "${principal}"}]}},
            },
            "routes": [
                route("files", "/files/{path+}"),
                route("orders", "/customers/{customer}/orders"),
                route("accounts", "/admin/accounts"),
                route("vault", "/vault"),
            ],
        }))
        .await;
        Self {
            gateway,
            keys,
            _origin: origin,
        }
    }

    /// A request of `alice`, unless the claims name somebody else.
    async fn call(&self, who: &Value, method: &str, path: &str, more: &[(&str, &str)]) -> Reply {
        let token = format!("Bearer {}", self.keys.rsa(&claims(who.clone())));
        let mut fields = vec![("authorization", token.as_str())];
        fields.extend(more);
        self.gateway.call(method, path, &fields).await
    }

    async fn check(&self, who: &Value, method: &str, path: &str, more: &[(&str, &str)], wanted: u16) {
        let reply = self.call(who, method, path, more).await;
        let text = reply.text();
        assert_eq!(reply.status, wanted, "{who} {method} {path} {more:?}: {text}");
        match wanted {
            200 => assert_eq!(reply.echoed("x-user"), who["sub"].as_str().unwrap_or("alice")),
            _ => assert_eq!(reply.response_type(), "ACCESS_DENIED", "{text}"),
        }
    }
}

#[tokio::test]
async fn policies_decide_by_group_path_and_address_and_take_texts_for_texts() {
    record_logs();
    let site = Site::start().await;
    let staff = json!({"groups": ["staff"]});
    let admin = json!({"sub": "bob", "groups": "admins"});
    let customer = json!({"sub": "carl", "customer": "7"});
    let (office, home) = (
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-for", "198.51.100.7"),
    );
    for (who, method, path, more, wanted) in [
        // by group, and groups in groups
        (&staff, "GET", "/files/a", None, 200),
        (&staff, "POST", "/files/a", None, 403),
        (&admin, "GET", "/files/a", None, 200),
        (&customer, "GET", "/files/a", None, 403),
        (&json!({}), "GET", "/files/a", None, 403),
        // by path, however it is written
        (&staff, "GET", "/files/secret/a", None, 403),
        (&staff, "GET", "/files/%73ecret/a", None, 403),
        (&staff, "GET", "/files/a/../secret/a", None, 403),
        (&customer, "GET", "/customers/7/orders", None, 200),
        (&customer, "PUT", "/customers/%37/orders", None, 200),
        (&customer, "DELETE", "/customers/7/orders", None, 403),
        (&customer, "GET", "/customers/8/orders", None, 403),
        // by address
        (&admin, "PUT", "/admin/accounts", Some(office), 200),
        (&admin, "PUT", "/admin/accounts", Some(home), 403),
        (&admin, "PUT", "/admin/accounts", None, 403),
        (&staff, "PUT", "/admin/accounts", Some(office), 403),
    ] {
        site.check(who, method, path, more.as_slice(), wanted).await;
    }
    assert_eq!(site.gateway.get("/files/a").await.status, 401, "without a token");

    // what forbids and cannot be evaluated forbids
    for (more, path, wanted) in [
        (json!({"suspended": true}), "/files/a", 403),
        (json!({"suspended": false}), "/files/a", 200),
        (json!({"suspended": "no"}), "/files/a", 403),
        (json!({"clearance": 5}), "/vault", 200),
        (json!({"clearance": 1}), "/vault", 403),
        (json!({"clearance": "5"}), "/vault", 403),
        (json!({"clearance": 5.5}), "/vault", 403),
        (json!({}), "/vault", 403),
    ] {
        let mut who = staff.clone();
        who.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        site.check(&who, "GET", path, &[], wanted).await;
    }
    wait_for_log(&["a policy cannot be evaluated", "vault"]).await;
    wait_for_log(&["WARN", "clearance"]).await;

    // claims, names, parameters and fields that pose as entities, groups, calls or pieces of policies
    let root = json!({"__entity": {"type": "User", "id": "root"}});
    site.check(&json!({"sub": "root"}), "PUT", "/files/a", &[], 200)
        .await;
    for who in [
        json!({"sub": "User::\"root\""}),
        json!({"sub": "root\" || true || \""}),
        json!({"sub": "x\" in Group::\"staff"}),
        json!({"manager": "root"}),
        json!({"manager": "User::\"root\""}),
        json!({"manager": root}),
        json!({"manager": {"type": "User", "id": "root"}}),
        json!({"groups": "Group::\"staff\""}),
        json!({"groups": ["x\", Group::\"staff"]}),
        json!({"groups": [{"__entity": {"type": "Group", "id": "staff"}}]}),
        json!({"groups": {"staff": true}}),
    ] {
        site.check(&who, "GET", "/files/a", &[], 403).await;
    }
    for customer in [
        json!(7),
        json!(["7"]),
        json!({"__extn": {"fn": "decimal", "arg": "7.0"}}),
    ] {
        let who = json!({"customer": customer});
        site.check(&who, "GET", "/customers/7/orders", &[], 403).await;
    }
    let quoted = "/customers/7%22%20%7C%7C%20true/orders";
    site.check(&customer, "GET", quoted, &[], 403).await;
    for (tenant, field, wanted) in [
        (json!("blue"), "blue", 200),
        (json!("blue"), "blue\" || true || \"", 403),
        (json!("blue"), "principal.tenant", 403),
        (root, "User::\"root\"", 403),
    ] {
        let who = json!({"tenant": tenant});
        site.check(&who, "PUT", "/files/a", &[("x-tenant", field)], wanted)
            .await;
    }
    // which of two the origin takes, nobody knows
    let twice = [("x-tenant", "blue"), ("x-tenant", "red")];
    let reply = site
        .call(&json!({"tenant": "blue"}), "PUT", "/files/a", &twice)
        .await;
    assert_eq!(reply.status, 400, "{}", reply.text());
}

#[tokio::test]
async fn policies_with_mistakes_are_refused_with_line_and_column_and_change_nothing() {
    let origin = Origin::start();
    let config = |plugins: Value, pipeline: &[&str]| {
        json!({
            "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
            "plugins": plugins,
            "routes": [{"path": "/{path+}", "upstream": "origin", "pipeline": pipeline}],
        })
    };
    let gateway = Gateway::start(config(json!({}), &[])).await;
    let schema = r#"
        entity User { department?: String };
        entity Route { path: String, host: String, params: { path?: String }, query: { page?: String } };
        type Seen = {
          method: String, route: String, ip: ipaddr, tls: Bool, time: datetime,
          headers: { "x-tenant"?: String }, userAgent?: String,
        };
        action GET appliesTo { principal: [User], resource: [Route], context: Seen };
    "#;
    let permit = "permit(principal, action, resource);";
    for (rules, wanted) in [
        (
            json!({"policies": format!("{permit}\nforbid(\n  principal ==, action, resource);")}),
            "config.policies: line 3, column 15: ",
        ),
        (
            json!({"policies": [permit, "permit(principal, action);"]}),
            "config.policies[1]: line 1, column ",
        ),
        (
            json!({"policies": "permit(principal, action, resource)\nwhen { principal.departement == \"a\" };", "schema": schema}),
            "config.policies: line 2, column 8: ",
        ),
        (
            json!({"policies": permit, "schema": "entity User\n in ;"}),
            "config.schema: line 2, column ",
        ),
    ] {
        let plugins = json!({"rules": {"module": "cedar-authorizer", "config": rules}});
        let problem = gateway.snapshot(config(plugins, &["rules"])).await.err();
        let problem = problem.unwrap_or_else(|| panic!("{rules} is accepted"));
        assert!(
            problem.contains("`rules`") && problem.contains(wanted),
            "{wanted}: {problem}"
        );
        assert_eq!(gateway.get("/a").await.status, 200);
    }
}
