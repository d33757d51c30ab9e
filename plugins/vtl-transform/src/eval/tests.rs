//! Templates against what they make: data in `tests/vectors`, limits, and arbitrary templates.

use super::{Failure, Rendering, render};
use crate::environment::Environment;
use crate::fault::{Fault, Limits};
use crate::overrides::Overrides;
use crate::parse;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// What a vector names; what is missing is empty.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    template: String,
    #[serde(default)]
    body: String,
    #[serde(default)]
    params: Map<String, Value>,
    #[serde(default)]
    context: Map<String, Value>,
    #[serde(default)]
    stage_variables: Map<String, Value>,
    #[serde(default)]
    overrides: Option<Value>,
    #[serde(default)]
    status: Option<u16>,
    expected: String,
}

fn environment(params: &Map<String, Value>) -> Environment {
    let pairs = |place: &str| {
        let members = params.get(place).and_then(Value::as_object).into_iter().flatten();
        members
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect()
    };
    Environment {
        path: pairs("path"),
        querystring: pairs("querystring"),
        header: pairs("header"),
        ..Environment::default()
    }
}

fn run(template: &str, body: &str, environment: &Environment) -> Result<Rendering, Failure> {
    let block = parse::parse(template).unwrap();
    render(
        &block,
        environment,
        body.as_bytes(),
        &Overrides::default(),
        Limits::for_bodies(1 << 20),
    )
}

fn check(vectors: &str) {
    let vectors: Vec<Vector> = serde_json::from_str(vectors).unwrap();
    for vector in vectors {
        let environment = Environment {
            context: vector.context,
            stage_variables: vector.stage_variables,
            ..environment(&vector.params)
        };
        let rendering = run(&vector.template, &vector.body, &environment);
        let rendering = rendering.unwrap_or_else(|failure| panic!("{}: {failure}", vector.name));
        assert_eq!(rendering.text, vector.expected, "{}", vector.name);
        if let Some(overrides) = vector.overrides {
            assert_eq!(
                rendering.overrides.request_json(),
                Some(overrides),
                "{}",
                vector.name
            );
        }
        assert_eq!(rendering.overrides.status(), vector.status, "{}", vector.name);
    }
}

#[test]
fn the_language_does_as_the_vectors_say() {
    check(include_str!("../../tests/vectors/language.json"));
}

#[test]
fn methods_do_as_the_vectors_say() {
    check(include_str!("../../tests/vectors/methods.json"));
}

#[test]
fn what_the_gateway_provides_does_as_the_vectors_say() {
    check(include_str!("../../tests/vectors/gateway.json"));
}

#[track_caller]
fn fault(template: &str) -> Fault {
    run(template, "", &Environment::default()).unwrap_err().fault
}

#[test]
fn a_script_ends_where_java_would_throw() {
    for (template, expected) in [
        ("$x#set($l = [1])$l.get(1)", Fault::Index(1)),
        ("#set($l = [1])$l[-1]", Fault::Index(-1)),
        ("#set($s = 'abc')$s.substring(4)", Fault::Index(4)),
        ("#set($s = 'abc')$s.substring(2, 1)", Fault::Index(1)),
        ("#set($s = 'abc')$s.charAt(3)", Fault::Index(3)),
        (
            "#set($i = 0)$i.parseInt('x')",
            Fault::NumberFormat("x".to_owned()),
        ),
        ("$util.parseJson('{')", Fault::Json("`{` is no JSON".to_owned())),
    ] {
        assert_eq!(fault(template), expected, "{template}");
    }
    let failure = run("a\n\n$x\n$util.parseJson('{')", "", &Environment::default()).unwrap_err();
    assert_eq!(failure.to_string(), "line 4: `$util.parseJson`: `{` is no JSON");
}

