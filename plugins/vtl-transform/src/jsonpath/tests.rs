//! Paths on a document.

use super::Path;
use crate::fault::{Fault, Limits};
use crate::json;
use crate::print::{self, Out};
use crate::value::Heap;
use proptest::prelude::*;

const STORE: &str = r#"{"store":{"book":[
    {"category":"reference","price":8.95,"title":"A"},
    {"category":"fiction","price":12.99,"title":"B","isbn":"0"},
    {"category":"fiction","price":9,"title":"C","isbn":null}],
    "bicycle":{"color":"red","price":19.95}},"limit":10,"odd name":{"x":[1,2,3,4,5]},"text":"héllo"}"#;

fn at(path: &str) -> Option<String> {
    let mut heap = Heap::new(Limits::for_bodies(1 << 20));
    let document = json::parse(&mut heap, STORE).unwrap().unwrap();
    let value = Path::parse(path).unwrap().select(&mut heap, &document).unwrap()?;
    let mut text = String::new();
    print::json(&heap, &value, &mut Out::new(&mut text, 1 << 20), 0).unwrap();
    Some(text)
}

#[test]
fn paths_name_what_they_name_at_aws() {
    for (path, value) in [
        ("$.limit", "10"),
        ("limit", "10"),
        ("$['odd name']['x'][0]", "1"),
        ("$[\"odd name\"].x[-1]", "5"),
        ("$['odd name'].x[1:3]", "[2,3]"),
        ("$['odd name'].x[-2:]", "[4,5]"),
        ("$['odd name'].x[::2]", "[1,3,5]"),
        ("$['odd name'].x[0, 4]", "[1,5]"),
        ("$['odd name'].x[*]", "[1,2,3,4,5]"),
        ("$['odd name'].x.length()", "5"),
        ("$.text.length()", "5"),
        ("$.store.book[*].title", r#"["A","B","C"]"#),
        ("$..title", r#"["A","B","C"]"#),
        ("$..book[0].title", r#"["A"]"#),
        ("$.store..price", "[8.95,12.99,9,19.95]"),
        ("$.store.bicycle['color','price']", r#"["red",19.95]"#),
        ("$.store.book[?(@.price < 10)].title", r#"["A","C"]"#),
        (
            "$.store.book[?(@.price<$.limit && @.category == 'fiction')].title",
            r#"["C"]"#,
        ),
        ("$.store.book[?(@.isbn)].title", r#"["B","C"]"#),
        ("$.store.book[?(!(@.isbn))].title", r#"["A"]"#),
        (
            "$.store.book[?(@.isbn == null || @.title == \"A\")].title",
            r#"["A","C"]"#,
        ),
        ("$.store.book[?(@.title != 'B')].price", "[8.95,9]"),
        ("$.store.bicycle[?(@.color == 'red')].price", "[19.95]"),
        ("$.store.book[?(@.nothing == 1)]", "[]"),
        ("$..nothing", "[]"),
    ] {
        assert_eq!(at(path).as_deref(), Some(value), "{path}");
    }
    assert_eq!(at("$").map(|text| text.len() > 100), Some(true));
}

#[test]
fn a_path_to_one_place_that_is_not_there_gives_nothing() {
    for path in [
        "$.nothing",
        "$.limit.x",
        "$.store.book[7]",
        "$.store.book.title",
        "$.store[0]",
        "$.limit.length()",
    ] {
        assert_eq!(at(path), None, "{path}");
    }
}

#[test]
fn what_is_no_path_is_refused_with_the_reason() {
    for (path, expected) in [
        ("$.", "a dot without a name"),
        ("", "a dot without a name"),
        ("$[", "expected a name in quotes, an index"),
        ("$['a", "a name in quotes is not closed"),
        ("$['a' 'b']", "expected `]`, found `'`"),
        ("$.a b", "cannot read ` b`"),
        ("$.a.max()", "the function `max` is not supported"),
        ("$[?(@.a =~ /x/)]", "expected `)`, found `=`"),
        ("$[0:5:0]", "the step 0 of a slice is below 1"),
        (
            "$[99999999999999999999]",
            "the index 99999999999999999999 is out of range",
        ),
        ("$[?(", "cannot read `` in a filter"),
    ] {
        match Path::parse(path) {
            Err(Fault::Path { reason, .. }) => assert!(reason.starts_with(expected), "{path}: {reason}"),
            other => panic!("{path}: {other:?}"),
        }
    }
    assert!(Path::parse(&format!("${}", "[?(@".repeat(500))).is_err());
    assert!(Path::parse(&format!("$[?({}", "(".repeat(2000))).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_paths_panic(path in r#"(\$|\.|\.\.|\[|\]|'|\*|\?\(|@|\(|\)|&&|==|<|!|-|:|,|[0-9]|[a-z]|é| |length\(\)|book|price){0,24}"#) {
        if let Ok(path) = Path::parse(&path) {
            let mut heap = Heap::new(Limits::for_bodies(1 << 20));
            let document = json::parse(&mut heap, STORE).unwrap().unwrap();
            drop(path.select(&mut heap, &document));
        }
    }
}
