//! Changes to a document at the places that a path names. Each says whether it changed anything.

use crate::json::Json;
use crate::path::{Segment, Selector, resolve};

/// Bytes that a transformation may still add to documents: copies of copies would otherwise grow without bound.
#[derive(Debug)]
pub struct Budget(pub usize);

/// The document would grow above its limit.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

impl Budget {
    /// Takes the size of a value that is added once more.
    pub fn take(&mut self, value: &Json) -> Result<(), TooLarge> {
        self.0 = self.0.checked_sub(value.size()).ok_or(TooLarge)?;
        Ok(())
    }
}

/// Puts a value at all places. Missing objects are made where the path goes on with names only; with `only_missing`, a place that
/// has a value keeps it.
pub fn put(
    node: &mut Json,
    path: &[Segment],
    value: &Json,
    only_missing: bool,
    budget: &mut Budget,
) -> Result<bool, TooLarge> {
    let Some((segment, rest)) = path.split_first() else {
        if only_missing {
            return Ok(false);
        }
        budget.take(value)?;
        node.clone_from(value);
        return Ok(true);
    };
    let mut changed = false;
    if matches!(segment, Segment::Descendant(_)) {
        // the inside first, so that a value is not looked for in itself after it was put
        for child in children(node) {
            changed |= put(child, path, value, only_missing, budget)?;
        }
    }
    if let (Segment::Child(Selector::Name(name)), Json::Object(members)) = (segment, &mut *node)
        && !members.iter().any(|(other, _)| other == name)
    {
        if rest
            .iter()
            .all(|segment| matches!(segment, Segment::Child(Selector::Name(_))))
        {
            budget.take(value)?;
            let nested = rest
                .iter()
                .rev()
                .fold(value.clone(), |inner, segment| match segment {
                    Segment::Child(Selector::Name(name)) => Json::Object(vec![(name.clone(), inner)]),
                    _ => inner,
                });
            members.push((name.clone(), nested));
            changed = true;
        }
        return Ok(changed);
    }
    for child in selected(node, segment) {
        changed |= put(child, rest, value, only_missing, budget)?;
    }
    Ok(changed)
}

/// Calls `change` for every value that the path names.
pub fn each<E>(
    node: &mut Json,
    path: &[Segment],
    change: &mut dyn FnMut(&mut Json) -> Result<bool, E>,
) -> Result<bool, E> {
    let Some((segment, rest)) = path.split_first() else {
        return change(node);
    };
    let mut changed = false;
    if matches!(segment, Segment::Descendant(_)) {
        for child in children(node) {
            changed |= each(child, path, change)?;
        }
    }
    for child in selected(node, segment) {
        changed |= each(child, rest, change)?;
    }
    Ok(changed)
}

/// Removes what the path names, duplicates of a member too. The root cannot be removed.
pub fn remove(node: &mut Json, path: &[Segment]) -> bool {
    let Some((segment, rest)) = path.split_first() else {
        return false;
    };
    let mut changed = false;
    if matches!(segment, Segment::Descendant(_)) {
        for child in children(node) {
            changed |= remove(child, path);
        }
    }
    if !rest.is_empty() {
        // in every duplicate: a member that is hidden behind another one must not survive
        for child in matching(node, segment) {
            changed |= remove(child, rest);
        }
        return changed;
    }
    let (Segment::Child(selector) | Segment::Descendant(selector)) = segment;
    match (node, selector) {
        (Json::Object(members), Selector::Name(name)) => {
            let before = members.len();
            members.retain(|(other, _)| other != name);
            changed | (members.len() < before)
        }
        (Json::Array(items), Selector::Index(index)) => {
            let at = resolve(*index, items.len());
            at.map(|at| items.remove(at)).is_some() | changed
        }
        (Json::Object(members), Selector::Wildcard) => !std::mem::take(members).is_empty() | changed,
        (Json::Array(items), Selector::Wildcard) => !std::mem::take(items).is_empty() | changed,
        _ => changed,
    }
}

