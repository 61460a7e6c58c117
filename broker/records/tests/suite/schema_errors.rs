use crate::schema::Schema;

/// A schema of version 0 to 3, flexible from 2, with these fields.
fn parse(fields: &str, more: &str) -> Result<Schema, String> {
    let text = format!(
        r#"// A comment with a "quote.
        {{ "type": "data", "name": "Message", // and one here: "name": "Other",
           "validVersions": "0-3", "flexibleVersions": "2+",
           "fields": [ {fields} ] {more} }}"#
    );
    Schema::parse(&text).map_err(|error| format!("{error:#}"))
}

#[test]
fn comments_end_a_line_but_not_a_string() {
    let about = r#""about": "see https://kafka.apache.org \" // not a comment""#;
    let field = format!(r#"{{"name": "a", "type": "int8", "versions": "0+", {about}}} // {{"#);
    let schema = parse(&format!("{field}\n"), "").unwrap();
    assert_eq!(schema.name, "Message");
    assert_eq!(
        schema.structures[0].fields[0].about,
        "see https://kafka.apache.org \" // not a comment"
    );
}

#[test]
fn what_is_not_known_is_an_error_that_names_it() {
    for (field, expected) in [
        (
            r#"{"name": "a", "type": "int8", "versions": "0+", "sometimes": true}"#,
            "unknown field `sometimes`",
        ),
        (
            r#"{"name": "a", "type": "int24", "versions": "0+"}"#,
            "the schema of Message: a is of the unknown type int24",
        ),
        (
            r#"{"name": "a", "type": "records", "versions": "0+"}"#,
            "a is of the unknown type records",
        ),
        (
            r#"{"name": "a", "type": "int8", "versions": "+3"}"#,
            r#"field a of Message: "+3" is no range of versions"#,
        ),
        (
            r#"{"name": "a", "type": "int8", "versions": "3-2"}"#,
            r#""3-2" is no range of versions"#,
        ),
        (
            r#"{"name": "a", "type": "int8", "versions": "2+", "tag": 0}"#,
            "tag and taggedVersions need each other",
        ),
        (
            r#"{"name": "a", "type": "int8", "versions": "2+", "taggedVersions": "2+"}"#,
            "tag and taggedVersions need each other",
        ),
        (
            r#"{"name": "a", "type": "int8", "tag": 0, "taggedVersions": "1+"}"#,
            "taggedVersions has versions that are not flexible",
        ),
        (
            r#"{"name": "a", "type": "int8", "versions": "3+", "tag": 0, "taggedVersions": "2+"}"#,
            "taggedVersions has more than versions",
        ),
        (
            r#"{"name": "a", "type": "int8", "versions": "0+", "tag": 0, "taggedVersions": "2"}"#,
            "it is no longer tagged after version 2",
        ),
        (
            r#"{"name": "a", "type": "int8", "versions": "2+", "tag": 0, "taggedVersions": "2+"},
               {"name": "b", "type": "int8", "versions": "2+", "tag": 0, "taggedVersions": "2+"}"#,
            "Message has two fields of tag 0",
        ),
        (
            r#"{"name": "a", "type": "int8", "versions": "0+", "nullableVersions": "0+"}"#,
            "a int8 is never null",
        ),
        (
            r#"{"name": "a", "type": "string", "versions": "0+", "default": "null"}"#,
            "the default is null, which not every version allows",
        ),
        (
            r#"{"name": "a", "type": "string", "versions": "0+", "nullableVersions": "1+", "default": "null"}"#,
            "the default is null, which not every version allows",
        ),
        (
            r#"{"name": "a", "type": "int8", "versions": "0+", "default": "128"}"#,
            r#""128" is no default of this type"#,
        ),
        (
            r#"{"name": "a", "type": "uint16", "versions": "0+", "default": -1}"#,
            r#""-1" is no default of this type"#,
        ),
        (
            r#"{"name": "a", "type": "uuid", "versions": "0+", "default": "AAAA"}"#,
            "3 bytes instead of 16",
        ),
        (
            r#"{"name": "a", "type": "[]int8", "versions": "0+", "default": "1"}"#,
            r#""1" is no default of this type"#,
        ),
        (
            r#"{"name": "a", "type": "int8", "versions": "0+",
                "fields": [{"name": "b", "type": "int8", "versions": "0+"}]}"#,
            "a int8 has no fields",
        ),
        (
            r#"{"name": "a", "type": "A", "versions": "0+",
                "fields": [{"name": "b", "type": "int8", "versions": "0+"}]},
               {"name": "c", "type": "[]A", "versions": "0+",
                "fields": [{"name": "b", "type": "int8", "versions": "0+"}]}"#,
            "there are two structures A",
        ),
    ] {
        let error = parse(field, "").expect_err(field);
        assert!(
            error.contains(expected),
            "{field}\n{error}\nlacks: {expected}"
        );
    }
}

#[test]
fn a_structure_is_there_wherever_it_is_named() {
    let field = r#"{"name": "a", "type": "A", "versions": "0+"}"#;
    let common = r#", "commonStructs": [{"name": "A", "versions": "1+", "fields": []}]"#;
    let error = parse(field, common).unwrap_err();
    assert!(
        error.contains("a is there in versions that A lacks"),
        "{error}"
    );
}

#[test]
fn versions_that_cannot_be_written_are_errors() {
    let schema = |versions: &str, flexible: &str, more: &str| {
        let text = format!(
            r#"{{"type": "data", "name": "Message", "validVersions": "{versions}",
                 "flexibleVersions": "{flexible}", "fields": [] {more}}}"#
        );
        Schema::parse(&text).map_err(|error| format!("{error:#}"))
    };
    assert!(schema("0-3", "none", "").is_ok());
    for (versions, flexible, more, expected) in [
        ("none", "none", "", "validVersions is none"),
        (
            "0-3",
            "0-2",
            "",
            r#"flexibleVersions is "0-2": a version after a flexible one is flexible too"#,
        ),
        (
            "0-3",
            "none",
            r#", "latestVersionUnstable": true"#,
            "latestVersionUnstable is true",
        ),
    ] {
        let error = schema(versions, flexible, more).unwrap_err();
        assert!(error.contains(expected), "{error}\nlacks: {expected}");
    }
}