#[test]
fn no_script_runs_without_end() {
    let turns = "#foreach($a in [1..1000])#foreach($b in [1..1000])#foreach($c in [1..1000])x#end#end#end";
    assert_eq!(fault(turns), Fault::Steps(1_000_000));
    assert_eq!(fault("#foreach($a in [1..1001])#end"), Fault::Turns(1001));
    assert_eq!(fault("#set($x = [0..99999999])"), Fault::Turns(100_000_000));
    let double = "#set($s = 'x')#foreach($i in [1..40])#set($s = \"$s$s\")#end";
    assert!(matches!(fault(double), Fault::Output(_) | Fault::Memory(_)));
    let double = "#set($s = 'x')#foreach($i in [1..40])#set($s = $s + $s)#end";
    assert!(matches!(fault(double), Fault::Memory(_)));
    let double = "#set($s = 'x')#foreach($i in [1..40])#set($s = $s.replace('x', 'xx'))#end";
    assert!(matches!(fault(double), Fault::Memory(_)));
    let double = "#set($l = [1])#foreach($i in [1..40])#set($x = $l.addAll($l))#end";
    assert!(matches!(fault(double), Fault::Memory(_) | Fault::Steps(_)));
    let long = "#foreach($i in [1..1000])#foreach($i in [1..100])0123456789012345#end#end";
    assert_eq!(fault(long), Fault::Output(1 << 20));
    assert_eq!(fault("#define($x)$x#end$x"), Fault::Depth);
    assert_eq!(fault("#set($m = {})#set($m.m = $m)$m"), Fault::Depth);
    assert_eq!(
        fault("#set($m = {})#set($m.m = $m)#set($n = {})#set($n.m = $n)#if($m == $n)#end"),
        Fault::Depth
    );
    assert_eq!(
        fault("#set($l = [])#foreach($i in [1..500])#set($l = [$l])#end$l"),
        Fault::Depth
    );
    let branches = "#set($l = [1])#foreach($i in [1..60])#set($l = [$l, $l])#end#if($l.equals($l))#end";
    assert_eq!(fault(branches), Fault::Steps(1_000_000));
}

#[test]
fn overrides_of_the_request_are_there_in_the_response() {
    let before = Overrides {
        header: vec![("a".to_owned(), vec!["1".to_owned(), "2".to_owned()])],
        response_header: vec![("x".to_owned(), vec!["y".to_owned()])],
        status: Some(418),
        ..Overrides::default()
    };
    let template = "$context.requestOverride.header.a $context.responseOverride.header.x $context.responseOverride.status\
        #set($context.responseOverride.header.z = 7)";
    let block = parse::parse(template).unwrap();
    let rendering = render(
        &block,
        &Environment::default(),
        b"",
        &before,
        Limits::for_bodies(1000),
    )
    .unwrap();
    assert_eq!(rendering.text, "[1, 2] y 418");
    let mut after = before;
    after.response_header.push(("z".to_owned(), vec!["7".to_owned()]));
    assert_eq!(rendering.overrides, after);
}

/// Pieces of which many templates are templates indeed.
const PIECES: &str = r#"(#set\(\$[ab] = |#if\(|#elseif\(|#else|#end|#foreach\(\$[ab] in |#break|#stop|#define\(\$a\)|\)|\$[ab]|\$!|\$\{a\}|\$input|\$util|\$context|\$foreach|\.(path|json|params|size|get|put|add|addAll|keySet|split|replaceAll|substring|parseJson|escapeJavaScript|equals|requestOverride|header|count)|\(|\[|\]|\{|\}|"|'|,|:|\.\.|[0-9]| == | && | \+ | - |!|\\|##|#\*|\*#|#\[\[|\]\]#|[a-z]|é| |
){0,40}"#;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_template_makes_it_panic_or_run_without_end(template in PIECES, body in r#"(\{"a":|\[|1|,|\]|\}|"x"){0,12}"#) {
        if let Ok(block) = parse::parse(&template) {
            let limits = Limits { steps: 20_000, memory: 1 << 20, output: 1 << 16 };
            let environment = Environment {
                context: json!({"a": [1, {"b": null}]}).as_object().unwrap().clone(),
                ..environment(&Map::new())
            };
            if let Ok(rendering) = render(&block, &environment, body.as_bytes(), &Overrides::default(), limits) {
                prop_assert!(rendering.text.len() <= limits.output);
            }
        }
    }

    #[test]
    fn arbitrary_text_does_neither(template in "\\PC{0,200}") {
        if let Ok(block) = parse::parse(&template) {
            drop(render(&block, &Environment::default(), b"", &Overrides::default(), Limits::for_bodies(1 << 16)));
        }
    }
}
