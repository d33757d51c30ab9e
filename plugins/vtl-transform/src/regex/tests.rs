//! Expressions against what Java does, and against another engine where both have the same syntax.

use super::Regex;
use crate::fault::{Budget, Fault, Limits};
use proptest::prelude::*;
use regex_automata::meta;

fn budget() -> Budget {
    Budget::new(Limits::for_bodies(1 << 20))
}

fn whole(pattern: &str, text: &str) -> bool {
    let regex = Regex::new(pattern).unwrap();
    regex.matches_whole(text, &mut budget()).unwrap()
}

fn replaced(pattern: &str, text: &str, with: &str) -> String {
    let regex = Regex::new(pattern).unwrap();
    regex.replace(text, with, usize::MAX, &mut budget()).unwrap()
}

fn split<'a>(pattern: &str, text: &'a str, limit: i64) -> Vec<&'a str> {
    let regex = Regex::new(pattern).unwrap();
    regex.split(text, limit, &mut budget()).unwrap()
}

#[test]
fn a_match_is_one_of_the_whole_text() {
    for (pattern, text, expected) in [
        (r"5\d{2}", "503", true),
        (r"5\d{2}", "5031", false),
        (r"(4|5)\d{2}", "404", true),
        (r"(?!200$).*", "201", true),
        (r"(?!200$).*", "200", false),
        (r"(\n|.)+", "a\nb", true),
        (r".*Error.*", "an Error here", true),
        ("", "", true),
        ("", "a", false),
        (r"a|ab", "ab", true),
        (r"(?i)HELLO", "hello", true),
        (r"(?i:he)LLO", "HeLLO", true),
        (r"(?i:he)LLO", "Hello", false),
        (r"(?s)a.b", "a\nb", true),
        (r"a.b", "a\nb", false),
        (r"\Qa.b\E+", "a.bbb", true),
        (r"[\w.-]+@[a-z]+\.com", "a.b-c@example.com", true),
        (r"[^a-c]+", "xyz", true),
        (r"[]a]+", "]a", true),
        (r"[a\-z]+", "-az", true),
        (r"(?<year>\d{4})-\k<year>", "2024-2024", true),
        (r"(a+)b\1", "aabaa", true),
        (r"(a+)b\1", "aaba", false),
        (r"a*+a", "aaa", false),
        (r"(?>a|ab)c", "abc", false),
        (r"(a*)*", "aaa", true),
        (r"(a*)*b", "aaa", false),
        (r"(|a)+", "aaa", true),
        (r"x{2,}", "xxx", true),
        (r"x{2,3}?", "xxx", true),
        (r"\p{L}+", "éß", true),
        (r"\w", "é", false),
        (r"\u00e9\x41", "éA", true),
        (r"a$\n", "a\n", true),
        (r"\bfoo\b.*", "foo bar", true),
    ] {
        assert_eq!(whole(pattern, text), expected, "{pattern} on {text:?}");
    }
}

