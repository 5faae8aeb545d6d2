//! Texts with `{{ placeholders }}`, compiled when a profile is loaded so that a launch cannot meet an unknown one.
//!
//! Nothing but replacement: no conditions and no loops, which belong to cloud-init's own jinja. It must never insert a value that
//! was not asked for by name.

use std::collections::BTreeMap;

/// A text that is filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(String),
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateProblem {
    /// Counted from 1, within the text.
    pub line: usize,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: String,
}

const SHOWN_MAX: usize = 40;

impl Template {
    /// A text as it is.
    pub fn verbatim(text: &str) -> Self {
        Self(vec![Piece::Text(text.to_owned())])
    }

    /// Compiles a text.
    ///
    /// # Errors
    /// Every placeholder that is not `known`, and every `{{` that does not end in its line.
    pub fn parse(text: &str, known: &dyn Fn(&str) -> bool, names: &str) -> Result<Self, Vec<TemplateProblem>> {
        let (mut pieces, mut problems) = (Vec::new(), Vec::new());
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("{{") {
            let line = 1 + text[..text.len() - behind.len()].matches('\n').count();
            pieces.push(Piece::Text(before.to_owned()));
            let first_line = behind.split('\n').next().unwrap_or_default();
            let Some((name, _)) = first_line.split_once("}}") else {
                let found = format!("\"{{{{\" without \"}}}}\" in its line, before {:?}", shown(first_line));
                let expected = "`{{ name }}`; `{{ open }}` writes two braces".to_owned();
                problems.push(TemplateProblem { line, found, expected });
                rest = behind;
                continue;
            };
            let key = name.trim();
            if known(key) {
                pieces.push(Piece::Value(key.to_owned()));
            } else {
                let found = format!("the unknown placeholder {:?}", shown(key));
                problems.push(TemplateProblem { line, found, expected: format!("one of {names}") });
            }
            rest = &behind[name.len() + 2..];
        }
        pieces.push(Piece::Text(rest.to_owned()));
        if problems.is_empty() { Ok(Self(pieces)) } else { Err(problems) }
    }

    /// Whether a placeholder stands in it.
    pub fn uses(&self, name: &str) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Value(key) if key == name))
    }

    /// Fills it in.
    ///
    /// # Errors
    /// The first placeholder without a value.
    pub fn fill(&self, values: &BTreeMap<&str, String>) -> Result<String, String> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Value(key) => match values.get(key.as_str()) {
                    Some(value) => out.push_str(value),
                    None => return Err(format!("{{{{ {key} }}}} has no value for this launch")),
                },
            }
        }
        Ok(out)
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Template, Vec<TemplateProblem>> {
        Template::parse(text, &|name| ["id", "farm", "open"].contains(&name), "id, farm, open")
    }

    #[test]
    fn placeholders_are_filled_in() {
        let values = BTreeMap::from([("id", "b7".to_owned()), ("open", "{{".to_owned())]);
        for (text, expect) in [
            ("", Ok("")),
            ("a {{ id }} b {{id}}", Ok("a b7 b b7")),
            ("{{ open }} ds.meta }}", Ok("{{ ds.meta }}")),
            ("one { two }} three", Ok("one { two }} three")),
            ("{{ farm }}", Err("{{ farm }} has no value for this launch")),
        ] {
            let filled = parse(text).unwrap().fill(&values);
            assert_eq!(filled.as_deref().map_err(String::as_str), expect, "{text}");
        }
        assert!(parse("{{ id }}").unwrap().uses("id") && !Template::verbatim("{{ id }}").uses("id"));
    }

    #[test]
    fn every_unknown_one_is_told_with_its_line() {
        let problems = parse("a\n{{ key }} {{ id }}\n{{ fram\n{{}}").unwrap_err();
        let told: Vec<_> = problems.iter().map(|p| (p.line, p.found.as_str())).collect();
        assert_eq!(
            told,
            [
                (2, "the unknown placeholder \"key\""),
                (3, "\"{{\" without \"}}\" in its line, before \" fram\""),
                (4, "the unknown placeholder \"\"")
            ]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail(text in "[{} \\nid]{0,60}") {
            if let Ok(template) = parse(&text) {
                let values = BTreeMap::from([("id", "b7".to_owned())]);
                prop_assert_eq!(template.fill(&values).unwrap(), text.replace("{{ id }}", "b7").replace("{{id}}", "b7")
                    .replace("{{id }}", "b7").replace("{{ id}}", "b7").replace("{{  id }}", "b7"));
            }
        }
    }
}
