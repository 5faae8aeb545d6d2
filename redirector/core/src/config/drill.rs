//! `[drill]`: whether failure drills are allowed, and how much they may take down.
//!
//! Off unless the file says otherwise: whoever holds the admin token of a farm in production must not be able to break it by mistake.

use crate::drill::Radius;
use farm_shared::config::Section;

/// Failure drills.
#[derive(Clone, Debug, PartialEq)]
pub struct DrillSpec {
    /// They are allowed.
    pub enabled: bool,
    /// The largest share of the servers that any of them may take down at once.
    pub blast_radius_max: Radius,
    /// EC2: the security group that lets nothing through.
    pub isolate_group: Option<String>,
}

impl Default for DrillSpec {
    fn default() -> Self {
        Self { enabled: false, blast_radius_max: Radius::DEFAULT, isolate_group: None }
    }
}

impl DrillSpec {
    pub(super) fn read(drill: &Section) -> Self {
        let percent = "a percentage from 0% to 100%, like \"25%\"";
        let radius = drill.parsed::<Radius>(
            "blast_radius_max",
            Some("25%"),
            percent,
            "The largest share of the servers that drills may take down at once, whatever a command asks for. One healthy server always stays.",
        );
        let group = drill.optional_parsed::<Group>(
            "isolate_group",
            "the id of a security group, like \"sg-0123456789abcdef0\"",
            "Provider `ec2`: the security group without any rule that the network model puts an instance into.",
        );
        Self {
            enabled: drill.boolean("enabled", false, "Failure drills (`redirector chaos`) are allowed."),
            blast_radius_max: radius.unwrap_or(Radius::DEFAULT),
            isolate_group: group.map(|group| group.0),
        }
    }
}

struct Group(String);

impl std::str::FromStr for Group {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.strip_prefix("sg-").ok_or(())?;
        let good = (1..=32).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_alphanumeric());
        if good { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farm_shared::config::Document;

    #[test]
    fn off_unless_said_and_wrong_words_are_named() {
        let check = |text: &str, expect: Option<DrillSpec>, problems: &[&str]| {
            let document = Document::parse("r.toml", text);
            let spec = DrillSpec::read(&document.root().table("drill", ""));
            let found: Vec<String> = document.finish().iter().map(ToString::to_string).collect();
            assert!(found.len() == problems.len(), "{found:?}");
            assert!(found.iter().zip(problems).all(|(f, p)| f.starts_with(p)), "{found:?}");
            assert!(expect.is_none_or(|expect| spec == expect), "{text}");
        };
        check("", Some(DrillSpec::default()), &[]);
        let group = Some("sg-0a1".to_owned());
        let all =
            DrillSpec { enabled: true, blast_radius_max: Radius::new(0.5).unwrap_or(Radius::DEFAULT), isolate_group: group };
        check("[drill]\nenabled = true\nblast_radius_max = \"50%\"\nisolate_group = \"sg-0a1\"", Some(all), &[]);
        let wrong = ["r.toml:2: drill.blast_radius_max", "r.toml:3: drill.isolate_group", "r.toml:4: drill.radius"];
        check("[drill]\nblast_radius_max = 0.5\nisolate_group = \"x\"\nradius = 1", None, &wrong);
    }
}