#[test]
fn replacements_are_those_of_java() {
    for (pattern, text, with, expected) in [
        (r"\\'", r"it\'s", "'", "it's"),
        ("b", "abcb", "[$0]", "a[b]c[b]"),
        (r"(\d+)-(\d+)", "10-20", "$2-$1", "20-10"),
        (r"(?<a>x)", "x", "${a}${a}", "xx"),
        (r"(x)", "x", "$10", "x0"),
        ("a", "aa", r"\$\\", r"$\$\"),
        ("", "ab", "-", "-a-b-"),
        ("x*", "axb", "-", "-a--b-"),
        (r"(a)|b", "ab", "<$1>", "<a><>"),
        ("é", "éé", "e", "ee"),
    ] {
        assert_eq!(replaced(pattern, text, with), expected, "{pattern} on {text}");
    }
    let regex = Regex::new("a").unwrap();
    assert_eq!(regex.replace("aa", "b", 1, &mut budget()).unwrap(), "ba");
    for with in ["$1", "$", "${x}", "\\"] {
        assert!(matches!(
            regex.replace("a", with, 9, &mut budget()),
            Err(Fault::Pattern { .. })
        ));
    }
}

#[test]
fn splits_are_those_of_java() {
    for (pattern, text, limit, expected) in [
        (",", "a,b,,c,,", 0, &["a", "b", "", "c"][..]),
        (",", "a,b,,c,,", -1, &["a", "b", "", "c", "", ""]),
        (",", "a,b,c", 2, &["a", "b,c"]),
        (",", "a,b", 1, &["a,b"]),
        (",", ",a", 0, &["", "a"]),
        ("", "abc", 0, &["a", "b", "c"]),
        (",", "abc", 0, &["abc"]),
        (",", "", 0, &[""]),
        (",", ",", 0, &[]),
        (r"\s*\|\s*", "a | b|c", 0, &["a", "b", "c"]),
    ] {
        assert_eq!(split(pattern, text, limit), expected, "{pattern} on {text}");
    }
}

#[test]
fn what_is_no_expression_is_refused_with_the_reason() {
    for (pattern, expected) in [
        ("(a", "`(` without `)`"),
        ("a)", "`)` without `(`"),
        ("[a", "`[` without `]`"),
        ("*a", "`*` without something to repeat"),
        ("a{x}", "`{` without numbers and `}`"),
        ("a{3,2}", "`{3,2}` ends before it begins"),
        ("a{5000}", "more than 1000 repetitions"),
        ("(a{1000}){1000}", "too large"),
        ("(?<=a)b", "lookbehind is not supported"),
        ("[a&&b]", "intersections of classes are not supported"),
        ("[a[b]]", "a class within a class is not supported"),
        ("(?x)a", "the flag `x` is not supported"),
        (r"\y", "`\\y` is not supported"),
        (r"\1(a)", "there is no group 1 before `\\1`"),
        (r"\p{Greek}", "the property `Greek` is not supported"),
        ("[z-a]", "the range `z-a` ends before it begins"),
        ("\\", "a backslash at the end"),
    ] {
        match Regex::new(pattern) {
            Err(Fault::Pattern { reason, .. }) => assert_eq!(reason, expected, "{pattern}"),
            other => panic!("{pattern}: {other:?}"),
        }
    }
    assert!(Regex::new(&"(".repeat(1000)).is_err());
    assert!(Regex::new(&"a".repeat(5000)).is_err());
}

#[test]
fn an_expression_that_runs_away_is_stopped() {
    let regex = Regex::new("(a+)+b").unwrap();
    let text = "a".repeat(100);
    assert_eq!(
        regex.matches_whole(&text, &mut budget()),
        Err(Fault::Steps(1_000_000))
    );
    let regex = Regex::new("(a|b)*c").unwrap();
    assert!(regex.matches_whole(&"ab".repeat(200_000), &mut budget()).is_err());
}

proptest! {
    #[test]
    fn it_agrees_with_another_engine(
        pattern in r"([abc.]|\[ab\]|\[\^a\]|\(|\)|\(\?:|\||[*+?]|[*+]\?|\{1,2\}|\\b|\^|\$){0,10}",
        text in "[abc]{0,8}",
    ) {
        // without an end of line `$` is the same in both; possessive quantifiers are Java's
        let possessive = ["?+", "*+", "++", "}+"].iter().any(|mark| pattern.contains(mark));
        prop_assume!(!possessive);
        if let (Ok(ours), Ok(theirs)) = (Regex::new(&pattern), meta::Regex::new(&pattern)) {
            let found = ours.find(&text, 0, &mut budget()).unwrap().map(|slots| (slots[0].unwrap(), slots[1].unwrap()));
            let expected = theirs.find(&text).map(|found| (found.start(), found.end()));
            prop_assert_eq!(found, expected, "{} on {}", pattern, text);
        }
    }

    #[test]
    fn no_pattern_makes_it_panic(pattern in r"([a-c.é]|\[|\]|\^|\(|\)|\?|:|=|!|<|>|\||\*|\+|\{|\}|[0-9]|,|-|\\|\\[a-zA-Z1-9]|\$){0,16}", text in "[a-cé\n\r]{0,10}") {
        if let Ok(regex) = Regex::new(&pattern) {
            let mut budget = Budget::new(Limits { steps: 10_000, ..Limits::for_bodies(1 << 16) });
            drop(regex.matches_whole(&text, &mut budget));
            drop(regex.replace(&text, "-", usize::MAX, &mut budget));
            drop(regex.split(&text, 0, &mut budget));
        }
    }
}
