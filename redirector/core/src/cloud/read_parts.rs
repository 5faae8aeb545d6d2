//! The parts of the user data, from a profile's sections and the files they name.
//!
//! It must never let a text pass that cloud-init would silently skip: a shell part without an interpreter, cloud-config without its
//! first line.

use super::agent_part;
use super::profile::{AgentSpec, PartSpec};
use super::read::PartFiles;
use super::template::Template;
use super::words::{self, PLACEHOLDERS, check_text};
use farm_shared::config::{Place, Problem, Section};
use std::collections::BTreeMap;

const PARTS_MAX: usize = 32;
/// Far above what EC2 takes; how far it compresses is seen when it is put together.
const PART_BYTES_MAX: usize = 256 * 1024;

/// The words of `kind`: MIME type (cloudinit/user_data.py and cloudinit/handlers of cloud-init 22), ending of the file name.
const KINDS: [(&str, &str, &str); 11] = [
    ("cloud-config", "text/cloud-config", ".yaml"),
    ("shell", "text/x-shellscript", ".sh"),
    ("shell-per-boot", "text/x-shellscript-per-boot", ".sh"),
    ("shell-per-instance", "text/x-shellscript-per-instance", ".sh"),
    ("shell-per-once", "text/x-shellscript-per-once", ".sh"),
    ("boothook", "text/cloud-boothook", ".sh"),
    ("include", "text/x-include-url", ".txt"),
    ("include-once", "text/x-include-once-url", ".txt"),
    ("archive", "text/cloud-config-archive", ".yaml"),
    ("jinja", "text/jinja2", ".txt"),
    ("part-handler", "text/part-handler", ".py"),
];
/// The ready part that starts the heartbeat agent.
const AGENT: &str = "agent";

/// What a part may refer to.
pub(super) struct Surroundings<'a> {
    pub(super) vars: &'a BTreeMap<String, String>,
    pub(super) agent: &'a AgentSpec,
    /// The zone is known before the launch.
    pub(super) zone_known: bool,
    /// The instance type is known before the launch.
    pub(super) type_known: bool,
    /// Servers have host names.
    pub(super) has_host: bool,
}

impl Surroundings<'_> {
    fn names(&self) -> String {
        let own = self.vars.keys().map(String::as_str);
        PLACEHOLDERS.into_iter().chain(own).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }

    fn knows(&self, name: &str) -> bool {
        PLACEHOLDERS.contains(&name) || self.vars.contains_key(name)
    }

    /// Why a placeholder has no value in this profile.
    fn lacks(&self, text: &Template) -> Option<(&'static str, &'static str)> {
        if text.uses("zone") && !self.zone_known {
            return Some((
                "`{{ zone }}`, which EC2 chooses",
                "`network.zones` or `network.subnets`, and no fleet over all zones",
            ));
        }
        if text.uses("instance_type") && !self.type_known {
            return Some(("`{{ instance_type }}`, which the fleet chooses", "no such placeholder, or no fleet"));
        }
        (text.uses("host") && !self.has_host).then_some(("`{{ host }}`", "`host_zone` in the profile"))
    }
}

pub(super) fn read_parts(
    root: &Section,
    around: &Surroundings<'_>,
    files: &dyn PartFiles,
    elsewhere: &mut Vec<Problem>,
) -> Vec<PartSpec> {
    let sections = root.tables("user_data", "A part of the user data, in the order in which scripts run.");
    if sections.len() > PARTS_MAX {
        root.problem("user_data", format!("{} parts", sections.len()), format!("at most {PARTS_MAX}"));
    }
    sections.iter().take(PARTS_MAX).enumerate().filter_map(|(n, s)| read_part(n, s, around, files, elsewhere)).collect()
}

