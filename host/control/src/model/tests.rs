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

fn no_pin(name: &str, _version: Option<u64>) -> Result<Pin, ControlError> {
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
    let first = draft.deploy("pets", Wanted::default(), &no_pin).unwrap();
    // what it is for is no part of it, and the newest word on that counts
    let of = |draft: &Draft| -> Deployment {
        let key = Key::of(Kind::Deployment, "pets", &first);
        draft.model.read(&key).unwrap()
    };
    for (said, kept) in [
        (Some("again"), "again"),
        (None, "again"),
        (Some("third"), "third"),
    ] {
        let wanted = Wanted {
            description: said.map(str::to_owned),
            ..Wanted::default()
        };
        assert_eq!(draft.deploy("pets", wanted, &no_pin).unwrap(), first);
        assert_eq!(of(&draft).description.as_deref(), Some(kept));
    }
    draft
        .put(
            &Key::of(Kind::Route, "pets", "POST /pets"),
            json!({"integration": "web"}),
            Expect::Any,
        )
        .unwrap();
    let second = draft.deploy("pets", Wanted::default(), &no_pin).unwrap();
    assert_ne!(first, second);
    draft
        .put(
            &Key::of(Kind::Route, "pets", "PUT /pets"),
            json!({"integration": "none", "pipeline": ["ghost"]}),
            Expect::Any,
        )
        .unwrap();
    let Err(ControlError::Invalid(Problems(problems))) = draft.deploy("pets", Wanted::default(), &no_pin)
    else {
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
    let deployment = draft.deploy("pets", Wanted::default(), &no_pin).unwrap();
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

/// Versions up to 9 of plugins `a` and `b`, of which 3 is live.
fn pin(name: &str, version: Option<u64>) -> Result<Pin, ControlError> {
    let version = version.unwrap_or(3);
    if !["a", "b"].contains(&name) || version > 9 {
        return Err(ControlError::NotFound(format!(
            "no version {version} of plugin `{name}`"
        )));
    }
    Ok(Pin {
        version,
        module: Digest([1; 32]),
        settings: json!({"rate": 0.1, "share": 1.0, "list": [1e300, -2, 18_446_744_073_709_551_615_u64]}),
    })
}

fn edited(draft: &mut Draft, kind: Kind, name: &str, body: Value) {
    draft
        .put(&Key::of(kind, "pets", name), body, Expect::Any)
        .unwrap();
}

fn paths(outcome: Result<impl std::fmt::Debug, ControlError>) -> Vec<String> {
    let Err(ControlError::Invalid(Problems(problems))) = outcome else {
        panic!("{outcome:?}")
    };
    problems.into_iter().map(|problem| problem.path).collect()
}

#[test]
fn versions_of_plugins_are_pinned_where_they_are_said_and_only_there() {
    let mut draft = draft_of_pets();
    let route = json!({"integration": "web", "pipeline": ["a", "b", "a"]});
    edited(&mut draft, Kind::Route, "GET /pets", route);
    let of = |versions: &[(&str, u64)]| Wanted {
        plugins: versions
            .iter()
            .map(|(name, version)| ((*name).to_owned(), *version))
            .collect(),
        ..Wanted::default()
    };
    let pinned = |draft: &Draft, id: &str| -> Vec<u64> {
        let deployment: Deployment = draft.model.read(&Key::of(Kind::Deployment, "pets", id)).unwrap();
        deployment.plugins.values().map(|pin| pin.version).collect()
    };
    let live = draft.deploy("pets", Wanted::default(), &pin).unwrap();
    let said = draft.deploy("pets", of(&[("a", 7)]), &pin).unwrap();
    let again = draft.deploy("pets", Wanted::default(), &pin).unwrap();
    assert_eq!(
        (pinned(&draft, &live), pinned(&draft, &said), again),
        (vec![3, 3], vec![7, 3], live)
    );
    let route = json!({"integration": "web", "pipeline": ["a"]});
    edited(&mut draft, Kind::Route, "GET /pets", route);
    let refused = draft.deploy("pets", of(&[("a", 10), ("b", 1), ("ghost", 1)]), &pin);
    let Err(ControlError::Invalid(Problems(problems))) = refused else {
        panic!()
    };
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "plugins.a: no version 10 of plugin `a`",
            "plugins.b: API `pets` does not use plugin `b`",
            "plugins.ghost: no version 1 of plugin `ghost`",
        ]
    );
}

