//! Drafts: what they take, what they refuse, what they change.

use serde_json::json;

use edgeward_core::config::Problems;

use super::*;

fn draft_of_pets() -> Draft {
    let mut draft = Draft::new(&Model::default());
    draft
        .put(
            &Key::top(Kind::Api, "pets"),
            json!({"protocol": "REST"}),
            Expect::Absent,
        )
        .unwrap();
    draft
        .put(
            &Key::of(Kind::Integration, "pets", "web"),
            json!({"type": "HTTP_PROXY", "uri": "http://a.example/"}),
            Expect::Any,
        )
        .unwrap();
    draft
        .put(
            &Key::of(Kind::Route, "pets", "GET /pets"),
            json!({"integration": "web"}),
            Expect::Any,
        )
        .unwrap();
    draft
}

fn no_pin(name: &str) -> Result<Pin, ControlError> {
    Err(ControlError::NotFound(format!("no plugin `{name}`")))
}

#[test]
fn documents_are_checked_by_kind_and_have_entity_tags() {
    let mut draft = draft_of_pets();
    for (kind, name, body) in [
        (Kind::Api, "Pets", json!({})),
        (Kind::Api, "pets", json!({"protocl": "REST"})),
        (Kind::Route, "GET pets", json!({})),
        (Kind::Stage, "a.b", json!({})),
        (
            Kind::Stage,
            "prod",
            json!({"canary": {"deployment": "x", "percent": 200.0}}),
        ),
        (Kind::GatewayResponse, "NOTHING", json!({})),
        (Kind::Domain, "A.example", json!({})),
        (Kind::Mapping, "/v1", json!({"api": "pets", "stage": "prod"})),
    ] {
        let parent = match kind.parent() {
            Some(Kind::Api) => "pets",
            Some(_) => continue,
            None => "",
        };
        let refused = draft.put(&Key::of(kind, parent, name), body, Expect::Any);
        assert!(
            matches!(refused, Err(ControlError::Invalid(_))),
            "{kind:?} {name}"
        );
    }
    let key = Key::top(Kind::Api, "pets");
    let revision = draft.model.get(&key).unwrap().revision;
    let mut next = Draft::new(&draft.model);
    assert!(matches!(
        next.put(&key, json!({}), Expect::Absent),
        Err(ControlError::Precondition(_))
    ));
    assert!(matches!(
        next.put(&key, json!({}), Expect::Revision(vec![revision + 9])),
        Err(ControlError::Precondition(_))
    ));
    next.put(&key, json!({"name": "Pets"}), Expect::Revision(vec![revision]))
        .unwrap();
    assert!(next.model.get(&key).unwrap().revision > revision);
    assert!(matches!(
        next.put(&Key::of(Kind::Route, "cats", "GET /"), json!({}), Expect::Any),
        Err(ControlError::NotFound(_))
    ));
}

#[test]
fn the_same_api_gives_the_same_deployment_and_what_cannot_be_gives_none() {
    let mut draft = draft_of_pets();
    let first = draft.deploy("pets", None, &no_pin).unwrap();
    assert_eq!(
        draft.deploy("pets", Some("again".into()), &no_pin).unwrap(),
        first
    );
    draft
        .put(
            &Key::of(Kind::Route, "pets", "POST /pets"),
            json!({"integration": "web"}),
            Expect::Any,
        )
        .unwrap();
    let second = draft.deploy("pets", None, &no_pin).unwrap();
    assert_ne!(first, second);
    draft
        .put(
            &Key::of(Kind::Route, "pets", "PUT /pets"),
            json!({"integration": "none", "pipeline": ["ghost"]}),
            Expect::Any,
        )
        .unwrap();
    let Err(ControlError::Invalid(Problems(problems))) = draft.deploy("pets", None, &no_pin) else {
        panic!()
    };
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "apis.pets.routes.PUT /pets.integration",
            "apis.pets.routes.PUT /pets.pipeline"
        ]
    );
}

#[test]
fn what_is_in_use_stays_and_what_belongs_to_something_goes_with_it() {
    let mut draft = draft_of_pets();
    let deployment = draft.deploy("pets", None, &no_pin).unwrap();
    let stage = Key::of(Kind::Stage, "pets", "prod");
    draft
        .put(&stage, json!({"deployment": deployment}), Expect::Any)
        .unwrap();
    draft.check().unwrap();
    let key = Key::of(Kind::Deployment, "pets", &deployment);
    assert!(matches!(
        draft.remove(&key, Expect::Any),
        Err(ControlError::Conflict(_))
    ));
    draft
        .put(&Key::top(Kind::Domain, "api.example.com"), json!({}), Expect::Any)
        .unwrap();
    let mapping = Key::of(Kind::Mapping, "api.example.com", "v1");
    draft
        .put(&mapping, json!({"api": "pets", "stage": "beta"}), Expect::Any)
        .unwrap();
    assert!(matches!(draft.check(), Err(ControlError::Invalid(_))));
    draft
        .put(&mapping, json!({"api": "pets", "stage": "prod"}), Expect::Any)
        .unwrap();
    draft.check().unwrap();
    draft.remove(&Key::top(Kind::Api, "pets"), Expect::Any).unwrap();
    assert!(draft.model.get(&stage).is_none() && draft.model.get(&key).is_none());
    assert_eq!(draft.model.list(Kind::Route, "pets").count(), 0);
}

#[test]
fn differences_are_patches_and_changes_can_be_taken_back() {
    let first = draft_of_pets();
    let mut next = Draft::new(&first.model);
    let key = Key::top(Kind::Api, "pets");
    next.put(
        &key,
        json!({"protocol": "REST", "description": "all pets"}),
        Expect::Any,
    )
    .unwrap();
    next.remove(&Key::of(Kind::Route, "pets", "GET /pets"), Expect::Any)
        .unwrap();
    let differences = next.differences();
    let told: Vec<_> = differences
        .iter()
        .map(|one| (one.path.as_str(), one.action))
        .collect();
    assert_eq!(
        told,
        [("apis/pets", "update"), ("apis/pets/routes/GET /pets", "delete")]
    );
    assert_eq!(
        differences[0].patch,
        json!([{"op": "add", "path": "/description", "value": "all pets"}])
    );
    let inverse = next.inverse();
    assert_eq!(
        inverse[0].document.as_ref().map(|document| &document.body),
        first.model.get(&key).map(|document| &document.body)
    );
    assert_eq!(next.changes().len(), 2);
}
