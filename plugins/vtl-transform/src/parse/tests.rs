//! What is refused, and with which words. What templates do is in `eval`.

use super::parse;
use crate::ast::Node;

#[test]
fn what_is_no_template_is_refused_with_its_line() {
    for (template, expected) in [
        ("a\n#if($x)\nb", "line 2: `#if` is not closed by `#end`"),
        ("#if $x#end", "line 1: `#if` without `(`"),
        ("#if($x #end", "line 1: expected the `)` of `#if`, found `#`"),
        ("#if()#end", "line 1: expected a value, found `)`"),
        (
            "#if(1)#else#elseif(2)#end",
            "line 1: `#else` is ended by `#elseif` and not by `#end`",
        ),
        ("x#end", "line 1: `#end` without a directive that it could end"),
        (
            "\n\n#else",
            "line 3: `#else` without a directive that it could end",
        ),
        (
            "#set(x = 1)",
            "line 1: `#set` without a reference that is to get a value",
        ),
        ("#set($x == 1)", "line 1: expected a value, found `=`"),
        ("#set($x 1)", "line 1: expected `=` in `#set`, found `1`"),
        ("#set($x = )", "line 1: expected a value, found `)`"),
        ("#set($x = 1 +\n)", "line 2: expected a value, found `)`"),
        ("#set($x = \"a)", "line 1: a text in quotes is not closed"),
        ("#set($x = [1, )", "line 1: expected a value, found `)`"),
        ("#set($x = {1})", "line 1: expected `:`, found `}`"),
        (
            "#set($x = 99999999999999999999)",
            "line 1: the number `99999999999999999999` is out of range",
        ),
        ("#set($x = $)", "line 1: `$` without a name"),
        ("#set($x = \"\n#if(1)\")", "line 2: `#if` is not closed by `#end`"),
        (
            "#foreach(x in $y)#end",
            "line 1: expected a variable such as `$item`",
        ),
        (
            "#foreach($x.y in $y)#end",
            "line 1: expected a variable such as `$item`",
        ),
        (
            "#foreach($x of $y)#end",
            "line 1: expected `in` behind the variable of `#foreach`",
        ),
        (
            "#foreach($x in $y)",
            "line 1: `#foreach` is ended by the end of the template and not by `#end`",
        ),
        ("\n#macro(x)#end", "line 2: `#macro` is not supported"),
        ("#parse('x')", "line 1: `#parse` is not supported"),
        ("#include('x')", "line 1: `#include` is not supported"),
        ("#evaluate('x')", "line 1: `#evaluate` is not supported"),
        ("#[[ x", "line 1: `#[[` is not closed by `]]#`"),
        (
            "$x.y(1",
            "line 1: expected `,` or `)` in `y(...)`, found the end of the text",
        ),
        ("$x.y(z)", "line 1: expected a value, found `z`"),
        (
            "\n$input.json('$[')",
            "line 2: JSONPath `$[`: expected a name in quotes, an index, `*` or `?(` in brackets",
        ),
        (
            "$x.replaceAll(\"(\", '')",
            "line 1: regular expression `(`: `(` without `)`",
        ),
    ] {
        let error = parse(template).unwrap_err().to_string();
        assert_eq!(error, expected, "{template}");
    }
}

#[test]
fn what_is_nested_too_deeply_is_refused() {
    for template in [
        "#if(1)".repeat(1000),
        format!("#set($x = {})", "(".repeat(100_000)),
        format!("#set($x = {})", "[".repeat(100_000)),
        format!("#set($x = {}1)", "!".repeat(100_000)),
        format!("#set($x = {}1)", "- ".repeat(100_000)),
        "$x.y(".repeat(10_000),
    ] {
        let error = parse(&template).unwrap_err().to_string();
        assert!(error.contains("nested deeper than 32 levels"), "{error}");
    }
    // long is not deep
    assert!(parse(&format!("#set($x = 1{})", "+1".repeat(50_000))).is_ok());
    assert!(parse(&format!("#if(1){}#end", "#elseif(2)".repeat(10_000))).is_ok());
    // brackets that cannot be read are text
    assert!(parse(&"$x[".repeat(10_000)).is_ok());
}

#[test]
fn what_only_looks_like_a_directive_is_text() {
    for template in [
        "#FFFFFF", "#", "##x", "#*x", "$", "$5", "${", "${x", "$!", "#foo(1)", "#iff", "a#b",
    ] {
        let parsed = parse(template).unwrap();
        assert!(
            parsed
                .iter()
                .all(|node| matches!(node, Node::Text(_) | Node::Print(_))),
            "{template}: {parsed:?}"
        );
    }
}