/// Gives the members that the path names another name, in their place; a member that has that name already is replaced.
pub fn rename(node: &mut Json, path: &[Segment], to: &str) -> bool {
    let Some((Segment::Child(Selector::Name(last)) | Segment::Descendant(Selector::Name(last)), _)) =
        path.split_last()
    else {
        return false;
    };
    let mut change = |object: &mut Json| -> Result<bool, std::convert::Infallible> {
        let Json::Object(members) = object else {
            return Ok(false);
        };
        let Some(value) = members
            .iter()
            .rposition(|(name, _)| name == last)
            .map(|at| std::mem::replace(&mut members[at].1, Json::Null))
        else {
            return Ok(false);
        };
        if last != to {
            members.retain(|(name, _)| name != to);
        }
        if let Some(at) = members.iter().position(|(name, _)| name == last) {
            members[at] = (to.to_owned(), value);
        }
        if last != to {
            members.retain(|(name, _)| name != last);
        }
        Ok(last != to)
    };
    // the objects that have the members
    match path.split_last() {
        Some((Segment::Child(_), parents)) => each(node, parents, &mut change).unwrap_or(false),
        Some((Segment::Descendant(_), parents)) => {
            let mut everywhere =
                |value: &mut Json| Ok(all(value, &mut |inner| change(inner).unwrap_or(false)));
            each::<std::convert::Infallible>(node, parents, &mut everywhere).unwrap_or(false)
        }
        None => false,
    }
}

/// Calls `change` for a value and everything inside of it, the inside first.
fn all(value: &mut Json, change: &mut dyn FnMut(&mut Json) -> bool) -> bool {
    let mut changed = false;
    for child in children(value) {
        changed |= all(child, change);
    }
    change(value) | changed
}

/// What remains when only the named places are kept; `None` when nothing of the value is named. Objects and arrays that a path
/// leads through stay, even if empty, so that clients find the shape they expect.
pub fn keep(value: &Json, paths: &[&[Segment]]) -> Option<Json> {
    if paths.iter().any(|path| path.is_empty()) {
        return Some(value.clone());
    }
    // a descendant segment alone does not make a container stay
    let explicit = paths
        .iter()
        .any(|path| matches!(path.first(), Some(Segment::Child(_))));
    let narrowed = |matches: &dyn Fn(&Selector) -> bool| -> Vec<&[Segment]> {
        let mut inner: Vec<&[Segment]> = Vec::new();
        for path in paths {
            let Some((Segment::Child(selector) | Segment::Descendant(selector), rest)) = path.split_first()
            else {
                continue;
            };
            if matches(selector) {
                inner.push(rest);
            }
            if matches!(path.first(), Some(Segment::Descendant(_))) {
                inner.push(path);
            }
        }
        inner
    };
    match value {
        Json::Object(members) => {
            let kept: Vec<(String, Json)> = members
                .iter()
                .filter_map(|(name, child)| {
                    let inner = narrowed(&|selector| {
                        matches!(selector, Selector::Wildcard)
                            || matches!(selector, Selector::Name(n) if n == name)
                    });
                    Some((name.clone(), keep(child, &inner)?))
                })
                .collect();
            (explicit || !kept.is_empty()).then_some(Json::Object(kept))
        }
        Json::Array(items) => {
            let kept: Vec<Json> = items
                .iter()
                .enumerate()
                .filter_map(|(at, child)| {
                    let inner = narrowed(&|selector| match selector {
                        Selector::Wildcard => true,
                        Selector::Index(index) => resolve(*index, items.len()) == Some(at),
                        Selector::Name(_) => false,
                    });
                    keep(child, &inner)
                })
                .collect();
            (explicit || !kept.is_empty()).then_some(Json::Array(kept))
        }
        _ => None,
    }
}

fn children(node: &mut Json) -> Vec<&mut Json> {
    match node {
        Json::Object(members) => members.iter_mut().map(|(_, child)| child).collect(),
        Json::Array(items) => items.iter_mut().collect(),
        _ => Vec::new(),
    }
}

