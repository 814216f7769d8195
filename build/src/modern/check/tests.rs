use super::*;
use crate::parser::{Dialect, parse};

fn checks(text: &str, given: Option<&str>) -> Checks {
    Checks::new(parse(text.as_bytes(), Dialect::Modern).unwrap(), given).unwrap()
}

fn warnings(text: &str, given: Option<&str>) -> Vec<String> {
    let mut checks = checks(text, given);
    checks.file(None);
    checks.warnings().iter().map(|warning| format!("{} {}-{}", warning.rule(), warning.line, warning.last)).collect()
}

/// As docker 28.5 has it.
#[test]
fn lines_are_looked_at_by_themselves() {
    let text = "from a As B\nRUN x \\\n\n  y\nCMD\nMAINTAINER m\n";
    let expected = [
        "StageNameCasing 1-1",
        "FromAsCasing 1-1",
        "ConsistentInstructionCasing 1-1",
        "NoEmptyContinuation 4-4",
        "MaintainerDeprecated 6-6",
    ];
    assert_eq!(warnings(text, None), expected);
    assert_eq!(warnings(text, Some("skip=StageNameCasing, FromAsCasing")), expected[2..]);
    assert_eq!(warnings(text, Some("skip=all")), [""; 0]);
    let described = "# check=experimental=all\n# no\nARG a\nFROM a\n";
    assert_eq!(warnings(described, None), ["InvalidDefinitionDescription 3-3"]);
    assert_eq!(warnings(described, Some("error=0")), [""; 0]);
}

#[test]
fn after_an_error_only_the_lines_before_it_count() {
    let mut checks = checks("FROM a AS B\nFOO\nMAINTAINER m\nrun x\n", None);
    checks.file(Some(&InstructionError::Line { line: 2, reason: String::new() }));
    assert_eq!(
        list(&checks.warnings()),
        " 1 warning found:\n - StageNameCasing: Stage name 'B' should be lowercase (line 1)"
    );
}

#[test]
fn rules_have_addresses() {
    for (rule, words) in [
        (Rule::JSONArgsRecommended, "json-args-recommended"),
        (Rule::SecretsUsedInArgOrEnv, "secrets-used-in-arg-or-env"),
        (Rule::UndefinedVar, "undefined-var"),
    ] {
        assert_eq!(rule.address(), format!("https://docs.docker.com/go/dockerfile/rule/{words}/"));
    }
}

#[test]
fn options_are_read() {
    let strict = Rules::parse("error=t;skip=a").unwrap();
    assert!(strict.refuse && strict.count(Rule::UndefinedVar) && !strict.count(Rule::CopyIgnoredFile));
    for (text, reason) in [
        ("foo", "invalid check option \"foo\""),
        ("foo=1", "invalid check option \"foo\""),
        ("skip=a;", "invalid check option \"\""),
        ("error=x", "failed to parse check option \"error=x\": strconv.ParseBool: parsing \"x\": invalid syntax"),
    ] {
        assert_eq!(Rules::parse(text).unwrap_err(), reason, "{text}");
    }
}
