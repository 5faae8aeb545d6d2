//! As much of JSON Schema (2020-12) as the description of the admin interface uses. A keyword that is not known is an error, so that no
//! rule is there for show.

use serde_json::Value;

const NOTES: [&str; 4] = ["description", "default", "title", "format"];

/// What is wrong with a value, and where.
pub(crate) fn problems(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Some(rules) = schema.as_object() else { return vec![format!("{at}: no schema")] };
    for (keyword, rule) in rules {
        let wrong = |what: &str| vec![format!("{at}: {what}: {}", value.to_string().chars().take(120).collect::<String>())];
        let all = |schemas: &Value| -> Vec<Vec<String>> {
            schemas.as_array().into_iter().flatten().map(|s| problems(document, s, value, at)).collect()
        };
        found.extend(match keyword.as_str() {
            note if NOTES.contains(&note) => continue,
            "$ref" => {
                let pointer = rule.as_str().and_then(|r| r.strip_prefix('#')).expect("a reference into the document");
                problems(document, document.pointer(pointer).expect("what is referred to"), value, at)
            }
            "type" => {
                let names: Vec<&str> = rule
                    .as_array()
                    .map_or_else(|| vec![rule], |l| l.iter().collect())
                    .iter()
                    .filter_map(|n| n.as_str())
                    .collect();
                if names.iter().any(|name| is(name, value)) {
                    continue;
                }
                wrong(&format!("no {names:?}"))
            }
            "enum" if rule.as_array().is_some_and(|l| l.contains(value)) => continue,
            "enum" => wrong("none of the words"),
            "minimum" if value.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap_or_default()) => continue,
            "minimum" => wrong("too small"),
            "maximum" if value.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap_or_default()) => continue,
            "maximum" => wrong("too large"),
            "minItems" if value.as_array().is_none_or(|l| l.len() as u64 >= rule.as_u64().unwrap_or_default()) => continue,
            "maxItems" if value.as_array().is_none_or(|l| l.len() as u64 <= rule.as_u64().unwrap_or_default()) => continue,
            "minItems" | "maxItems" => wrong("a length that is not allowed"),
            "anyOf" if all(rule).iter().any(Vec::is_empty) => continue,
            "allOf" | "anyOf" => all(rule).concat(),
            "required" => {
                let names = rule.as_array().into_iter().flatten().filter_map(Value::as_str);
                names
                    .filter(|n| value.is_object() && value.get(n).is_none())
                    .map(|n| format!("{at}: {n} is missing"))
                    .collect()
            }
            "properties" => {
                let named = rule.as_object().into_iter().flatten();
                let there = named.filter_map(|(name, schema)| Some((name, schema, value.get(name)?)));
                there.flat_map(|(name, schema, value)| problems(document, schema, value, &format!("{at}.{name}"))).collect()
            }
            "additionalProperties" => {
                let known = |name: &String| rules.get("properties").is_some_and(|p| p.get(name).is_some());
                let others = value.as_object().into_iter().flatten().filter(|(name, _)| !known(name));
                let judge = |(name, value): (&String, &Value)| {
                    if *rule == Value::Bool(false) {
                        vec![format!("{at}: {name} is not described")]
                    } else {
                        problems(document, rule, value, &format!("{at}.{name}"))
                    }
                };
                others.flat_map(judge).collect()
            }
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                items.flat_map(|(n, item)| problems(document, rule, item, &format!("{at}[{n}]"))).collect()
            }
            "prefixItems" => {
                let pairs = value.as_array().into_iter().flatten().zip(rule.as_array().into_iter().flatten()).enumerate();
                pairs.flat_map(|(n, (item, schema))| problems(document, schema, item, &format!("{at}[{n}]"))).collect()
            }
            other => panic!("{at}: the keyword {other:?} is not known here"),
        });
    }
    found
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no such type: {other}"),
    }
}

#[test]
fn what_is_wrong_is_found() {
    let document = serde_json::json!({ "a": { "type": "object", "additionalProperties": false, "required": ["n"], "properties": {
        "n": { "type": ["integer", "null"], "minimum": 2 },
        "l": { "type": "array", "items": { "type": "string", "enum": ["x"] }, "maxItems": 2 },
        "p": { "type": "array", "prefixItems": [{ "type": "number" }, { "type": "string" }] },
        "o": { "anyOf": [{ "type": "null" }, { "$ref": "#/a" }] },
        "m": { "type": "object", "additionalProperties": { "type": "boolean" } },
    } } });
    for (value, expect) in [
        (r#"{"n":3,"l":["x"],"p":[1.5,"s"],"o":{"n":null},"m":{"k":true}}"#, 0),
        ("{}", 1),
        (r#"{"n":1}"#, 1),
        (r#"{"n":2.5}"#, 1),
        (r#"{"n":3,"z":1}"#, 1),
        (r#"{"n":3,"l":["x","y","x"]}"#, 2),
        (r#"{"n":3,"p":["s",1]}"#, 2),
        (r#"{"n":3,"o":{}}"#, 2),
        (r#"{"n":3,"m":{"k":1}}"#, 1),
        ("7", 1),
    ] {
        let value: Value = serde_json::from_str(value).unwrap();
        let found = problems(&document, &document["a"], &value, "");
        assert_eq!(found.len(), expect, "{value}: {found:?}");
    }
}