fn read_part(
    n: usize,
    section: &Section,
    around: &Surroundings<'_>,
    files: &dyn PartFiles,
    elsewhere: &mut Vec<Problem>,
) -> Option<PartSpec> {
    let kind = section.required_string(
        "kind",
        "`agent` (the ready part that starts the heartbeat agent), `cloud-config`, `shell`, `boothook`, `include`, `archive`, `jinja`, \
         `part-handler`, `shell-per-boot`, `shell-per-instance`, `shell-per-once`, `include-once`, or any MIME type `text/…`.",
    );
    let name = section.optional_string("name", "Its file name on the instance, behind its number; if not set, its kind.");
    check_text(section, "name", name.as_deref(), words::is_file_name, "letters, digits, dots, hyphens and underscores");
    let file = section.optional_string("file", "The file with its text, beside the profile.");
    let text = section.optional_string("text", "Its text, in place of a file.");
    let template = section.boolean("template", false, "Whether `{{ placeholders }}` are filled in.");
    let merge_type = section.optional_string(
        "merge_type",
        "How cloud-init merges it with other cloud-config: `list(append)+dict(recurse_array)+str()`.",
    );
    check_text(
        section,
        "merge_type",
        merge_type.as_deref(),
        |m| m.bytes().all(|b| b.is_ascii_lowercase() || b"()+_,".contains(&b)),
        "merge types of cloud-init",
    );
    let place = section.place("kind");
    let file_name = |default: &str, ending: &str| match &name {
        Some(name) => format!("{:02}-{name}", n + 1),
        None => format!("{:02}-{default}{ending}", n + 1),
    };
    if kind == AGENT {
        if file.is_some() || text.is_some() {
            section.problem("kind", "\"agent\" with a text", "no `file` and no `text`: this part is ready");
        }
        let text = agent_part::text(around.zone_known, around.has_host, around.agent.more.as_deref());
        // Every placeholder in it is known; `more` may bring others.
        let text = compile(&text, section, &place, around, elsewhere, None)?;
        let mime_type = "text/x-shellscript".to_owned();
        return Some(PartSpec { file_name: file_name(AGENT, ".sh"), mime_type, merge_type: None, text, place });
    }
    let known = KINDS.iter().find(|(word, ..)| *word == kind);
    let own = kind.strip_prefix("text/").is_some_and(words::is_file_name);
    if known.is_none() && !own && section.is_present() && !kind.is_empty() {
        let words = KINDS.iter().map(|(word, ..)| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        section.problem(
            "kind",
            format!("{:?}", kind.chars().take(40).collect::<String>()),
            format!("\"agent\", {words} or \"text/…\""),
        );
    }
    let content = match (&file, text) {
        (Some(path), None) => read_file(path, section, files),
        (None, Some(text)) => Some(text),
        (None, None) => {
            section.problem("", "neither `file` nor `text`", "one of them");
            None
        }
        (Some(_), Some(_)) => {
            section.problem("text", "`file` and `text`", "one of them");
            None
        }
    }?;
    check_beginning(&kind, &content, section, file.as_deref());
    let text = if template {
        compile(&content, section, &place, around, elsewhere, file.as_deref())?
    } else {
        Template::verbatim(&content)
    };
    let (mime_type, ending) = known.map_or((kind.as_str(), ""), |(_, mime_type, ending)| (mime_type, ending));
    let default = if known.is_some() { kind.as_str() } else { "part" };
    Some(PartSpec { file_name: file_name(default, ending), mime_type: mime_type.to_owned(), merge_type, text, place })
}

fn read_file(path: &str, section: &Section, files: &dyn PartFiles) -> Option<String> {
    let problem =
        |found: String| section.problem("file", format!("{path:?}: {found}"), "a file of UTF-8 text, at most 256 KiB");
    match files.read(path) {
        Err(why) => problem(why),
        Ok(bytes) if bytes.len() > PART_BYTES_MAX => problem(format!("{} octets", bytes.len())),
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => return Some(text),
            Err(_) => problem("octets that are no UTF-8".into()),
        },
    }
    None
}

fn check_beginning(kind: &str, text: &str, section: &Section, file: Option<&str>) {
    let begins = |with: &[&str]| with.iter().any(|with| text.starts_with(with));
    let expected = match kind {
        "cloud-config" if !begins(&["#cloud-config", "## template: jinja"]) => "\"#cloud-config\" as its first line",
        "shell" | "shell-per-boot" | "shell-per-instance" | "shell-per-once" if !begins(&["#!", "## template: jinja"]) => {
            "an interpreter in its first line, like \"#!/bin/sh\""
        }
        "boothook" if !begins(&["#cloud-boothook", "#!"]) => "\"#cloud-boothook\" as its first line",
        _ => return,
    };
    let first: String = text.lines().next().unwrap_or_default().chars().take(40).collect();
    section.problem(if file.is_some() { "file" } else { "text" }, format!("{first:?} as the first line"), expected);
}

/// Compiles a template. Lines of a file are told as that file's, lines of a text in the profile beside the part's own.
fn compile(
    text: &str,
    section: &Section,
    place: &Place,
    around: &Surroundings<'_>,
    elsewhere: &mut Vec<Problem>,
    file: Option<&str>,
) -> Option<Template> {
    match Template::parse(text, &|name| around.knows(name), &around.names()) {
        Ok(template) => {
            if let Some((found, expected)) = around.lacks(&template) {
                section.problem("kind", found, expected);
            }
            Some(template)
        }
        Err(problems) => {
            for problem in problems {
                match file {
                    Some(file) => {
                        let at = Place { file: file.to_owned(), line: problem.line, key: place.key.clone() };
                        elsewhere.push(at.problem(problem.found, problem.expected));
                    }
                    None => section.problem(
                        "text",
                        format!("{} in line {} of the text", problem.found, problem.line),
                        problem.expected,
                    ),
                }
            }
            None
        }
    }
}