#[test]
fn a_deployment_is_known_by_all_of_its_content() {
    let mut draft = draft_of_pets();
    let route = json!({"integration": "web", "pipeline": ["a"]});
    edited(&mut draft, Kind::Route, "GET /pets", route);
    let id = draft.deploy("pets", Wanted::default(), &pin).unwrap();
    let key = Key::of(Kind::Deployment, "pets", &id);
    // as it is read at a start
    let kept = |change: &dyn Fn(&mut Value)| {
        let mut document = Document::clone(draft.model.get(&key).unwrap());
        change(&mut document.body);
        document.body = serde_json::from_str(&document.body.to_string()).unwrap();
        let pets = Key::top(Kind::Api, "pets");
        let api = Document::clone(draft.model.get(&pets).unwrap());
        Model::new(vec![(pets, api), (key.clone(), document)])
    };
    assert_eq!(kept(&|_| {}).damaged_deployments().count(), 0);
    let changes: [&dyn Fn(&mut Value); 5] = [
        &|body| body["definition"]["integrations"]["web"]["uri"] = "http://b.example/".into(),
        &|body| body["plugins"]["a"]["settings"]["rate"] = 0.2.into(),
        &|body| body["plugins"] = json!({}),
        &|body| body["digest"] = format!("sha256:{}{}", id, "0".repeat(48)).into(),
        &|body| drop(body.as_object_mut().unwrap().remove("digest")),
    ];
    for change in changes {
        let model = kept(change);
        assert!(model.damaged_deployments().eq([key.clone()]));
    }
    // what it is for is no part of it
    assert_eq!(
        kept(&|body| body["description"] = "x".into())
            .damaged_deployments()
            .count(),
        0
    );
    // another one under its name is not taken for it
    let clash = |body: &mut Value| body["digest"] = format!("sha256:{}{}", id, "0".repeat(48)).into();
    let mut other = Document::clone(draft.model.get(&key).unwrap());
    clash(&mut other.body);
    draft.model.set(&key, Some(other));
    let refused = draft.deploy("pets", Wanted::default(), &pin);
    assert!(matches!(refused, Err(ControlError::Conflict(_))), "{refused:?}");
}

#[test]
fn what_a_stage_served_before_is_the_gateways_to_say() {
    let mut draft = draft_of_pets();
    let previous = |draft: &Draft| {
        let stage: Stage = draft.model.read(&Key::of(Kind::Stage, "pets", "prod")).unwrap();
        stage.previous
    };
    for body in [
        json!({"previous": "foo"}),
        json!({"previous": "bar", "description": "x"}),
    ] {
        edited(&mut draft, Kind::Stage, "prod", body);
        assert_eq!(previous(&draft), None);
    }
    let first = draft.deploy("pets", Wanted::default(), &no_pin).unwrap();
    edited(
        &mut draft,
        Kind::Stage,
        "prod",
        json!({"deployment": first, "previous": "foo"}),
    );
    assert_eq!(previous(&draft), None);
    edited(
        &mut draft,
        Kind::Stage,
        "prod",
        json!({"deployment": "other", "previous": "foo"}),
    );
    assert_eq!(previous(&draft), Some(first.clone()));
    edited(&mut draft, Kind::Stage, "prod", json!({"deployment": "other"}));
    assert_eq!(previous(&draft), Some(first));
}