/// The children that a segment selects. Of duplicate members only the last stays: a reader that takes the first one must not see
/// another value than the one that is changed here.
fn selected<'a>(node: &'a mut Json, segment: &Segment) -> Vec<&'a mut Json> {
    if let (
        Segment::Child(Selector::Name(name)) | Segment::Descendant(Selector::Name(name)),
        Json::Object(members),
    ) = (segment, &mut *node)
    {
        let last = members.iter().rposition(|(other, _)| other == name);
        let mut at = 0;
        members.retain(|(other, _)| {
            at += 1;
            other != name || Some(at - 1) == last
        });
    }
    matching(node, segment)
}

/// The children that a segment selects, with all duplicates of a member.
fn matching<'a>(node: &'a mut Json, segment: &Segment) -> Vec<&'a mut Json> {
    let (Segment::Child(selector) | Segment::Descendant(selector)) = segment;
    match (node, selector) {
        (Json::Object(members), Selector::Name(name)) => members
            .iter_mut()
            .filter(|(other, _)| other == name)
            .map(|(_, child)| child)
            .collect(),
        (Json::Array(items), Selector::Index(index)) => resolve(*index, items.len())
            .and_then(|at| items.get_mut(at))
            .into_iter()
            .collect(),
        (node, Selector::Wildcard) => children(node),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Path;
    use proptest::prelude::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    fn after_put(document: &str, at: &str, value: &str, only_missing: bool) -> String {
        let mut document = json(document);
        put(
            &mut document,
            &path(at).0,
            &json(value),
            only_missing,
            &mut Budget(1000),
        )
        .unwrap();
        document.to_text()
    }

    #[test]
    fn values_are_put_and_missing_objects_made() {
        for (document, at, expected) in [
            ("{}", "$.a.b", r#"{"a":{"b":9}}"#),
            (r#"{"a":1}"#, "$.a", r#"{"a":9}"#),
            (r#"{"a":1}"#, "$.a.b", r#"{"a":1}"#),
            (r#"{"a":[{},{"b":1}]}"#, "$.a[*].b", r#"{"a":[{"b":9},{"b":9}]}"#),
            (r#"{"a":[1,2]}"#, "$.a[-1]", r#"{"a":[1,9]}"#),
            (r#"{"a":[1,2]}"#, "$.a[2]", r#"{"a":[1,2]}"#),
            (
                r#"{"a":{"x":1},"b":[{"x":2},{}]}"#,
                "$..x",
                r#"{"a":{"x":9},"b":[{"x":9},{}]}"#,
            ),
            (r#"{"a":1}"#, "$", "9"),
            (r#"{"a":1,"a":2}"#, "$.a", r#"{"a":9}"#),
            ("{}", "$.a[0]", "{}"),
        ] {
            assert_eq!(after_put(document, at, "9", false), expected, "{document} {at}");
        }
        assert_eq!(
            after_put(r#"{"l":[{"a":1},{}]}"#, "$.l[*].a", "9", true),
            r#"{"l":[{"a":1},{"a":9}]}"#
        );
        assert_eq!(after_put(r#"{"a":null}"#, "$.a", "9", true), r#"{"a":null}"#);
        assert_eq!(
            after_put(r#"{"a":{"a":1}}"#, "$..a", r#"{"a":2}"#, false),
            r#"{"a":{"a":2}}"#
        );
    }

    #[test]
    fn documents_do_not_grow_above_the_budget() {
        let mut document = json(&format!("[{}]", vec!["{}"; 1000].join(",")));
        let value = json(&format!("\"{}\"", "x".repeat(100)));
        assert_eq!(
            put(&mut document, &path("$[*].a").0, &value, false, &mut Budget(5000)),
            Err(TooLarge)
        );
    }

    #[test]
    fn removal_takes_everything_that_is_named() {
        for (document, at, expected) in [
            (r#"{"a":1,"b":2}"#, "$.a", r#"{"b":2}"#),
            (r#"{"a":1,"b":2,"a":3}"#, "$.a", r#"{"b":2}"#),
            (
                r#"{"a":{"s":1},"a":{"s":2,"t":3}}"#,
                "$.a.s",
                r#"{"a":{},"a":{"t":3}}"#,
            ),
            (r#"{"a":[1,2,3]}"#, "$.a[-1]", r#"{"a":[1,2]}"#),
            (r#"{"a":[{"s":1},{"s":2}]}"#, "$.a[*].s", r#"{"a":[{},{}]}"#),
            (r#"{"s":1,"a":[{"s":{"s":1}}]}"#, "$..s", r#"{"a":[{}]}"#),
            (r#"{"a":[1]}"#, "$.a[*]", r#"{"a":[]}"#),
            (r#"{"a":1}"#, "$.b.c", r#"{"a":1}"#),
            (r#"{"a":1}"#, "$", r#"{"a":1}"#),
        ] {
            let mut value = json(document);
            let changed = remove(&mut value, &path(at).0);
            assert_eq!(
                (value.to_text().as_str(), changed),
                (expected, expected != document),
                "{document} {at}"
            );
        }
    }

    #[test]
    fn members_are_renamed_in_place() {
        for (document, at, expected) in [
            (r#"{"x":0,"a":1,"y":2}"#, "$.a", r#"{"x":0,"n":1,"y":2}"#),
            (r#"{"n":0,"a":1}"#, "$.a", r#"{"n":1}"#),
            (r#"{"a":1,"a":2}"#, "$.a", r#"{"n":2}"#),
            (r#"[{"a":1},{"a":{"a":2}}]"#, "$..a", r#"[{"n":1},{"n":{"n":2}}]"#),
            (r#"[{"a":1},{}]"#, "$[*].a", r#"[{"n":1},{}]"#),
        ] {
            let mut value = json(document);
            assert!(rename(&mut value, &path(at).0, "n"));
            assert_eq!(value.to_text(), expected, "{document} {at}");
        }
    }

    #[test]
    fn only_what_is_named_is_kept() {
        for (document, paths, expected) in [
            (r#"{"a":1,"b":2,"c":3}"#, &["$.c", "$.a"][..], r#"{"a":1,"c":3}"#),
            (
                r#"{"l":[{"id":1,"s":2},{"s":3}],"x":1}"#,
                &["$.l[*].id"],
                r#"{"l":[{"id":1},{}]}"#,
            ),
            (r#"{"l":[]}"#, &["$.l[*].id"], r#"{"l":[]}"#),
            (
                r#"{"a":{"id":1},"b":{"c":{"id":2,"s":3}},"d":4}"#,
                &["$..id"],
                r#"{"a":{"id":1},"b":{"c":{"id":2}}}"#,
            ),
            (r#"{"l":[1,2,3]}"#, &["$.l[0]", "$.l[-1]"], r#"{"l":[1,3]}"#),
            (r#"{"a":"text"}"#, &["$.a.b"], "{}"),
            ("5", &["$.a"], "null"),
        ] {
            let paths: Vec<Path> = paths.iter().map(|text| path(text)).collect();
            let segments: Vec<&[Segment]> = paths.iter().map(|path| path.0.as_slice()).collect();
            assert_eq!(
                keep(&json(document), &segments).unwrap_or(Json::Null).to_text(),
                expected,
                "{document}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_that_was_removed_is_found_again(
            document in r#"\{"a":(1|\[1,\{"a":2,"b":3\}\]|\{"b":\{"a":4\}\}),"b":\[\{"a":5\}\],"a":6\}"#,
            at in r"\$(\.a|\.b|\[0\]|\[\*\]){0,2}(\.\.a|\.a|\.b)",
        ) {
            let (mut value, at) = (json(&document), path(&at));
            remove(&mut value, &at.0);
            prop_assert!(at.select(&value).is_empty(), "{}", value.to_text());
        }
    }
}