#[test]
fn a_stage_that_deploys_by_itself_is_deployed_when_nothing_keeps_it_from_that_any_more() {
    let mut first = draft_of_pets();
    let old = first.deploy("pets", Wanted::default(), &no_pin).unwrap();
    let uri = |host: &str| json!({"type": "HTTP_PROXY", "uri": format!("http://{host}.example/")});
    edited(&mut first, Kind::Integration, "web", uri("b"));
    let tried = first.deploy("pets", Wanted::default(), &no_pin).unwrap();
    let canary = json!({"deployment": tried, "percent": 5.0});
    // the API as it is: as the stage serves it, as the canary does, as neither does
    for (host, is_behind) in [("a", false), ("b", false), ("c", true)] {
        edited(&mut first, Kind::Integration, "web", uri(host));
        let stage = |auto: bool, canary: &Value, deployment: &str| json!({"auto-deploy": auto, "deployment": deployment, "canary": canary});
        let nothing = Value::Null;
        for (before, after, is_deployed) in [
            (stage(true, &canary, &old), stage(true, &nothing, &old), is_behind),
            (
                stage(true, &canary, &old),
                stage(true, &nothing, &tried),
                host != "b",
            ),
            (stage(true, &canary, &old), stage(false, &nothing, &old), false),
            (stage(true, &canary, &old), stage(true, &canary, &old), false),
            (stage(false, &nothing, &old), stage(true, &nothing, &old), true),
            (stage(false, &nothing, &old), stage(true, &canary, &old), false),
            (stage(true, &nothing, &old), stage(true, &nothing, &tried), false),
        ] {
            let mut kept = Draft::new(&first.model);
            edited(&mut kept, Kind::Stage, "prod", before.clone());
            let mut draft = Draft::new(&kept.model);
            let mut after = after.clone();
            after["description"] = "so that it changes".into();
            edited(&mut draft, Kind::Stage, "prod", after.clone());
            let stages = draft.stages_to_deploy().unwrap();
            assert_eq!(!stages.is_empty(), is_deployed, "{host}: {before} {after}");
            // with a canary it waits whatever happens, and without one an edit is enough
            edited(&mut draft, Kind::Integration, "web", uri("d"));
            let waits = after["auto-deploy"] == false || !after["canary"].is_null();
            assert_eq!(draft.stages_to_deploy().unwrap().is_empty(), waits, "{after}");
        }
    }
}

#[test]
fn every_stage_that_lacks_variables_and_every_reference_that_leads_nowhere_is_told_at_once() {
    let mut draft = draft_of_pets();
    let uri = json!({"type": "HTTP_PROXY", "uri": "http://${stageVariables.host}/${stageVariables.base}"});
    edited(&mut draft, Kind::Integration, "web", uri);
    let id = draft.deploy("pets", Wanted::default(), &no_pin).unwrap();
    let host = json!({"host": "a.example"});
    let canary = json!({"deployment": id, "percent": 1.0, "variables": host});
    edited(
        &mut draft,
        Kind::Stage,
        "one",
        json!({"deployment": id, "variables": host}),
    );
    edited(
        &mut draft,
        Kind::Stage,
        "two",
        json!({"deployment": id, "canary": canary}),
    );
    edited(&mut draft, Kind::Stage, "three", json!({"deployment": "ghost"}));
    draft
        .put(&Key::top(Kind::Domain, "a.example"), json!({}), Expect::Any)
        .unwrap();
    for base in ["(none)", "v1"] {
        let key = Key::of(Kind::Mapping, "a.example", base);
        draft
            .put(&key, json!({"api": "pets", "stage": "four"}), Expect::Any)
            .unwrap();
    }
    assert_eq!(
        paths(draft.check()),
        [
            "apis/pets/stages/one: integrations.web.uri",
            "apis/pets/stages/three.deployment",
            "apis/pets/stages/two: integrations.web.uri",
            "apis/pets/stages/two: integrations.web.uri",
            "domains/a.example.mappings.(none)",
            "domains/a.example.mappings.v1",
        ]
    );
    // and beside what is wrong with the API
    edited(&mut draft, Kind::Route, "GET /b", json!({"integration": "none"}));
    let bad = json!({"type": "HTTP_PROXY", "uri": "no address"});
    edited(&mut draft, Kind::Integration, "bad", bad);
    let wanted = Wanted {
        stages: BTreeMap::from([("one".to_owned(), BTreeMap::new())]),
        ..Wanted::default()
    };
    assert_eq!(
        paths(draft.deploy("pets", wanted, &no_pin)),
        [
            "apis.pets.routes.GET /b.integration",
            "apis.pets.integrations.bad.uri",
            "apis/pets/stages/one: integrations.web.uri",
        ]
    );
}
